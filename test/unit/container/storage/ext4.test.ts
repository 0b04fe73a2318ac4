import { spawnSync } from 'node:child_process';
import { ftruncateSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeExt4 } from '../../../../lib/container/storage/ext4.js';
import { needsPrograms } from '../../../support/requirements.js';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'tscontain-ext4-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const uuid = Uint8Array.from({ length: 16 }, (_, index) => index + 1);
const KiB = 2 ** 10;
const MiB = 2 ** 20;
const GiB = 2 ** 30;

/** Writes one, and returns its path. */
function write(size: number, inodes: number): string {
  const path = join(directory, `${size}-${inodes}`);
  const image = makeExt4({ size, inodes, uuid });
  const fd = openSync(path, 'w');
  ftruncateSync(fd, image.length);
  for (const { offset, bytes } of image.pieces) writeSync(fd, bytes, 0, bytes.length, offset);
  return path;
}

function run(program: string, ...argv: string[]): { status: number | null; stdout: string } {
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
  return spawnSync(program, argv, { encoding: 'utf8', env });
}

const sizes: readonly (readonly [string, number, number])[] = [
  ['4 KiB', 4 * KiB, 16],
  ['1 MiB with many inodes', MiB, 1024],
  ['64 MiB with few inodes', 64 * MiB, 64],
  ['128 MiB, a group and what it needs itself', 128 * MiB, 32768],
  ['a little less than a group', 127 * MiB, 100],
  ['10 GiB', 10 * GiB, 100_000],
  ['300 GiB with fewer inodes than groups', 300 * GiB, 16],
  ['4 TiB', 4096 * GiB, 2 ** 20],
];

describe('a new ext4', () => {
  it.for(sizes)('of %s is in order, says e2fsck', ([, size, inodes], ctx) => {
    needsPrograms(ctx, 'e2fsck', 'dumpe2fs');
    const path = write(size, inodes);
    const check = run('e2fsck', '-fn', path);
    expect([check.status, check.stdout]).toEqual([0, expect.not.stringContaining('Fix')]);
    const facts = run('dumpe2fs', '-h', path).stdout;
    const number = (name: string) => Number(new RegExp(`^${name}: +(\\d+)$`, 'm').exec(facts)?.[1]);
    expect(number('Free inodes')).toBe(inodes);
    // Room for all of it, and for what the kernel holds back.
    const held = Math.min(Math.floor(number('Block count') / 50), 4096);
    const more = number('Free blocks') - held - size / 4096;
    expect(more).toBeGreaterThanOrEqual(0);
    expect(more).toBeLessThan(100);
    rmSync(path);
  });

  it('that was damaged is not in order, says e2fsck', (ctx) => {
    needsPrograms(ctx, 'e2fsck');
    const path = write(MiB, 64);
    const fd = openSync(path, 'r+');
    writeSync(fd, Uint8Array.from([0xff]), 0, 1, 4096 + 12); // free blocks of the first group
    expect(run('e2fsck', '-fn', path).status).not.toBe(0);
  });

  it('is a few blocks, whatever its size', () => {
    const bytes = (size: number) =>
      makeExt4({ size, inodes: 1000, uuid }).pieces.reduce((all, piece) => all + piece.bytes.length, 0);
    expect(bytes(MiB)).toBeLessThan(32 * KiB);
    expect(bytes(100 * GiB)).toBeLessThan(4 * MiB);
  });

  it('is never larger than a file can be, nor has more inodes than blocks', () => {
    expect(() => makeExt4({ size: 2 ** 43, inodes: 16, uuid })).toThrow(RangeError);
    expect(() => makeExt4({ size: 64 * MiB, inodes: 2 ** 14 + 1, uuid })).toThrow(RangeError);
  });
});
