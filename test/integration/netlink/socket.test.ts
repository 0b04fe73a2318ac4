/** The netlink socket, in network namespaces that the tests make. */

import { readdirSync, readlinkSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Namespace } from '../../../lib/index.js';
import { Attributes, AttributeWriter } from '../../../lib/netlink/attributes.js';
import { NetlinkError } from '../../../lib/netlink/error.js';
import { messageFlag, native } from '../../../lib/netlink/message.js';
import { type NetlinkRequest, NetlinkSocket } from '../../../lib/netlink/socket.js';
import { isFallback } from '../../support/links.js';
import { checkResidue } from '../../support/residue.js';

checkResidue();

let network: Namespace;
beforeEach(async () => {
  network = await Namespace.create(process.geteuid?.() === 0 ? 'net' : ['user', 'net']);
});
afterEach(() => network.close());

const open = () => NetlinkSocket.open('route', network.descriptor('net'));
const NEWLINK = 16;
const DELLINK = 17;
const GETLINK = 18;
const NEWADDR = 20;
const groupLink = 1;
const link = (index = 0) => {
  const bytes = Buffer.alloc(16);
  native.writeI32(bytes, index, 4);
  return bytes;
};
const bridge = (name: string): NetlinkRequest => ({
  type: NEWLINK,
  flags: messageFlag.CREATE | messageFlag.EXCL,
  header: link(),
  attributes: new AttributeWriter()
    .string(3, name)
    .nested(18, (info) => info.string(1, 'bridge'))
    .bytes(),
  doing: `adding ${name}`,
  names: { 3: 'IFLA_IFNAME', 18: ['IFLA_LINKINFO', { 1: 'IFLA_INFO_KIND' }] },
});
const remove = (name: string): NetlinkRequest => ({
  type: DELLINK,
  header: link(),
  attributes: new AttributeWriter().string(3, name).bytes(),
  doing: `removing ${name}`,
});
const list: NetlinkRequest = { type: GETLINK, header: link(), doing: 'listing links' };
const nameOf = ({ body }: { readonly body: Buffer }) => Attributes.after(body, 16).string(3) ?? '';
/** Without those that the kernel has put there by itself. */
const namesOf = (messages: readonly { readonly body: Buffer }[]) =>
  messages.map(nameOf).filter((name) => !isFallback(name));
const failure = async (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );
const sockets = () =>
  readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:');
    } catch {
      return false;
    }
  }).length;

