/** An image of a gigabyte passes through a process, and does not stay in its memory. */

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { type Digest, digestOf } from '../../../lib/image/digest.js';
import { buildOnce, fixture } from '../../support/build.js';
import { TemporaryDirectory } from '../../support/layout.js';
import { checkResidue } from '../../support/residue.js';
import { header } from '../../support/tar.js';

checkResidue();

const MiB = 2 ** 20;
const oci = 'application/vnd.oci.image';

const run = promisify(execFile);

let temporary: TemporaryDirectory;
let server: ChildProcess | undefined;
beforeAll(buildOnce);
beforeEach(() => {
  temporary = new TemporaryDirectory();
});
afterEach(() => {
  server?.kill();
  temporary.dispose();
});

/** A part of a layer, plain and as a member of gzip's, and how often it comes. */
interface Part {
  readonly plain: Buffer;
  readonly file: string;
  readonly times: number;
}

interface Layer {
  readonly parts: readonly Part[];
  readonly digest: Digest;
  readonly diffId: Digest;
  readonly size: number;
}

let written = 0;
function write(bytes: Buffer): string {
  const path = temporary.at(`part-${++written}`);
  writeFileSync(path, bytes);
  return path;
}

const part = (plain: Buffer, times = 1): Part => ({ plain, times, file: write(gzipSync(plain, { level: 1 })) });

/** Files of 64 MiB: a quarter of each is noise, the rest zeros, so that neither side has nothing to do. */
function makeLayer(name: string, files: number): Layer {
  const piece = part(Buffer.concat([randomBytes(MiB / 4), Buffer.alloc((3 * MiB) / 4)]), 64);
  const heads = Array.from({ length: files }, (_, index) =>
    part(header({ name: `${name}-${index}`, content: '', size: 64 * MiB })),
  );
  const parts = [...heads.flatMap((head) => [head, piece]), part(Buffer.alloc(1024))];
  const [compressed, plain] = [createHash('sha256'), createHash('sha256')];
  let size = 0;
  for (const each of parts) {
    const bytes = readFileSync(each.file);
    size += bytes.length * each.times;
    for (let time = 0; time < each.times; time++) {
      compressed.update(bytes);
      plain.update(each.plain);
    }
  }
  return {
    parts,
    digest: `sha256:${compressed.digest('hex')}`,
    diffId: `sha256:${plain.digest('hex')}`,
    size,
  };
}

/** Starts a registry that has the images. */
async function serve(images: Readonly<Record<string, readonly Layer[]>>): Promise<string> {
  const answers: Record<string, { type: string; parts: (readonly [string, number])[] }> = {};
  for (const [name, layers] of Object.entries(images)) {
    const rootfs = { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) };
    const config = Buffer.from(JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs }));
    const type = `${oci}.manifest.v1+json`;
    const manifest = {
      schemaVersion: 2,
      mediaType: type,
      config: { mediaType: `${oci}.config.v1+json`, digest: digestOf(config), size: config.length },
      layers: layers.map(({ digest, size }) => ({ mediaType: `${oci}.layer.v1.tar+gzip`, digest, size })),
    };
    const blob = (digest: Digest, parts: (readonly [string, number])[]) => {
      answers[`/v2/${name}/blobs/${digest}`] = { type: 'application/octet-stream', parts };
    };
    answers[`/v2/${name}/manifests/latest`] = { type, parts: [[write(Buffer.from(JSON.stringify(manifest))), 1]] };
    blob(digestOf(config), [[write(config), 1]]);
    for (const { digest, parts } of layers) {
      blob(
        digest,
        parts.map(({ file, times }) => [file, times] as const),
      );
    }
  }
  const list = write(Buffer.from(JSON.stringify(answers)));
  server = spawn(process.execPath, [fixture('concatenations.mjs'), list], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [port] = (await once(server.stdout as NodeJS.ReadableStream, 'data')) as [Buffer];
  return `127.0.0.1:${port.toString().trim()}`;
}

it('a gigabyte that is pulled and unpacked takes less than 64 MB, and the event loop has its turns', {
  timeout: 300_000,
}, async () => {
  const host = await serve({
    small: [makeLayer('small', 1)],
    large: ['a', 'b', 'c', 'd'].map((name) => makeLayer(name, 4)),
  });
  const program = [fixture('pull.mjs'), temporary.at('store'), host, 'small', 'large'];
  const { stdout } = await run(process.execPath, program, { timeout: 250_000 });
  const { paths, grown, late } = JSON.parse(stdout) as {
    paths: string[];
    grown: number;
    late: { p99: number; most: number };
  };
  expect(paths.map((path, index) => statSync(join(path, `${'dcba'[index]}-3`)).size)).toEqual(Array(4).fill(64 * MiB));
  expect(grown).toBeLessThan(64e6);
  // Quiet, it is some milliseconds; others that work on the same processors add their own. To hash a layer at once takes 200.
  expect(late.p99).toBeLessThan(100);
});
