/**
 * Writes tar archives byte by byte, also ones that no tool would write: every field of a header can be set to anything, and
 * nothing is checked. Formats: ustar and PAX (pax(1)), old GNU (tar.info, "Basic Tar Format"), v7.
 */

const block = 512;

export type TarBytes = string | Uint8Array;

/** A member. What is left out is what a plain root-owned file of 1970 has. */
export interface TarMember {
  /** Bytes as they are: no slash is added to a directory. Longer than the field: see {@link longName}, {@link pax}. */
  readonly name: TarBytes;
  /** `'0'` file, `'1'` hard link, `'2'` symbolic link, `'3'` `'4'` devices, `'5'` directory, `'6'` FIFO, `'x'` `'g'` PAX, `'L'` `'K'` GNU. */
  readonly type?: string;
  readonly mode?: number;
  readonly uid?: number | bigint;
  readonly gid?: number | bigint;
  /** Seconds. */
  readonly mtime?: number | bigint;
  readonly linkName?: TarBytes;
  readonly userName?: TarBytes;
  readonly groupName?: TarBytes;
  readonly major?: number;
  readonly minor?: number;
  /** The ustar prefix field. */
  readonly prefix?: TarBytes;
  readonly content?: TarBytes;
  /** What the header says that the size is; by default what it is. */
  readonly size?: number | bigint;
  /** Default `'ustar'`. */
  readonly format?: 'ustar' | 'gnu' | 'v7';
  /** Records of a PAX header that is written before it. */
  readonly pax?: readonly (readonly [key: string, value: TarBytes])[];
  /** Extended attributes, as PAX records. */
  readonly xattrs?: Readonly<Record<string, TarBytes>>;
  /** Fields as bytes, by their names here, in place of what they would be; not padded further than to their length. */
  readonly fields?: Partial<Record<keyof typeof fields, TarBytes>>;
}

/** Offset and length of each field of a header. */
export const fields = {
  name: [0, 100],
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  checksum: [148, 8],
  type: [156, 1],
  linkName: [157, 100],
  magic: [257, 8],
  userName: [265, 32],
  groupName: [297, 32],
  major: [329, 8],
  minor: [337, 8],
  prefix: [345, 155],
} as const;

/** Octal digits and a NUL; what does not fit, or is negative, as GNU writes it: base 256, two's complement. */
export function numberField(value: number | bigint, length: number): Buffer {
  const big = BigInt(value);
  const digits = big.toString(8);
  if (big >= 0n && digits.length < length) return Buffer.from(`${digits.padStart(length - 1, '0')}\0`);
  return base256(big, length);
}

/** A number in GNU's base 256: the first byte is 0x80, or 0xff for a negative one. */
export function base256(value: bigint, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let rest = BigInt.asUintN(length * 8 - 1, value);
  for (let i = length - 1; i >= 0; i--, rest >>= 8n) bytes[i] = Number(rest & 0xffn);
  bytes[0] = (bytes[0] ?? 0) | 0x80;
  return bytes;
}

/** One header block, with its checksum unless that is given among the fields. */
export function header(member: TarMember): Buffer {
  const bytes = Buffer.alloc(block);
  const put = (field: keyof typeof fields, value: TarBytes) => {
    const [offset, length] = fields[field];
    Buffer.from(value).copy(bytes, offset, 0, length);
  };
  const number = (field: keyof typeof fields, value: number | bigint) =>
    put(field, numberField(value, fields[field][1]));
  const { type = '0', format = 'ustar' } = member;
  put('name', member.name);
  number('mode', member.mode ?? (type === '5' ? 0o755 : 0o644));
  number('uid', member.uid ?? 0);
  number('gid', member.gid ?? 0);
  number('size', member.size ?? Buffer.from(member.content ?? '').length);
  number('mtime', member.mtime ?? 0);
  put('type', type);
  put('linkName', member.linkName ?? '');
  if (format !== 'v7') {
    put('magic', format === 'gnu' ? 'ustar  \0' : 'ustar\x0000');
    put('userName', member.userName ?? '');
    put('groupName', member.groupName ?? '');
    number('major', member.major ?? 0);
    number('minor', member.minor ?? 0);
    put('prefix', member.prefix ?? '');
  }
  for (const [field, value] of Object.entries(member.fields ?? {})) put(field as keyof typeof fields, value);
  if (member.fields?.checksum === undefined) put('checksum', checksumField(bytes));
  return bytes;
}

