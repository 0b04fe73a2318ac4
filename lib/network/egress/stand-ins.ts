/**
 * Addresses that stand for names. A program that asks for a name gets an address that means this name and nothing else, and only
 * in its container: one of those that are kept for measuring networks (RFC 2544, RFC 5180), which nobody has. So what a
 * connection is judged by is the very name that was asked for, whatever other names have the same real address, whatever the
 * real address is by then, and however long ago the answer was.
 */

const first = Buffer.from([198, 18, 0, 0]);
const firstIpv6 = Buffer.from('20010002000000000000000000000000', 'hex');
/** All of 198.18.0.0/15 but its ends. */
const most = 2 ** 17 - 2;

export class StandIns {
  /** By name, the one that was asked for longest ago first. */
  readonly #numbers = new Map<string, number>();
  readonly #names = new Map<number, string>();
  readonly #capacity: number;

  constructor(capacity = most) {
    this.#capacity = Math.min(capacity, most);
  }

  /** The addresses of a name. When all are taken, the name that was asked for longest ago loses its own. */
  addressesOf(name: string): { readonly ipv4: Buffer; readonly ipv6: Buffer } {
    const number = this.#numbers.get(name) ?? this.#free();
    this.#numbers.delete(name);
    this.#numbers.set(name, number);
    this.#names.set(number, name);
    return { ipv4: plus(first, number), ipv6: plus(firstIpv6, number) };
  }

  /** The name that an address stands for; undefined for every other address. */
  nameOf(bytes: Buffer): string | undefined {
    const base = bytes.length === 4 ? first : firstIpv6;
    const at = bytes.length - 4;
    if (bytes.length !== base.length || !bytes.subarray(0, at).equals(base.subarray(0, at))) return undefined;
    return this.#names.get(bytes.readUInt32BE(at) - base.readUInt32BE(at));
  }

  #free(): number {
    if (this.#names.size < this.#capacity) return this.#names.size + 1;
    const [oldest = ['', 1] as const] = this.#numbers;
    this.#numbers.delete(oldest[0]);
    return oldest[1];
  }
}

function plus(base: Buffer, number: number): Buffer {
  const bytes = Buffer.from(base);
  const at = bytes.length - 4;
  bytes.writeUInt32BE(base.readUInt32BE(at) + number, at);
  return bytes;
}