describe('a socket', () => {
  it('of another namespace sees that one’s links, while this process stays where it is', async () => {
    const before = readlinkSync('/proc/thread-self/ns/net');
    await using socket = await open();
    await socket.request(bridge('d0'));
    expect(namesOf(await socket.dump(list)).sort()).toEqual(['d0', 'lo']);
    expect(readlinkSync('/proc/thread-self/ns/net')).toBe(before);
    expect(readdirSync('/sys/class/net')).not.toContain('d0');
    await socket.request(remove('d0'));
    expect(namesOf(await socket.dump(list))).toEqual(['lo']);
  });

  it('of this process’s own namespace answers, without a process in between', async () => {
    await using socket = await NetlinkSocket.open('route');
    const names = namesOf(await socket.dump(list));
    expect(names.sort()).toEqual(
      readdirSync('/sys/class/net')
        .filter((name) => name !== 'bonding_masters' && !isFallback(name))
        .sort(),
    );
  });

  it('of each protocol opens, several at once', async () => {
    const all = await NetlinkSocket.openAll(['route', 'netfilter', 'generic'], network.descriptor('net'));
    expect(all.map(({ protocol }) => protocol)).toEqual(['route', 'netfilter', 'generic']);
    expect(new Set(all.map(({ port }) => port)).size, 'ports of one protocol differ, others need not').toBeGreaterThan(
      0,
    );
    for (const socket of all) socket.close();
  });

  it('tells the kernel’s error with the attribute and its own words', async () => {
    await using socket = await open();
    const strange = { ...bridge('d1'), attributes: new AttributeWriter().string(3, 'a/b').bytes() };
    expect(await failure(socket.request(strange))).toBeInstanceOf(NetlinkError);
    expect(await failure(socket.request({ ...bridge('x'.repeat(40)) }))).toMatchObject({
      code: 'ERR_NETLINK',
      errno: 'ERANGE',
      attribute: 'IFLA_IFNAME',
    });
    const wrong = {
      type: NEWADDR,
      flags: messageFlag.CREATE,
      header: Buffer.from([2, 24, 0, 0, 1, 0, 0, 0]),
      doing: 'adding',
    };
    expect(await failure(socket.request(wrong))).toMatchObject({ errno: 'EINVAL', kernel: expect.stringMatching(/./) });
    expect(await failure(socket.request(remove('nothing')))).toMatchObject({ errno: 'ENODEV' });
  });

  it('answers hundreds of requests at once, each its own', async () => {
    await using socket = await open();
    const names = Array.from({ length: 250 }, (_, index) => `n${index}`);
    await Promise.all(names.map((name) => socket.request(bridge(name))));
    const again = await Promise.all(names.map((name) => failure(socket.request(bridge(name)))));
    expect(again.every((error) => error instanceof NetlinkError && error.errno === 'EEXIST')).toBe(true);
    expect(again.map((error) => /adding (n\d+)/.exec(String(error))?.[1])).toEqual(names);
    // Lists, and single questions between them.
    const lists = Array.from({ length: 4 }, () => socket.dump(list));
    const one = await socket.request({
      type: GETLINK,
      header: link(),
      attributes: new AttributeWriter().string(3, 'n200').bytes(),
      doing: 'asking',
    });
    expect(one.map(nameOf)).toEqual(['n200']);
    for (const found of await Promise.all(lists)) {
      expect(new Set(namesOf(found))).toEqual(new Set(['lo', ...names]));
    }
  });

  it('takes a batch in one datagram, and names which of it was refused', async () => {
    await using socket = await open();
    const ack = (request: NetlinkRequest) => ({ ...request, flags: (request.flags ?? 0) | messageFlag.ACK });
    await socket.batch([ack(bridge('b0')), ack(bridge('b1')), ack(remove('b0'))]);
    const error = await failure(socket.batch([ack(bridge('b2')), ack(bridge('b1')), ack(remove('b0'))]));
    expect(error).toMatchObject({ errno: 'EEXIST', index: 1 });
    expect((error as NetlinkError).errors.map(({ errno, index }) => [errno, index])).toEqual([
      ['EEXIST', 1],
      ['ENODEV', 2],
    ]);
    const names = namesOf(await socket.dump(list));
    expect(names).toContain('b2');
    expect(await socket.batch([])).toEqual([]);
  });

  it('takes a batch that is larger than its first buffer', async () => {
    await using socket = await open();
    const many = Array.from({ length: 2000 }, () => ({ ...remove('nothing'), flags: 0 }));
    // Only errors are told, and not all of them have room: that something was refused is certain.
    expect(await failure(socket.batch(many))).toMatchObject({ code: 'ERR_NETLINK', errno: 'ENODEV', index: 0 });
    expect(namesOf(await socket.dump(list))).toContain('lo');
  });

  it('says that an answer was lost, and what was asked may have been done', async () => {
    await using socket = await open();
    socket.setReceiveBuffer(2048);
    const many = Array.from({ length: 60 }, (_, index) => ({ ...bridge(`l${index}`), flags: 0x600 | messageFlag.ACK }));
    const error = await failure(socket.batch(many));
    expect(error).toMatchObject({ code: 'ERR_NETLINK_OVERRUN', errno: 'ENOBUFS' });
    const names = namesOf(await socket.dump(list));
    expect(names).toEqual(expect.arrayContaining(['l0', 'l59']));
  });

  it('reads a list whole while it changes, or says that it could not', async () => {
    await using socket = await open();
    await using other = await open();
    await socket.batch(Array.from({ length: 150 }, (_, index) => bridge(`s${index}`)));
    let done = false;
    const changes = (async () => {
      for (let round = 0; !done; round++) {
        await other.request(bridge(`x${round % 2}`));
        await other.request(remove(`x${round % 2}`));
      }
    })();
    let interrupted = 0;
    for (let round = 0; round < 20; round++) {
      const found = await socket.dump(list).catch((error: unknown) => error);
      if (found instanceof NetlinkError && found.code === 'ERR_NETLINK_INTERRUPTED') interrupted++;
      else {
        const names = new Set((found as { readonly body: Buffer }[]).map(nameOf));
        for (let index = 0; index < 150; index++) expect(names.has(`s${index}`), `s${index}`).toBe(true);
      }
    }
    done = true;
    await changes;
    expect(interrupted).toBeLessThan(20);
  });

  it('hears of events, and of those that were lost', async () => {
    await using watcher = await open();
    await using socket = await open();
    const events: string[] = [];
    let overruns = 0;
    const leave = watcher.subscribe([groupLink], {
      message: (message) => events.push(`${message.type === NEWLINK ? '+' : '-'}${nameOf(message)}`),
      overrun: () => overruns++,
    });
    await socket.request(bridge('e0'));
    await socket.request(remove('e0'));
    await expect.poll(() => events).toEqual(expect.arrayContaining(['+e0', '-e0']));
    expect(overruns).toBe(0);
    // Nothing is read while this thread is busy: a small buffer is full at once.
    watcher.setReceiveBuffer(2048);
    await socket.batch(Array.from({ length: 100 }, (_, index) => bridge(`o${index}`)));
    await expect.poll(() => overruns).toBeGreaterThan(0);
    leave();
    const heard = events.length;
    await socket.request(bridge('late'));
    expect((await watcher.dump(list)).map(nameOf), 'it can still be asked').toContain('late');
    expect(events.length).toBe(heard);
  });

  it('fails what is under way when it is closed, and everything after', async () => {
    const socket = await open();
    const before = sockets();
    const waiting = [failure(socket.dump(list)), failure(socket.request(bridge('c0'))), failure(socket.dump(list))];
    socket.close();
    socket.close();
    for (const error of await Promise.all(waiting)) expect(error).toMatchObject({ code: 'ERR_CLOSED' });
    expect(await failure(socket.request(bridge('c1')))).toMatchObject({ code: 'ERR_CLOSED' });
    expect(() => socket.subscribe([1], { message: () => {}, overrun: () => {} })).toThrow(/closed/);
    expect(sockets()).toBe(before - 1);
  });

  it('leaves no descriptor behind, however often it is opened', async () => {
    await (await open()).request(list).catch(() => {});
    const before = sockets();
    for (let round = 0; round < 50; round++) {
      await using socket = await open();
      await socket.dump(list);
    }
    await expect.poll(sockets).toBeLessThanOrEqual(before);
  });

  it('of a namespace that this process may not enter is refused', async (context) => {
    context.skip(process.geteuid?.() === 0, 'root may enter every namespace');
    await using host = Namespace.open('net', '/proc/self/ns/net');
    await using socket = await NetlinkSocket.open('route', host.descriptor('net'));
    expect(await failure(socket.request(bridge('never')))).toMatchObject({ errno: 'EPERM' });
  });
});
