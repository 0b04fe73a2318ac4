/** Netlink's codec: what is written is read back, and what is malformed is refused with a typed error and nothing else. */

import { describe, expect, it } from 'vitest';
import { readAcknowledgement, refusal } from '../../../lib/netlink/acknowledgement.js';
import { Attributes, AttributeWriter } from '../../../lib/netlink/attributes.js';
import { NetlinkError } from '../../../lib/netlink/error.js';
import { decodeMessages, encodeMessage, messageFlag, messageType, native } from '../../../lib/netlink/message.js';

/** xorshift32: the same each time, so that a failure can be repeated. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const names = { 1: 'NAME', 18: ['INFO', { 1: 'KIND', 2: ['DATA', { 5: 'SPEED' }] }] } as const;
const message = { type: 16, flags: 5, sequence: 7, port: 9, header: Buffer.alloc(16, 0xee) };

/** A NLMSG_ERROR as the kernel makes one with NETLINK_CAP_ACK and NETLINK_EXT_ACK. */
function answer(errno: number, write: (attributes: AttributeWriter) => void, flags = 0x300): Buffer {
  const start = Buffer.alloc(20);
  native.writeI32(start, -errno, 0);
  native.writeU32(start, 32, 4);
  const attributes = new AttributeWriter();
  write(attributes);
  return encodeMessage({ ...message, type: messageType.ERROR, flags, header: start, attributes: attributes.bytes() });
}

const only = (bytes: Buffer) => {
  const [first, ...rest] = decodeMessages(bytes);
  if (first === undefined || rest.length > 0) throw new Error('not one message');
  return first;
};

describe('messages', () => {
  it('are written with the lengths and the alignment that the kernel wants', () => {
    const attributes = new AttributeWriter().string(1, 'eth0').u8(2, 3).bytes();
    expect(attributes.toString('hex')).toMatch(/^0900010065746830000{6}0500020003000000$|^00090001/);
    const bytes = encodeMessage({ ...message, attributes });
    expect(bytes.length).toBe(16 + 16 + 12 + 8);
    expect(native.readU32(bytes, 0)).toBe(bytes.length);
    const { body, ...rest } = only(bytes);
    expect(rest).toEqual({ type: 16, flags: 5, sequence: 7, port: 9 });
    expect(Attributes.after(body, 16).string(1)).toBe('eth0');
  });

  it('of one datagram are read one by one, and a structure that is no multiple of four is padded', () => {
    const one = encodeMessage({
      ...message,
      header: Buffer.from([1]),
      attributes: new AttributeWriter().u32(1, 2).bytes(),
    });
    const all = decodeMessages(Buffer.concat([one, one, encodeMessage(message)]));
    expect(all).toHaveLength(3);
    expect(Attributes.after(all[1]?.body ?? Buffer.alloc(0), 1).u32(1)).toBe(2);
  });

  it('whose length leads out of the datagram are refused', () => {
    for (const length of [0, 15, 17, 0xffffffff]) {
      const bytes = encodeMessage({ ...message, header: Buffer.alloc(0) });
      native.writeU32(bytes, length, 0);
      expect(() => decodeMessages(bytes), String(length)).toThrow(NetlinkError);
    }
    expect(() => decodeMessages(Buffer.alloc(15))).toThrow(/no header/);
    expect(decodeMessages(Buffer.alloc(0))).toEqual([]);
  });
});

