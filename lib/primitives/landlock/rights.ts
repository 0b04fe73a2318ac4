/** What Landlock can restrict, by the kernel's names, and from which ABI on (linux/landlock.h; landlock(7)). */

/** Rights of files and directories: LANDLOCK_ACCESS_FS_… in lower case. */
export type LandlockRight =
  | 'execute'
  | 'write_file'
  | 'read_file'
  | 'read_dir'
  | 'remove_dir'
  | 'remove_file'
  | 'make_char'
  | 'make_dir'
  | 'make_reg'
  | 'make_sock'
  | 'make_fifo'
  | 'make_block'
  | 'make_sym'
  | 'refer'
  | 'truncate'
  | 'ioctl_dev';

export type LandlockScope = 'abstract-unix-socket' | 'signal';

interface Fact {
  readonly bit: number;
  readonly abi: number;
}

/** Numbers: all bits are below 2^16. */
export const fileRights: Readonly<Record<LandlockRight, Fact>> = {
  execute: { bit: 1 << 0, abi: 1 },
  write_file: { bit: 1 << 1, abi: 1 },
  read_file: { bit: 1 << 2, abi: 1 },
  read_dir: { bit: 1 << 3, abi: 1 },
  remove_dir: { bit: 1 << 4, abi: 1 },
  remove_file: { bit: 1 << 5, abi: 1 },
  make_char: { bit: 1 << 6, abi: 1 },
  make_dir: { bit: 1 << 7, abi: 1 },
  make_reg: { bit: 1 << 8, abi: 1 },
  make_sock: { bit: 1 << 9, abi: 1 },
  make_fifo: { bit: 1 << 10, abi: 1 },
  make_block: { bit: 1 << 11, abi: 1 },
  make_sym: { bit: 1 << 12, abi: 1 },
  refer: { bit: 1 << 13, abi: 2 },
  truncate: { bit: 1 << 14, abi: 3 },
  ioctl_dev: { bit: 1 << 15, abi: 5 },
};

/** LANDLOCK_ACCESS_NET_…: TCP ports. */
export const networkRights = { bind: { bit: 1, abi: 4 }, connect: { bit: 2, abi: 4 } } as const;

/** LANDLOCK_SCOPE_… */
export const scopes: Readonly<Record<LandlockScope, Fact>> = {
  'abstract-unix-socket': { bit: 1, abi: 6 },
  signal: { bit: 2, abi: 6 },
};

/** LANDLOCK_RESTRICT_SELF_…: what differs from the kernel's default, by the option that asks for it. */
export const logFlags = {
  sameExec: { bit: 1, abi: 7, when: false },
  newExec: { bit: 2, abi: 7, when: true },
  subdomains: { bit: 4, abi: 7, when: false },
} as const;

export const rightNames = Object.keys(fileRights) as readonly LandlockRight[];
export const scopeNames = Object.keys(scopes) as readonly LandlockScope[];

/** The three lists of paths in an option, as the rights that each of them is about. */
export const groups = {
  read: ['read_file', 'read_dir'],
  // Device nodes are not among what a writable directory gives: they are denied unless `paths` gives them.
  write: [
    'write_file',
    'remove_dir',
    'remove_file',
    'make_dir',
    'make_reg',
    'make_sock',
    'make_fifo',
    'make_sym',
    'refer',
    'truncate',
  ],
  execute: ['execute'],
} as const satisfies Record<string, readonly LandlockRight[]>;

/** Restricted together with `write`, and given by it nowhere. */
export const deviceRights: readonly LandlockRight[] = ['make_char', 'make_block'];

/** Masks as the kernel takes them. */
export function rightsMask(rights: Iterable<LandlockRight>): number {
  let mask = 0;
  for (const right of rights) mask |= fileRights[right].bit;
  return mask;
}

export function rightsOf(mask: number): LandlockRight[] {
  return rightNames.filter((name) => mask & fileRights[name].bit);
}

export function networkMask(rights: readonly ('bind' | 'connect')[]): number {
  return rights.reduce((mask, name) => mask | networkRights[name].bit, 0);
}

export function scopeMask(names: readonly LandlockScope[]): number {
  return names.reduce((mask, name) => mask | scopes[name].bit, 0);
}
