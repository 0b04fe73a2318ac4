/**
 * The IPv4 addresses of one network, and what is derived from them. Whoever has given one back is followed by others as late
 * as can be: what the world still remembers of an address (neighbours, connections) is then of nobody.
 */

import { OptionError, TscontainError } from '../../errors.js';
import { formatIp, formatMac, type IpPrefix } from '../address.js';

/** Addresses of a network, but for its own, its broadcast's, and the first, which is the gateway's. */
export class AddressPool {
  readonly network: IpPrefix;
  readonly #first: number;
  readonly #last: number;
  readonly #taken = new Set<number>();
  /** Those that were given back, the one that was given back first at the front. */
  readonly #returned = new Set<number>();
  #next: number;

  constructor(network: IpPrefix) {
    this.network = network;
    const base = network.bytes.readUInt32BE(0);
    this.#first = base + 2;
    this.#last = base + 2 ** (32 - network.length) - 2;
    this.#next = this.#first;
  }

  get gateway(): number {
    return this.#first - 1;
  }

  /** How many containers have one. */
  get used(): number {
    return this.#taken.size;
  }

  /** The one that is free for the longest, or one that was asked for; undefined only shows which it would be. */
  take(asked: number | undefined, option: string): number {
    const address = asked ?? this.#free();
    if (asked !== undefined) this.#expectFree(asked, option);
    this.#returned.delete(address);
    this.#taken.add(address);
    return address;
  }

  release(address: number): void {
    if (this.#taken.delete(address)) this.#returned.add(address);
  }

  #free(): number {
    while (this.#next <= this.#last) {
      const address = this.#next++;
      if (!this.#taken.has(address) && !this.#returned.has(address)) return address;
    }
    for (const address of this.#returned) return address;
    throw new TscontainError('ERR_NO_ADDRESS', 'every address of the network is in use', {
      hint: `it has ${this.#last - this.#first + 1}; Network.create takes a larger subnet`,
    });
  }

  #expectFree(address: number, option: string): void {
    const text = ipv4Text(address);
    if (address < this.#first || address > this.#last) {
      throw new OptionError(option, `one from ${ipv4Text(this.#first)} to ${ipv4Text(this.#last)}`, text);
    }
    if (this.#taken.has(address)) throw new OptionError(option, 'an address that is not in use', text);
  }
}

export function ipv4Bytes(address: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(address);
  return bytes;
}

export function ipv4Text(address: number): string {
  return formatIp(ipv4Bytes(address));
}

/** The IPv6 address that goes with an IPv4 address: its 32 bits are the last ones. */
export function ipv6Of(network: IpPrefix, address: number): Buffer {
  const bytes = Buffer.from(network.bytes);
  bytes.writeUInt32BE(address, 12);
  return bytes;
}

/** A locally administered hardware address, the same for the same IPv4 address: no neighbour remembers a wrong one. */
export function macOf(address: number): Buffer {
  return Buffer.concat([Buffer.from([0x02, 0x74]), ipv4Bytes(address)]);
}

export function macText(address: number): string {
  return formatMac(macOf(address));
}

/** The link-local address that the kernel derives from a hardware address (RFC 4291, appendix A). */
export function linkLocalOf(mac: Buffer): string {
  const bytes = Buffer.alloc(16);
  bytes.set([0xfe, 0x80]);
  bytes.set(mac.subarray(0, 3), 8);
  bytes.set([0xff, 0xfe], 11);
  bytes.set(mac.subarray(3), 13);
  bytes.writeUInt8(bytes.readUInt8(8) ^ 2, 8);
  return formatIp(bytes);
}

/** Whether two networks have an address in common. */
export function overlap(a: IpPrefix, b: IpPrefix): boolean {
  if (a.family !== b.family) return false;
  const bits = Math.min(a.length, b.length);
  for (let at = 0; at < bits; at += 8) {
    const mask = (0xff00 >> Math.min(8, bits - at)) & 0xff;
    const index = at / 8;
    if (((a.bytes[index] ?? 0) & mask) !== ((b.bytes[index] ?? 0) & mask)) return false;
  }
  return true;
}