describe('attributes', () => {
  it('of every kind are read as they were written', () => {
    const bytes = new AttributeWriter()
      .flag(1)
      .u8(2, 255)
      .u16(3, 0xfffe)
      .u16be(4, 0x0102)
      .u32(5, 0xfffffffe)
      .i32(6, -5)
      .u32be(7, 0x01020304)
      .u64(8, 2n ** 64n - 1n)
      .u64be(9, 0x0102030405060708n)
      .string(10, 'ü')
      .binary(11, Buffer.from([1, 2, 3]))
      .nested(12, (inside) => inside.u32(1, 1).nested(2, (deeper) => deeper.string(1, '')))
      .u8(2, 254)
      .bytes();
    const read = new Attributes(bytes);
    expect(read.has(1)).toBe(true);
    expect(read.has(99)).toBe(false);
    expect(read.u8(2), 'the last of several counts').toBe(254);
    expect(read.u16(3)).toBe(0xfffe);
    expect(read.u16be(4)).toBe(0x0102);
    expect(read.u32(5)).toBe(0xfffffffe);
    expect(read.i32(6)).toBe(-5);
    expect(read.u32be(7)).toBe(0x01020304);
    expect(read.binary(7)).toEqual(Buffer.from([1, 2, 3, 4]));
    expect(read.u64(8)).toBe(2n ** 64n - 1n);
    expect(read.u64be(9)).toBe(0x0102030405060708n);
    expect(read.string(10)).toBe('ü');
    expect(read.binary(11)).toEqual(Buffer.from([1, 2, 3]));
    expect(read.nested(12)?.nested(2)?.string(1)).toBe('');
    expect(read.u32(98)).toBeUndefined();
    expect(read.each().map(({ type }) => type)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 2]);
    expect(bytes.length % 4).toBe(0);
  });

  it('that have another length than what is read are refused', () => {
    const read = new Attributes(new AttributeWriter().u16(1, 1).u32(2, 2).bytes());
    for (const call of [() => read.u32(1), () => read.u8(1), () => read.u64(2), () => read.binary(2, 5)]) {
      expect(call).toThrow(NetlinkError);
    }
    expect(() => Attributes.after(Buffer.alloc(3), 4)).toThrow(NetlinkError);
    expect(() => new Attributes(Buffer.from([3, 0, 1, 0]))).toThrow(/malformed/);
  });

  it('longer than their length can say are refused when they are written, also by what they nest', () => {
    expect(() => new AttributeWriter().binary(1, Buffer.alloc(65_532))).toThrow(/too long/);
    const half = Buffer.alloc(40_000);
    const both = () => new AttributeWriter().nested(1, (inside) => inside.binary(1, half).binary(2, half));
    expect(both).toThrow(/too long/);
    expect(new AttributeWriter().binary(1, Buffer.alloc(65_531)).length).toBe(65_536);
  });

  it('at random come back the same', () => {
    const next = random(4);
    for (let round = 0; round < 500; round++) {
      const written: [number, Buffer][] = Array.from({ length: next(12) }, () => [
        1 + next(0x3ffe),
        Buffer.from(Array.from({ length: next(40) }, () => next(256))),
      ]);
      const writer = new AttributeWriter();
      for (const [type, value] of written) writer.binary(type, value);
      const inside = new AttributeWriter().nested(5, (nest) => nest.append(writer.bytes())).bytes();
      const read = new Attributes(inside).nested(5)?.each() ?? [];
      expect(read.map(({ type, value }) => [type, Buffer.from(value)])).toEqual(written);
    }
  });
});

