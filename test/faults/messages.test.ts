/** Messages that are not what they should be: on the way to Node, to the launcher and to init. */

import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { makeBlueprint } from '../../lib/container/blueprint.js';
import { namespaces } from '../../lib/container/plan/compile.js';
import { parseContainerOptions } from '../../lib/container/settings.js';
import { resolveSources } from '../../lib/container/sources.js';
import { launcherConfiguration } from '../../lib/host/configuration.js';
import { Container, TscontainError } from '../../lib/index.js';
import { containerMapping } from '../../lib/launcher/agent-steps.js';
import { Init } from '../../lib/launcher/init.js';
import { launcher } from '../../lib/launcher/launcher.js';
import { addon, type Descriptor } from '../../lib/launcher/native.js';
import { detail, execFlag, message, stage } from '../../lib/launcher/protocol.js';
import { decodeRecords, encodeRecord, none } from '../../lib/launcher/wire.js';
import { encodeFragments, SlotNumbers, stepOp } from '../../lib/plan/encode.js';
import { keptSlots } from '../../lib/plan/step.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

/** xorshift32: the same bytes each time, so that a failure can be repeated. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

function noise(next: (below: number) => number, length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => next(256)));
}

/** A well-formed message with a few bytes changed, cut or added. */
function mutate(next: (below: number) => number, bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  for (let i = 0; i < 1 + next(4); i++) copy[next(copy.length)] = next(3) === 0 ? 255 : next(256);
  switch (next(4)) {
    case 0:
      return copy.subarray(0, next(copy.length));
    case 1:
      return Buffer.concat([copy, noise(next, 8 * (1 + next(4)))]);
    default:
      return copy;
  }
}

/** The numbers of an enum of a header, by name without the prefix. */
function enumeration(header: string, prefix: string): Map<string, number> {
  const text = readFileSync(`native/launcher/${header}`, 'utf8');
  const found = text.matchAll(new RegExp(`\\b${prefix}([A-Z_]+)\\s*=\\s*(\\d+)`, 'g'));
  return new Map([...found].map(([, name = '', value]) => [name, Number(value)]));
}

