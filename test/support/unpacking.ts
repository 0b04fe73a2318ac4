/** Layers for tests: a private directory, archives unpacked into it, and what is there then. */

import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { unpackArchive, unpackLayer } from '../../lib/image/layer/unpack.js';
import type { UnpackOptions } from '../../lib/image/layer/unpack-options.js';

/** Pieces of bytes, as they would come from a decompressor. */
export async function* pieces(bytes: Uint8Array, size = 65_536): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const pathOf = (line: string) => line.replace(/^[-dlcp] (?:\d+ )?/, '');

/** A directory of layers with a sentinel beside them that nothing may touch. */
export class Layers {
  readonly top = mkdtempSync(join(tmpdir(), 'tscontain-layers-'));
  readonly sentinel = join(this.top, 'layer-2');
  #before: string;

  constructor() {
    mkdirSync(this.sentinel);
    writeFileSync(join(this.sentinel, 'secret'), 'secret', { mode: 0o640 });
    this.#before = this.#state();
  }

  #state(): string {
    const { mode, nlink, mtimeMs } = lstatSync(join(this.sentinel, 'secret'));
    return JSON.stringify([readdirSync(this.sentinel), mode, nlink, mtimeMs]);
  }

  /** Whether the sentinel is as it was: its names, mode, time and number of links. */
  get untouched(): boolean {
    return this.#state() === this.#before;
  }

  path(name = 'layer'): string {
    return join(this.top, name);
  }

  /** Unpacks into a new directory of that name. */
  async unpack(archive: Uint8Array, name = 'layer', below: readonly string[] = [], options: UnpackOptions = {}) {
    rmSync(this.path(name), { recursive: true, force: true });
    mkdirSync(this.path(name), { mode: 0o755 });
    const parents = below.map((one) => this.path(one));
    return await unpackLayer(pieces(archive), this.path(name), parents, options);
  }

  async unpackArchive(archive: Uint8Array, name = 'layer') {
    rmSync(this.path(name), { recursive: true, force: true });
    mkdirSync(this.path(name), { mode: 0o755 });
    return await unpackArchive(pieces(archive), this.path(name));
  }

  read(path: string, name = 'layer'): string {
    return readFileSync(join(this.path(name), path), 'utf8');
  }

  stat(path: string, name = 'layer') {
    return lstatSync(join(this.path(name), path));
  }

  /** What is in a layer: `kind mode path`, in order; kinds as ls(1) has them. */
  list(name = 'layer'): string[] {
    const walk = (directory: Buffer): string[] =>
      readdirSync(directory, { encoding: 'buffer' }).flatMap((entry) => {
        const path = Buffer.concat([directory, Buffer.from('/'), entry]);
        const stat = lstatSync(path);
        const shown = path.subarray(this.path(name).length + 1).toString('latin1');
        const mode = (stat.mode & 0o7777).toString(8);
        if (stat.isDirectory()) return [`d ${mode} ${shown}`, ...walk(path)];
        if (stat.isSymbolicLink()) return [`l ${shown} -> ${readlinkSync(path)}`];
        if (stat.isCharacterDevice()) return [`c ${stat.rdev} ${shown}`];
        return [`${stat.isFIFO() ? 'p' : '-'} ${mode} ${shown}`];
      });
    return walk(Buffer.from(this.path(name))).toSorted((a, b) => (pathOf(a) < pathOf(b) ? -1 : 1));
  }

  [Symbol.dispose](): void {
    rmSync(this.top, { recursive: true, force: true });
  }
}
