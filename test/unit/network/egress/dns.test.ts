/** Answers to queries, and to what is none. */

import { decode, encode } from 'dns-packet';
import { describe, expect, it } from 'vitest';
import { answerQuery, type NameAnswer } from '../../../../lib/network/egress/dns.js';

const found: NameAnswer = {
  ipv4: Buffer.from([198, 18, 0, 1]),
  ipv6: Buffer.from('2001000200000000000000000000000a', 'hex'),
  ttl: 7,
};

async function ask(name: string, type: 'A' | 'AAAA' | 'TXT' | 'MX', answer: NameAnswer = found) {
  const asked: (string | undefined)[] = [];
  const query = encode({ type: 'query', id: 7, flags: 0x100, questions: [{ name, type }] });
  const reply = await answerQuery(query, (one) => {
    asked.push(one);
    return answer;
  });
  const { id, type: kind, answers, questions, ...rest } = decode(reply ?? Buffer.alloc(0));
  return { id, kind, asked, answers, questions, rcode: (rest as { rcode?: string }).rcode };
}

describe('a query', () => {
  it('is answered with an address, to the name as it was written', async () => {
    const { id, kind, asked, answers, questions } = await ask('Api.Example.COM', 'A');
    expect([id, kind, asked]).toEqual([7, 'response', ['api.example.com']]);
    expect(questions).toMatchObject([{ name: 'Api.Example.COM', type: 'A' }]);
    expect(answers).toMatchObject([{ name: 'Api.Example.COM', type: 'A', ttl: 7, data: '198.18.0.1' }]);
    expect((await ask('a.test', 'AAAA')).answers).toMatchObject([{ data: '2001:2::a' }]);
  });

  it('of another type, or for a family that is not there, has no answer, and the name is there', async () => {
    for (const type of ['TXT', 'MX'] as const)
      expect(await ask('a.test', type)).toMatchObject({ rcode: 'NOERROR', answers: [] });
    expect(await ask('a.test', 'AAAA', { ...found, ipv6: undefined })).toMatchObject({ rcode: 'NOERROR', answers: [] });
  });

  it('is refused where the name is not to be known, and where nobody knows', async () => {
    expect(await ask('a.test', 'A', 'none')).toMatchObject({ rcode: 'NXDOMAIN', answers: [] });
    expect(await ask('a.test', 'A', 'failed')).toMatchObject({ rcode: 'SERVFAIL', answers: [] });
    for (const name of ['a b.test', '1.0.0.127', 'über.test']) {
      const { asked } = await ask(name, 'A', 'none');
      expect(asked, name).toEqual([undefined]);
    }
  });

  it('that is none gets no answer, whatever its bytes', async () => {
    const good = encode({ type: 'query', id: 1, questions: [{ name: 'a.test', type: 'A' }] });
    const never = () => found;
    expect(await answerQuery(Buffer.alloc(0), never)).toBeUndefined();
    expect(await answerQuery(Buffer.alloc(9000), never)).toBeUndefined();
    expect(
      await answerQuery(encode({ type: 'response', id: 1, questions: [{ name: 'a', type: 'A' }] }), never),
    ).toBeUndefined();
    let seed = 1;
    const random = () => {
      seed = (seed * 1103515245 + 12345) & 0x7fffffff;
      return seed / 0x7fffffff;
    };
    for (let round = 0; round < 3000; round++) {
      const bytes = Buffer.from(good.subarray(0, Math.ceil(random() * good.length)));
      for (let flips = 0; flips < 4; flips++) bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
      const reply = await answerQuery(bytes, never).catch(() => undefined);
      if (reply) expect(decode(reply).type).toBe('response');
    }
    // A name that points at itself is not followed for ever.
    const loop = Buffer.concat([Buffer.from('000101000001000000000000', 'hex'), Buffer.from('c00c00010001', 'hex')]);
    expect(await answerQuery(loop, never).catch(() => undefined)).toBeUndefined();
  });
});