describe('messages', () => {
  it('N6: the numbers of the two halves of the protocol are the same', () => {
    const messages = enumeration('protocol.h', 'MSG_');
    for (const [name, value] of Object.entries(message)) expect(messages.get(name), name).toBe(value);
    const stages = enumeration('protocol.h', 'STAGE_');
    expect(Object.fromEntries(stages)).toEqual(stage);
    const flags = enumeration('protocol.h', 'EXEC_');
    expect(Object.fromEntries(flags)).toEqual(execFlag);
    expect(Object.fromEntries(enumeration('steps.h', 'DETAIL_'))).toEqual(detail);
    const slots = enumeration('protocol.h', 'SLOT_');
    const kept = {
      null: 'NULL',
      devpts: 'PTMX',
      proc: 'PROC',
      tty: 'TTY',
      oomScore: 'OOM_SCORE',
      upper: 'UPPER',
      below: 'BELOW',
      userns: 'USERNS',
    } as const;
    for (const [name, slot] of Object.entries(kept)) expect(slots.get(slot), name).toBe(keptSlots[name]);
    const steps = enumeration('protocol.h', 'STEP_');
    const renamed: Partial<Record<string, string>> = {
      fsconfigCreate: 'FSCONFIG',
      noNewPrivs: 'PRCTL',
      parentDeathSignal: 'PRCTL',
      keepCapabilities: 'PRCTL',
      coreScheduling: 'PRCTL',
      writeKernelFile: 'WRITE_FILE',
    };
    for (const [kind, op] of Object.entries(stepOp)) {
      const name = renamed[kind] ?? kind.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
      expect(steps.get(name), kind).toBe(op);
    }
    expect(messages.size).toBeGreaterThan(20);
  });

  it('N6, I19: random and mutated bytes are decoded exactly or refused with a typed error', () => {
    const next = random(20260924);
    const valid = encodeRecord(message.GONE, [1, 2 ** 52, -1], ['text', Buffer.from([0, 1, 2]), '']);
    expect(decodeRecords(Buffer.from(valid))).toMatchObject([
      { op: message.GONE, blobs: [{ length: 4 }, { length: 3 }, { length: 0 }] },
    ]);
    let refused = 0;
    let accepted = 0;
    for (let i = 0; i < 20_000; i++) {
      const bytes = next(2) === 0 ? noise(next, next(200)) : mutate(next, Buffer.from(valid));
      try {
        for (const { op, ints, blobs } of decodeRecords(bytes)) {
          expect(op).toBeLessThan(65536);
          for (const int of ints) if (!(int >= 0 && int <= 2 ** 64)) throw new Error(`a number of ${int}`);
          for (const blob of blobs) if (blob.length > bytes.length) throw new Error('a string that is too long');
        }
        accepted++;
      } catch (error) {
        if (!(error instanceof TscontainError) || error.code !== 'ERR_PROTOCOL') throw error;
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(1000);
    expect(accepted).toBeGreaterThan(100);
  });

  it('N6: a message of init that is malformed ends that container, and nothing else', async () => {
    const next = random(7);
    const { Channel } = addon();
    const valid = [
      encodeRecord(message.READY, []),
      encodeRecord(message.EXITED, [1, 0, 0, 0, 0, 0, 0]),
      encodeRecord(message.FILE_REPLY, [1, 0, 0, 1, 2, 3], ['data']),
      encodeRecord(message.STARTED, [1, 2]),
      encodeRecord(message.FAILED, [0, 1, 2, 3], ['x']),
    ].map((bytes) => Buffer.from(bytes));
    let ended = 0;
    for (let i = 0; i < 300; i++) {
      const init = new Init({ ready: () => {}, failed: () => {}, ended: () => ended++ });
      const answered = new Promise((resolve) => init.file([2, 0, 0, 0], ['/x', ''], resolve));
      const peer = new Channel(
        init.peer,
        () => {},
        () => {},
      );
      const bytes =
        i % 3 === 0 ? noise(next, 1 + next(64)) : mutate(next, valid[next(valid.length)] ?? Buffer.alloc(8));
      if (bytes.length > 0) peer.send(bytes, []);
      peer.close();
      await answered;
      init.close();
    }
    expect(ended).toBe(300);
  });

  it('N6: descriptors that nobody has asked for are closed, however many init sends', async () => {
    const { Channel, socketPair } = addon();
    const open = () => readdirSync('/proc/self/fd').length;
    const lent: Descriptor[] = [];
    let ready = 0;
    const init = new Init({
      ready: () => ready++,
      failed: () => {},
      // As a container that is made: what it does not take it closes.
      lent: (descriptor) => (lent.length === 0 ? lent.push(descriptor) : descriptor.close()),
      ended: () => {},
    });
    const [one, two] = socketPair();
    const peer = new Channel(
      init.peer,
      () => {},
      () => {},
    );
    const unasked = [
      encodeRecord(message.READY, []),
      encodeRecord(message.LENT, []),
      encodeRecord(message.STARTED, [99, 2]),
      encodeRecord(message.FILE_REPLY, [99, 0, 0]),
      encodeRecord(message.RAN, [99, 0, 0, 0], ['']),
      encodeRecord(message.EXITED, [99, 0, 0, 0, 0, 0, 0]),
    ];
    const before = open();
    for (let i = 0; i < 20; i++) for (const record of unasked) peer.send(record, [one, two, one]);
    while (ready < 20) await sleep(5);
    await sleep(20);
    expect(lent).toHaveLength(1);
    expect(open() - before).toBe(1);
    for (const descriptor of [...lent, one, two]) descriptor.close();
    peer.close();
    init.close();
  });

  it('N6: the launcher survives messages that are malformed or make no sense', async () => {
    const next = random(99);
    const { Channel, connect } = addon();
    await Container.run(['/bin/true']);
    const valid = [
      encodeRecord(message.HELLO, [0, 0, 0], ['', '', '', '', '']),
      encodeRecord(message.CREATE, [1, 0, 0, 0, 0, none, none], ['', '', '', '', '', '']),
      encodeRecord(
        message.CREATE,
        [1, 0x7c020000, 0xffff, next(6), next(2), next(3), next(3)],
        Array.from({ length: 6 }, () => noise(next, 64)),
      ),
      encodeRecord(message.KILL, [77]),
      encodeRecord(message.STATS, [77, 1]),
      encodeRecord(message.WRITE, [77, 1, 99], ['../x', 'y']),
      encodeRecord(message.GROUP, [77, 1]),
      encodeRecord(message.UNGROUP, [77, 2 ** 40]),
      encodeRecord(1, [2 ** 40]),
      encodeRecord(1, [64]),
    ].map((bytes) => Buffer.from(bytes));
    for (let i = 0; i < 400; i++) {
      let over = false;
      const channel = new Channel(
        connect(),
        () => {},
        () => {
          over = true;
        },
      );
      for (let j = 0; j < 4; j++) {
        const one = valid[next(valid.length)] ?? Buffer.alloc(8);
        const bytes = next(3) === 0 ? noise(next, 1 + next(120)) : next(3) === 0 ? one : mutate(next, one);
        if (bytes.length > 0 && !over) channel.send(bytes, []);
      }
      if (i % 20 === 0) await sleep(5);
      channel.close();
    }
    expect((await Container.run(['/bin/echo', 'next'])).stdout).toBe('next\n');
  });

  it('N6: init survives, or ends cleanly, when what it is sent is malformed', async () => {
    const next = random(5);
    const { Channel, socketPair } = addon();
    const settings = parseContainerOptions({});
    for (let i = 0; i < 60; i++) {
      // A container made by hand: the launcher is asked as the library would ask it, and the test holds init's socket.
      const blueprint = makeBlueprint(settings, await resolveSources(settings));
      const slots = new SlotNumbers();
      const encoded = ({ common, own }: (typeof blueprint.steps)['host']) => ({
        common: encodeFragments(common, slots),
        own: encodeFragments(own, slots),
      });
      const [mine, peer] = socketPair();
      const received: number[] = [];
      let ready: () => void = () => {};
      const started = new Promise<void>((resolve) => {
        ready = resolve;
      });
      const channel = new Channel(
        mine,
        (bytes) => received.push(decodeRecords(bytes)[0]?.op ?? 0) === 1 && ready(),
        () => {},
      );
      channel.ref();
      const gone = new Promise<number>((resolve) => {
        launcher(launcherConfiguration).create(
          {
            cloneFlags: namespaces,
            hierarchies: blueprint.hierarchies,
            ids: containerMapping(),
            writes: blueprint.writes,
            host: encoded(blueprint.steps.host),
            init: encoded(blueprint.steps.container),
            socket: peer,
          },
          {
            created: () => {},
            oom: () => {},
            failed: () => resolve(-1),
            gone: ({ waitStatus }) => resolve(waitStatus),
          },
        );
      });
      peer.close();
      await started;
      expect(received).toEqual([message.READY]);
      const steps = Buffer.from(encodeRecord(next(60), [next(2000), -1, next(9)], [noise(next, next(40))]));
      const valid = [
        encodeRecord(message.EXEC, [1, next(16), 0, 0, 0], [steps]),
        encodeRecord(message.SIGNAL, [1, next(200)]),
        encodeRecord(message.FILE, [1, next(20), -1, -1, -1], ['/tmp/x', 'y']),
        encodeRecord(message.EXEC, [1], []),
      ].map((bytes) => Buffer.from(bytes));
      for (let j = 0; j < 5; j++) {
        const one = valid[next(valid.length)] ?? Buffer.alloc(8);
        const bytes = next(3) === 0 ? one : mutate(next, one);
        if (bytes.length > 0) channel.send(bytes, []);
      }
      if (i % 5 === 0) await sleep(10);
      channel.close();
      // However it was spoken to, it ends when nobody holds it any more; it is not killed by a fault of its own.
      const status = await gone;
      expect(status & 0x7f, `wait status ${status}`).not.toBe(11);
      expect(status).toBeGreaterThanOrEqual(0);
    }
    expect((await Container.run(['/bin/echo', 'next'])).stdout).toBe('next\n');
  });
});
