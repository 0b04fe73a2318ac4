/** The values of personality(2) that this library gives to programs (`linux/personality.h`), and their names. */

export const personalityFlag = { LINUX32: 0x0008, UNAME26: 0x0002_0000, ADDR_NO_RANDOMIZE: 0x0004_0000 } as const;

/** A value in words. */
export function personalityNames(value: number): readonly string[] {
  return [
    value & personalityFlag.LINUX32 ? 'linux32' : 'linux',
    ...(value & personalityFlag.UNAME26 ? ['uname26'] : []),
    ...(value & personalityFlag.ADDR_NO_RANDOMIZE ? ['no address randomisation'] : []),
  ];
}