/** The sum of all bytes with the checksum itself taken as spaces: six octal digits, a NUL, a space. */
export function checksumField(header: Uint8Array): Buffer {
  const copy = Buffer.from(header);
  copy.fill(0x20, 148, 156);
  const sum = copy.reduce((total, byte) => total + byte, 0);
  return Buffer.from(`${sum.toString(8).padStart(6, '0')}\0 `);
}

/** A member as it stands in an archive: PAX header, header, content, padding. */
export function member(one: TarMember): Buffer {
  const records = [
    ...(one.pax ?? []),
    ...Object.entries(one.xattrs ?? {}).map(([name, value]) => [`SCHILY.xattr.${name}`, value] as const),
  ];
  const content = Buffer.from(one.content ?? '');
  return Buffer.concat([records.length > 0 ? pax(records) : Buffer.alloc(0), header(one), padded(content)]);
}

/** Filled up with zeros to whole blocks. */
export function padded(bytes: Uint8Array): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((block - (bytes.length % block)) % block)]);
}

/** One record of a PAX header: `"<length> <key>=<value>\n"`, where the length counts itself. */
export function paxRecord(key: string, value: TarBytes): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value), Buffer.from('\n')]);
  let length = rest.length;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

/** A PAX header for the next member (`'x'`), or for all that follow (`'g'`); records as bytes are taken as they are. */
export function pax(records: Uint8Array | readonly (readonly [string, TarBytes])[], type: 'x' | 'g' = 'x'): Buffer {
  const content =
    records instanceof Uint8Array ? records : Buffer.concat(records.map(([key, value]) => paxRecord(key, value)));
  return member({ name: type === 'x' ? 'PaxHeaders/x' : 'pax_global_header', type, content });
}

/** GNU's way of a long name (`'L'`), or of a long target of a link (`'K'`), of the next member. */
export function longName(name: TarBytes, type: 'L' | 'K' = 'L'): Buffer {
  return member({
    name: '././@LongLink',
    type,
    format: 'gnu',
    content: Buffer.concat([Buffer.from(name), Buffer.alloc(1)]),
  });
}

/** Two blocks of zeros: the end of an archive. */
export const endOfArchive: Uint8Array = Buffer.alloc(2 * block);

/** An archive: members one after another, or bytes as they are, and the end. */
export function tar(...parts: readonly (TarMember | Uint8Array)[]): Buffer {
  return Buffer.concat([...parts.map((part) => (part instanceof Uint8Array ? part : member(part))), endOfArchive]);
}

type Attributes = Omit<TarMember, 'name' | 'type' | 'content' | 'linkName'>;

export const file = (name: TarBytes, content: TarBytes = '', attributes: Attributes = {}): TarMember => ({
  name,
  content,
  ...attributes,
});

/** A directory; the slash at the end of its name, as tools write it, is the caller's. */
export const directory = (name: TarBytes, attributes: Attributes = {}): TarMember => ({
  name,
  type: '5',
  ...attributes,
});

export const symlink = (name: TarBytes, target: TarBytes, attributes: Attributes = {}): TarMember => ({
  name,
  type: '2',
  linkName: target,
  mode: 0o777,
  ...attributes,
});

export const hardLink = (name: TarBytes, target: TarBytes, attributes: Attributes = {}): TarMember => ({
  name,
  type: '1',
  linkName: target,
  ...attributes,
});