describe('acknowledgements', () => {
  const request = {
    doing: 'adding the link a',
    start: 32,
    names,
    bytes: encodeMessage({
      ...message,
      attributes: new AttributeWriter()
        .string(1, 'a')
        .nested(18, (info) => info.string(1, 'veth').nested(2, (data) => data.u32(5, 1)))
        .bytes(),
    }),
  };

  it('say what the kernel says, with its words and the attribute that it objects to', () => {
    const at = 32 + 8 + 4 + 12 + 4;
    const read = readAcknowledgement(only(answer(22, (to) => to.string(1, 'no such speed').u32(2, at))));
    expect(read).toMatchObject({ errno: 22, kernel: 'no such speed', offset: at });
    const error = refusal(request, read);
    expect(error).toBeInstanceOf(NetlinkError);
    expect(error).toMatchObject({
      code: 'ERR_NETLINK',
      errno: 'EINVAL',
      kernel: 'no such speed',
      attribute: 'INFO.DATA.SPEED',
      message: 'adding the link a: the kernel answered EINVAL: no such speed, at INFO.DATA.SPEED',
    });
  });

  it('name what is missing, and where', () => {
    const error = refusal(request, readAcknowledgement(only(answer(22, (to) => to.u32(5, 2).u32(6, 40)))));
    expect(error).toMatchObject({ missing: 'INFO.DATA', message: expect.stringMatching(/INFO\.DATA is missing$/) });
    const top = refusal(request, readAcknowledgement(only(answer(22, (to) => to.u32(5, 1)))));
    expect(top.missing).toBe('NAME');
  });

  it('without words are read too, and those that echo the whole request', () => {
    expect(readAcknowledgement(only(answer(0, () => {}, 0)))).toEqual({ errno: 0 });
    expect(readAcknowledgement(only(answer(17, () => {}, 0x100)))).toEqual({ errno: 17 });
    const start = Buffer.alloc(4);
    native.writeI32(start, -22, 0);
    const attributes = new AttributeWriter().string(1, 'words').bytes();
    const whole = {
      ...message,
      type: 2,
      flags: messageFlag.ACK_TLVS,
      header: Buffer.concat([start, request.bytes]),
      attributes,
    };
    expect(readAcknowledgement(only(encodeMessage(whole)))).toMatchObject({ errno: 22, kernel: 'words' });
  });

  it('that are cut off, or lead out of the message, are refused', () => {
    const short = encodeMessage({ ...message, type: 2, header: Buffer.alloc(0) });
    expect(() => readAcknowledgement(only(short))).toThrow(NetlinkError);
    const bytes = answer(1, () => {}, messageFlag.ACK_TLVS);
    native.writeU32(bytes, 1000, 20);
    expect(() => readAcknowledgement(only(bytes))).toThrow(NetlinkError);
    expect(readAcknowledgement(only(encodeMessage({ ...message, type: 3, header: Buffer.alloc(0) })))).toEqual({
      errno: 0,
    });
  });

  it('with an offset that leads nowhere still become an error', () => {
    for (const offset of [0, 16, 33, 10_000, 0xffffffff]) {
      const error = refusal(request, { errno: 22, offset, missingType: 77, missingNest: offset });
      expect(error.code).toBe('ERR_NETLINK');
    }
  });
});

describe('mutated bytes', () => {
  it('are read or refused with a typed error, in bounded time', () => {
    const next = random(20261125);
    const valid = Buffer.concat([
      encodeMessage({
        ...message,
        attributes: new AttributeWriter()
          .string(1, 'eth0')
          .nested(18, (info) => info.string(1, 'veth').nested(2, (data) => data.u32(5, 1).u64(6, 1n)))
          .bytes(),
      }),
      answer(22, (to) => to.string(1, 'words').u32(2, 40).u32(5, 1).u32(6, 40)),
    ]);
    const visit = (attributes: Attributes, depth: number): void => {
      for (const { type } of attributes.each()) {
        for (const read of ['u8', 'u16', 'u32', 'u64', 'string', 'binary'] as const)
          typed(() => attributes[read](type));
        if (depth < 8) typed(() => visit(attributes.nested(type) ?? new Attributes(Buffer.alloc(0)), depth + 1));
      }
    };
    let refused = 0;
    const typed = (call: () => unknown) => {
      try {
        call();
      } catch (error) {
        if (!(error instanceof NetlinkError) || error.code !== 'ERR_NETLINK_MESSAGE') throw error;
        refused++;
      }
    };
    for (let round = 0; round < 5_000; round++) {
      const bytes = Buffer.from(valid);
      for (let i = 0; i < 1 + next(4); i++) bytes[next(bytes.length)] = next(3) === 0 ? 255 : next(256);
      const cut = next(3) === 0 ? bytes.subarray(0, next(bytes.length)) : bytes;
      typed(() => {
        for (const read of decodeMessages(cut)) {
          typed(() => visit(Attributes.after(read.body, 16), 0));
          typed(() => refusal({ doing: 'x', bytes: valid, start: 32, names }, readAcknowledgement(read)));
          typed(() => refusal({ doing: 'x', bytes: cut, start: 32, names }, { errno: 1, offset: next(200) }));
        }
      });
    }
    expect(refused).toBeGreaterThan(2_500);
  });
});
