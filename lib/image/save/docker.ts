/** Saving as an archive that `docker load` takes: `manifest.json`, the configuration, and each layer as it is stored. */

import { hexOf } from '../digest.js';
import { parseReference } from '../reference.js';
import { readAll } from '../source/copy.js';
import type { Saved } from './layout.js';
import { replaceFile, writeAll } from './replace.js';
import { type ArchiveEntry, tarArchive } from './tar.js';

export async function saveDockerArchive(path: string, image: Saved, signal?: AbortSignal): Promise<void> {
  await replaceFile(path, (file) => writeAll(file, tarArchive(entriesOf(image, signal))));
}

/** Layers stay compressed: all that read these archives look at the first bytes of each. */
async function* entriesOf(
  { blobs, manifest, reference }: Saved,
  signal: AbortSignal | undefined,
): AsyncGenerator<ArchiveEntry, void> {
  const layers = manifest.layers.map(({ digest, size }) => ({ name: `${hexOf(digest)}.tar`, digest, size }));
  const config = { ...manifest.config, name: `${hexOf(manifest.config.digest)}.json` };
  for (const { name, digest, size } of new Map([...layers, config].map((each) => [each.name, each])).values()) {
    const file = await blobs.openBlob(digest);
    try {
      yield { name, size, content: readAll(file, signal) };
    } finally {
      await file.close();
    }
  }
  const tags = reference === undefined ? null : [parseReference(reference).withDefaultTag().toString()];
  const list = [{ Config: config.name, RepoTags: tags, Layers: layers.map(({ name }) => name) }];
  const bytes = Buffer.from(JSON.stringify(list));
  yield { name: 'manifest.json', size: bytes.length, content: bytes };
}
