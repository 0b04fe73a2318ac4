/** OCI image layouts: a directory of blobs with an index (OCI image-spec, image-layout.md). */

import { type FileHandle, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageError } from '../../errors.js';
import type { BlobSource } from '../blobs.js';
import { type Digest, DigestCheck, hexOf } from '../digest.js';
import { type Descriptor, largestDocument, mediaTypes, parseIndex } from '../document/index.js';
import { openBeneath, readBeneath, readLimited } from './beneath.js';

/** A layout on disk. */
export class LayoutDirectory implements BlobSource {
  private constructor(
    readonly path: string,
    /** What its `index.json` lists: images, and indexes of images. */
    readonly entries: readonly Descriptor[],
  ) {}

  /** @throws ImageError `ERR_NOT_FOUND` if it is no layout, `ERR_MANIFEST` if it is a bad one */
  static async open(path: string): Promise<LayoutDirectory> {
    const marker = await readBeneath(path, 'oci-layout', 4096).catch(async (cause) => {
      throw new ImageError('ERR_NOT_FOUND', `${path} is no OCI image layout`, {
        path,
        cause,
        hint: await hintAt(path),
      });
    });
    if (versionOf(marker) !== '1.0.0') {
      throw new ImageError('ERR_MANIFEST', `${path}: its oci-layout should say imageLayoutVersion 1.0.0`, { path });
    }
    const bytes = await readBeneath(path, 'index.json', largestDocument);
    const { manifests } = parseIndex(bytes, mediaTypes.ociIndex, join(path, 'index.json'));
    return new LayoutDirectory(path, manifests);
  }

  /** Whether the directory says that it is a layout. */
  static async is(path: string): Promise<boolean> {
    return stat(join(path, 'oci-layout')).then(
      () => true,
      () => false,
    );
  }

  openBlob(digest: Digest): Promise<FileHandle> {
    return openBeneath(this.path, blobName(digest));
  }

  async readBlob(digest: Digest, limit: number): Promise<Buffer> {
    const file = await this.openBlob(digest);
    try {
      const path = join(this.path, blobName(digest));
      const bytes = await readLimited(file, limit, path);
      const check = new DigestCheck(digest, undefined, path);
      check.update(bytes);
      check.finish();
      return bytes;
    } finally {
      await file.close();
    }
  }
}

/** What a path may be that is no layout. */
async function hintAt(path: string): Promise<string> {
  const type = await stat(path).catch(() => undefined);
  if (!type) return 'there is nothing of this name, or it cannot be read';
  if (!type.isDirectory()) return 'archives are for Image.load, and those of a root file system for Image.fromTar';
  const names = new Set(await readdir(path).catch(() => []));
  if (names.has('manifest.json')) return 'an archive of `docker save` is for Image.load as it is, not unpacked';
  return 'a layout has the files oci-layout and index.json; a tree of files is for Image.fromDirectory';
}

/** Where a layout keeps content: `blobs/sha256/…`. */
export function blobName(digest: Digest): string {
  return `blobs/${digest.slice(0, 6)}/${hexOf(digest)}`;
}

function versionOf(marker: Buffer): unknown {
  try {
    return (JSON.parse(marker.toString()) as { readonly imageLayoutVersion?: unknown } | null)?.imageLayoutVersion;
  } catch {
    return undefined;
  }
}
