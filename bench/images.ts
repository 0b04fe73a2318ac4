/** Images for benchmarks: layouts whose layers are files of the host's /usr. */

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Where a layer lies, plain and compressed. */
export interface Layer {
  readonly tar: string;
  readonly blob: string;
  readonly descriptor: { readonly mediaType: string; readonly digest: string; readonly size: number };
}

export interface LayoutOptions {
  readonly layers: number;
  /** Bytes of content of each. */
  readonly bytes: number;
  /** What compresses them, with its options. */
  readonly compression: readonly ['gzip' | 'zstd', ...string[]];
}

/** An OCI layout with one image, named `usr`. What is read is everyone's, in the order of names, so two are the same. */
export function makeLayout(layout: string, { layers, bytes, compression }: LayoutOptions): Layer[] {
  mkdirSync(join(layout, 'blobs/sha256'), { recursive: true });
  const oci = 'application/vnd.oci.image';
  const made = tarsOfUsr(layout, layers, bytes).map((tar): Layer => {
    const compressed = `${tar}.part`;
    const [program, ...options] = compression;
    execFileSync('sh', ['-c', '"$@" -c <"$TAR" >"$TO"', 'sh', program, ...options], {
      env: { ...process.env, TAR: tar, TO: compressed },
    });
    return { tar, ...addBlob(layout, compressed, `${oci}.layer.v1.tar+${program}`) };
  });
  const document = (mediaType: string, content: object) => {
    const path = join(layout, 'part');
    writeFileSync(path, JSON.stringify(content));
    return addBlob(layout, path, mediaType).descriptor;
  };
  const config = document(`${oci}.config.v1+json`, {
    architecture: { x64: 'amd64' }[process.arch as 'x64'] ?? process.arch,
    os: 'linux',
    config: {},
    rootfs: { type: 'layers', diff_ids: made.map(({ tar }) => `sha256:${sha256(tar)}`) },
  });
  const mediaType = `${oci}.manifest.v1+json`;
  const descriptors = made.map(({ descriptor }) => descriptor);
  const manifest = document(mediaType, { schemaVersion: 2, mediaType, config, layers: descriptors });
  const annotations = { 'org.opencontainers.image.ref.name': 'usr' };
  writeFileSync(join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  const index = { schemaVersion: 2, manifests: [{ ...manifest, annotations }] };
  writeFileSync(join(layout, 'index.json'), JSON.stringify(index));
  return made;
}

function addBlob(layout: string, path: string, mediaType: string): Omit<Layer, 'tar'> {
  const hex = sha256(path);
  const blob = join(layout, 'blobs/sha256', hex);
  renameSync(path, blob);
  return { blob, descriptor: { mediaType, digest: `sha256:${hex}`, size: statSync(blob).size } };
}

function sha256(path: string): string {
  return execFileSync('sha256sum', [path], { encoding: 'utf8' }).slice(0, 64);
}

/** Archives beside the layout's files, each with the files that come after those of the one before. */
function tarsOfUsr(layout: string, count: number, bytes: number): string[] {
  const lists = join(layout, 'names');
  mkdirSync(lists);
  const script = `cd / && find usr -xdev \\( -type f -o -type d -o -type l \\) -readable -printf '%s %p\\n' | LC_ALL=C sort -k2 |
    awk -v most="$MOST" -v count="$COUNT" -v to="$LISTS/" '$1 < 20000000 { total += $1; part = int(total / most);
      if (part >= count) exit; sub(/^[0-9]+ /, ""); print > (to part) }'`;
  const env = { ...process.env, MOST: String(bytes), COUNT: String(count), LISTS: lists };
  execFileSync('sh', ['-c', script], { env, stdio: ['ignore', 'ignore', 'inherit'] });
  const tars = Array.from({ length: count }, (_, index) => {
    const tar = join(layout, `${index}.tar`);
    const names = join(lists, String(index));
    execFileSync('tar', ['-c', '-C', '/', '--no-recursion', '--ignore-failed-read', '-T', names, '-f', tar], {
      stdio: 'ignore',
    });
    return tar;
  });
  rmSync(lists, { recursive: true });
  return tars;
}

/** Whether a program is there. */
export function installed(program: string): boolean {
  return spawnSync(program, ['--version'], { stdio: 'ignore' }).error === undefined;
}

/** What is written so far is on disk: what was measured before does not disturb what comes next. */
export function settle(directory: string): void {
  execFileSync('sync', ['-f', directory]);
}
