/**
 * Unpacking a layer: decompressed, compared with its digest, made as a tree; against tar(1), which computes no digest, and umoci.
 * The archive is made of the host's /usr. What Node itself gives for it, memory and turns of the event loop, is in the notes.
 */

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Image, ImageStore } from 'tscontain';
import { duration } from './measure.js';
import { spawned } from './programs.js';
import { compare, type Options, type Section, type Table } from './table.js';

const megabytes = 300;

export const unpack: Table = {
  name: 'unpack',
  ballasts: [0],
  async measure({ rounds }: Options): Promise<Section[]> {
    const directory = mkdtempSync(join(tmpdir(), 'tscontain-bench-'));
    try {
      const sections: Section[] = [];
      const size = makeArchive(directory);
      for (const format of ['gzip', 'zstd'] as const) {
        sections.push(await section(directory, format, size, rounds ?? 5));
      }
      return sections;
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  },
};

async function section(directory: string, format: 'gzip' | 'zstd', size: number, rounds: number): Promise<Section> {
  const title = `a layer of ${Math.round(size / 1e6)} MB, ${format}`;
  if (!installed(format)) return { title, unit: 'ms', rounds: 0, rows: [], notes: [`${format} is not installed`] };
  const layout = join(directory, format);
  const archive = makeLayout(layout, plain(directory), format);
  const target = join(directory, 'target');
  const watch = new Watch();
  const tar = async () => {
    rmSync(target, { recursive: true, force: true });
    mkdirSync(target);
    return await duration(() => spawned('tar', [`--${format}`, '-xf', archive, '-C', target]));
  };
  const ours = async () => {
    rmSync(target, { recursive: true, force: true });
    await using store = await ImageStore.open({ path: target });
    const image = await Image.open(layout, 'usr', { store });
    const took = await watch.during(() => duration(async () => (await image.unpack()).release()));
    await store.close();
    return took;
  };
  const umoci = async () => {
    rmSync(target, { recursive: true, force: true });
    return await duration(() => spawned('umoci', ['unpack', '--image', `${layout}:usr`, target]));
  };
  const name = 'umoci unpack';
  const peers = installed('umoci') ? [{ name, sample: umoci }] : [{ name, absent: 'not installed' }];
  const result = await compare({
    title,
    unit: 'ms',
    rounds,
    warmUp: 1,
    contenders: [
      { name: `tar --${format} -x`, sample: tar },
      { name: 'image.unpack', sample: ours },
      // umoci knows no zstd.
      ...(format === 'gzip' ? peers : []),
    ],
  });
  return { ...result, notes: [watch.report()] };
}

/** An image with one layer. The path of the layer, compressed. */
function makeLayout(layout: string, tar: string, format: 'gzip' | 'zstd'): string {
  const blobs = join(layout, 'blobs/sha256');
  mkdirSync(blobs, { recursive: true });
  const sha256 = (path: string) => execFileSync('sha256sum', [path], { encoding: 'utf8' }).slice(0, 64);
  const add = (path: string, mediaType: string) => {
    const hex = sha256(path);
    const blob = join(blobs, hex);
    renameSync(path, blob);
    return { blob, descriptor: { mediaType, digest: `sha256:${hex}`, size: statSync(blob).size } };
  };
  const document = (mediaType: string, content: object) => {
    writeFileSync(join(layout, 'part'), JSON.stringify(content));
    return add(join(layout, 'part'), mediaType).descriptor;
  };
  const oci = 'application/vnd.oci.image';
  execFileSync('sh', ['-c', '"$1" -c <"$2" >"$3"', 'sh', format, tar, join(layout, 'layer')]);
  const layer = add(join(layout, 'layer'), `${oci}.layer.v1.tar+${format}`);
  const config = document(`${oci}.config.v1+json`, {
    architecture: { x64: 'amd64' }[process.arch as 'x64'] ?? process.arch,
    os: 'linux',
    config: {},
    rootfs: { type: 'layers', diff_ids: [`sha256:${sha256(tar)}`] },
  });
  const mediaType = `${oci}.manifest.v1+json`;
  const manifest = document(mediaType, { schemaVersion: 2, mediaType, config, layers: [layer.descriptor] });
  const annotations = { 'org.opencontainers.image.ref.name': 'usr' };
  writeFileSync(join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  writeFileSync(
    join(layout, 'index.json'),
    JSON.stringify({ schemaVersion: 2, manifests: [{ ...manifest, annotations }] }),
  );
  return layer.blob;
}

/** Files of /usr in the order of their names until there is enough. Bytes of the plain archive. */
function makeArchive(directory: string): number {
  const script = `cd / && find usr -xdev \\( -type f -o -type d -o -type l \\) -printf '%s %p\\n' | sort -k2 |
    awk -v most=${megabytes}000000 '{ total += $1 < 20000000 ? $1 : 0; if (total > most) exit; if ($1 < 20000000) { sub(/^[0-9]+ /, ""); print } }' |
    tar -c --no-recursion --ignore-failed-read -T - -f "$1"`;
  execFileSync('sh', ['-c', script, 'sh', plain(directory)], { stdio: 'ignore' });
  return statSync(plain(directory)).size;
}

const plain = (directory: string) => join(directory, 'usr.tar');

const installed = (program: string) => spawnSync(program, ['--version'], { stdio: 'ignore' }).error === undefined;

/** How far this process's memory went beyond what it was, and the longest gap between two turns of the loop. */
class Watch {
  #grown = 0;
  #gap = 0;

  async during<T>(action: () => Promise<T>): Promise<T> {
    const before = process.memoryUsage.rss();
    let last = performance.now();
    const timer = setInterval(() => {
      const now = performance.now();
      this.#gap = Math.max(this.#gap, now - last - 5);
      last = now;
      this.#grown = Math.max(this.#grown, process.memoryUsage.rss() - before);
    }, 5);
    try {
      return await action();
    } finally {
      clearInterval(timer);
    }
  }

  report(): string {
    const grown = Math.round(this.#grown / 1e6);
    return `this process meanwhile: ${grown} MB more memory at most, ${this.#gap.toFixed(0)} ms between two turns of its loop at most`;
  }
}
