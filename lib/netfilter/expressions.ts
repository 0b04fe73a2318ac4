/**
 * The kernel's expressions: what a rule is made of in nf_tables. Each has a name and attributes (linux/netfilter/nf_tables.h);
 * this is the one table of both, for writing and for reading.
 */

/** A value in a register, or what becomes of the packet. */
export type Data = { readonly value: Uint8Array } | { readonly verdict: number; readonly chain?: string };

type AttributeType = 'u8' | 'u16' | 'u32' | 'u64' | 'string' | 'data' | 'expressions';

interface AttributeSpec {
  readonly number: number;
  readonly type: AttributeType;
}

function u32<const N extends number>(number: N) {
  return { number, type: 'u32' } as const;
}
function u16<const N extends number>(number: N) {
  return { number, type: 'u16' } as const;
}
function u8<const N extends number>(number: N) {
  return { number, type: 'u8' } as const;
}
function u64<const N extends number>(number: N) {
  return { number, type: 'u64' } as const;
}
function text<const N extends number>(number: N) {
  return { number, type: 'string' } as const;
}
function data<const N extends number>(number: N) {
  return { number, type: 'data' } as const;
}
function list<const N extends number>(number: N) {
  return { number, type: 'expressions' } as const;
}

/** Attributes of each expression, by the kernel's names in lower case. */
export const expressionAttributes = {
  bitwise: { sreg: u32(1), dreg: u32(2), len: u32(3), mask: data(4), xor: data(5), op: u32(6), data: data(7) },
  byteorder: { sreg: u32(1), dreg: u32(2), op: u32(3), len: u32(4), size: u32(5) },
  cmp: { sreg: u32(1), op: u32(2), data: data(3) },
  connlimit: { count: u32(1), flags: u32(2) },
  counter: { bytes: u64(1), packets: u64(2) },
  ct: { dreg: u32(1), key: u32(2), direction: u8(3), sreg: u32(4) },
  dynset: {
    set: text(1),
    setId: u32(2),
    op: u32(3),
    sregKey: u32(4),
    sregData: u32(5),
    timeout: u64(6),
    flags: u32(9),
    expressions: list(10),
  },
  fib: { dreg: u32(1), result: u32(2), flags: u32(3) },
  immediate: { dreg: u32(1), data: data(2) },
  limit: { rate: u64(1), unit: u64(2), burst: u32(3), type: u32(4), flags: u32(5) },
  log: { group: u16(1), prefix: text(2), snaplen: u32(3), qthreshold: u16(4), level: u32(5), flags: u32(6) },
  lookup: { set: text(1), sreg: u32(2), dreg: u32(3), setId: u32(4), flags: u32(5) },
  masq: { flags: u32(1), protoMin: u32(2), protoMax: u32(3) },
  meta: { dreg: u32(1), key: u32(2), sreg: u32(3) },
  nat: {
    type: u32(1),
    family: u32(2),
    addrMin: u32(3),
    addrMax: u32(4),
    protoMin: u32(5),
    protoMax: u32(6),
    flags: u32(7),
  },
  notrack: {},
  objref: { type: u32(1), object: text(2) },
  payload: { dreg: u32(1), base: u32(2), offset: u32(3), len: u32(4), sreg: u32(5) },
  queue: { num: u16(1), total: u16(2), flags: u16(3) },
  quota: { bytes: u64(1), flags: u32(2), consumed: u64(4) },
  range: { sreg: u32(1), op: u32(2), from: data(3), to: data(4) },
  redir: { protoMin: u32(1), protoMax: u32(2), flags: u32(3) },
  reject: { type: u32(1), code: u8(2) },
  socket: { key: u32(1), dreg: u32(2) },
  tproxy: { family: u32(1), addr: u32(2), port: u32(3) },
} as const satisfies Readonly<Record<string, Readonly<Record<string, AttributeSpec>>>>;

export type ExpressionName = keyof typeof expressionAttributes;

interface ValuesOfTypes {
  u8: number;
  u16: number;
  u32: number;
  u64: number;
  string: string;
  data: Data;
  expressions: readonly Expression[];
}

type Values<Attributes> = {
  readonly [K in keyof Attributes]?: Attributes[K] extends { readonly type: infer T extends AttributeType }
    ? ValuesOfTypes[T]
    : never;
};

/** An expression of one name, with those of its attributes that are there. */
export type ExpressionOf<N extends ExpressionName> = { readonly name: N } & Values<(typeof expressionAttributes)[N]>;

export type KnownExpression = { [N in ExpressionName]: ExpressionOf<N> }[ExpressionName];

/** An expression that this table lacks, as it was read. */
export interface OtherExpression {
  readonly name: 'other';
  /** The kernel's name. */
  readonly kind: string;
}

export type Expression = KnownExpression | OtherExpression;

export const compareOps = { '==': 0, '!=': 1, '<': 2, '<=': 3, '>': 4, '>=': 5 } as const;

export const verdictCodes = { drop: 0, accept: 1, continue: -1, jump: -3, goto: -4, return: -5 } as const;

/** The register of verdicts. */
export const verdictRegister = 0;
/** The first of the 16 registers of 4 bytes (NFT_REG32_00). */
const firstRegister = 8;
const registersOf16 = 4;
export const registerCount = 16;

/** The number of a register of 4 bytes, for the kernel. */
export function register(index: number): number {
  return firstRegister + index;
}

/** Which of the registers of 4 bytes a number begins at; the first four numbers are those of 16 bytes. */
export function registerIndex(number: number): number | undefined {
  if (number >= 1 && number <= registersOf16) return (number - 1) * 4;
  const index = number - firstRegister;
  return index >= 0 && index < registerCount ? index : undefined;
}

export const objectTypes = { counter: 1, quota: 2, limit: 4 } as const;
