/** Saving as an OCI image layout (OCI image-spec, image-layout.md), as a directory or in an archive. */

import { access, lstat, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { OptionError } from '../../errors.js';
import type { BlobSource } from '../blobs.js';
import { type Descriptor, encodeIndex, type Manifest } from '../document/index.js';
import { means } from '../source/choose.js';
import { readAll } from '../source/copy.js';
import { blobName, LayoutDirectory } from '../source/layout.js';
import { createDirectory, replaceFile, writeAll } from './replace.js';
import { type ArchiveEntry, tarArchive } from './tar.js';

/** An image that is to be saved. */
export interface Saved {
  readonly blobs: BlobSource;
  readonly descriptor: Descriptor;
  readonly manifest: Manifest;
  /** What it is to be called there. */
  readonly reference?: string;
}

const nameAnnotation = 'org.opencontainers.image.ref.name';
const marker = Buffer.from('{"imageLayoutVersion":"1.0.0"}');

/** Makes a layout, or adds to one: an image of the same name there is replaced, everything else stays. */
export async function saveLayout(path: string, image: Saved, signal?: AbortSignal): Promise<void> {
  const known = await existing(path);
  if (!known) {
    await createDirectory(path, (directory) => fill(directory, image, [listed(image)], signal));
    return;
  }
  const others = known.entries.filter((entry) => {
    const name = entry.annotations?.[nameAnnotation];
    if (image.reference === undefined) return entry.digest !== image.descriptor.digest || name !== undefined;
    return name === undefined || !means(name, image.reference);
  });
  await fill(path, image, [...others, listed(image)], signal);
}

/** Writes the archive of such a layout. */
export async function saveLayoutArchive(path: string, image: Saved, signal?: AbortSignal): Promise<void> {
  await replaceFile(path, (file) => writeAll(file, tarArchive(layoutEntries(image, signal))));
}

/** The index comes last, so that whoever can read it finds all that it names. */
async function fill(
  directory: string,
  image: Saved,
  entries: readonly Descriptor[],
  signal: AbortSignal | undefined,
): Promise<void> {
  for (const { digest } of contentOf(image)) {
    const path = join(directory, blobName(digest));
    await mkdir(join(path, '..'), { recursive: true });
    if (await present(path)) continue;
    await withBlob(image.blobs, digest, (file) => replaceFile(path, (to) => writeAll(to, readAll(file, signal))));
  }
  if (!(await present(join(directory, 'oci-layout')))) {
    await replaceFile(join(directory, 'oci-layout'), (file) => file.writeFile(marker));
  }
  await replaceFile(join(directory, 'index.json'), (file) => file.writeFile(encodeIndex(entries).bytes));
}

async function* layoutEntries(image: Saved, signal: AbortSignal | undefined): AsyncGenerator<ArchiveEntry, void> {
  const nothing = new Uint8Array(0);
  const index = encodeIndex([listed(image)]).bytes;
  const content = contentOf(image);
  for (const name of ['blobs/', ...new Set(content.map(({ digest }) => `blobs/${digest.slice(0, 6)}/`))]) {
    yield { name, size: 0, content: nothing };
  }
  for (const { digest, size } of content) {
    const file = await image.blobs.openBlob(digest);
    try {
      yield { name: blobName(digest), size, content: readAll(file, signal) };
    } finally {
      await file.close();
    }
  }
  yield { name: 'index.json', size: index.length, content: index };
  yield { name: 'oci-layout', size: marker.length, content: marker };
}

/** Each piece once, in the order of digests: the archive of an image is always the same. */
function contentOf({ descriptor, manifest }: Saved): readonly Descriptor[] {
  const all = new Map([descriptor, manifest.config, ...manifest.layers].map((piece) => [piece.digest, piece]));
  return [...all.values()].sort((a, b) => (a.digest < b.digest ? -1 : 1));
}

function listed({ descriptor, reference }: Saved): Descriptor {
  const { mediaType, digest, size, platform } = descriptor;
  const annotations = reference === undefined ? undefined : { [nameAnnotation]: reference };
  return { mediaType, digest, size, ...(platform && { platform }), ...(annotations && { annotations }) };
}

/** The layout at a path; undefined where there is nothing, or an empty directory. */
async function existing(path: string): Promise<LayoutDirectory | undefined> {
  const stats = await lstat(path).catch((error) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (!stats) return undefined;
  if (stats.isDirectory() && (await readdir(path)).length === 0) return undefined;
  if (stats.isDirectory() && (await LayoutDirectory.is(path))) return LayoutDirectory.open(path);
  const hint = 'nothing that exists is overwritten but a layout, to which is added';
  throw new OptionError('path', 'a new or empty directory, or an OCI image layout', path, { hint, path });
}

async function withBlob(
  blobs: BlobSource,
  digest: Descriptor['digest'],
  use: (file: Awaited<ReturnType<BlobSource['openBlob']>>) => Promise<void>,
): Promise<void> {
  const file = await blobs.openBlob(digest);
  try {
    await use(file);
  } finally {
    await file.close();
  }
}

async function present(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
