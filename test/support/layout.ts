/** OCI image layouts of tests: small ones, with any document in them, also what no tool would write. */

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { digestOf, hexOf } from '../../lib/image/digest.js';
import { type Descriptor, mediaTypes } from '../../lib/image/document/index.js';
import { file, tar } from './tar.js';

/** A directory that goes with the test that made it. */
export class TemporaryDirectory {
  readonly path = mkdtempSync(join(tmpdir(), 'image-test-'));

  at(name: string): string {
    return join(this.path, name);
  }

  write(name: string, content: string | Uint8Array): string {
    const path = this.at(name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    return path;
  }

  dispose(): void {
    try {
      rmSync(this.path, { recursive: true, force: true });
    } catch {
      // What an ordinary user has unpacked may belong to ids that he is granted.
      execFileSync('unshare', ['--map-root-user', '--map-auto', 'rm', '-rf', this.path]);
    }
  }
}

/** An image's documents as they are to be written, before anything is made wrong. */
export interface LayoutImage {
  /** Text of its one file, so that images differ. */
  readonly text?: string;
  /** Layers as plain tar archives, bottom first, in place of that one. */
  readonly layers?: readonly Uint8Array[];
  readonly config?: object;
  /** More of the manifest. */
  readonly manifest?: object;
  /** What the index says of it. */
  readonly annotations?: Readonly<Record<string, string>>;
  readonly platform?: { readonly os: string; readonly architecture: string; readonly variant?: string };
}

/** Writes a layout below a directory. */
export class LayoutWriter {
  readonly path: string;
  readonly #entries: Descriptor[] = [];

  constructor(
    readonly directory: TemporaryDirectory,
    readonly name = 'layout',
  ) {
    this.path = directory.at(name);
    directory.write(`${name}/oci-layout`, '{"imageLayoutVersion":"1.0.0"}');
    this.list();
  }

  blob(mediaType: string, content: string | Uint8Array | object): Descriptor {
    const bytes = typeof content === 'string' || content instanceof Uint8Array ? content : JSON.stringify(content);
    const buffer = Buffer.from(bytes as string);
    const digest = digestOf(buffer);
    this.directory.write(`${this.name}/blobs/sha256/${hexOf(digest)}`, buffer);
    return { mediaType, digest, size: buffer.length };
  }

  /** Writes the documents of an image, and lists it. */
  image(image: LayoutImage = {}): { descriptor: Descriptor; config: Descriptor; layer: Descriptor } {
    const made = this.unlisted(image);
    this.list(made.descriptor);
    return made;
  }

  unlisted({ text = 'hello', layers, config: inner = {}, manifest = {}, annotations, platform }: LayoutImage = {}) {
    const contents = layers ?? [tar(file('hello', text))];
    const written = contents.map((content) => this.blob(mediaTypes.ociLayerGzip, gzipSync(content)));
    const config = this.blob(mediaTypes.ociConfig, {
      architecture: 'amd64',
      os: 'linux',
      config: inner,
      rootfs: { type: 'layers', diff_ids: contents.map((content) => digestOf(content)) },
    });
    const document = this.blob(mediaTypes.ociManifest, {
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      config,
      layers: written,
      ...manifest,
    });
    const descriptor = { ...document, ...(annotations && { annotations }), ...(platform && { platform }) };
    const [layer] = written;
    if (!layer) throw new RangeError('an image of a test has a layer');
    return { descriptor, config, layer };
  }

  index(manifests: readonly Descriptor[], annotations?: Readonly<Record<string, string>>): Descriptor {
    const mediaType = mediaTypes.ociIndex;
    const written = this.blob(mediaType, { schemaVersion: 2, mediaType, manifests });
    return { ...written, ...(annotations && { annotations }) };
  }

  /** Adds to the list of the layout. */
  list(...entries: readonly Descriptor[]): void {
    this.#entries.push(...entries);
    const index = { schemaVersion: 2, manifests: this.#entries };
    this.directory.write(`${this.name}/index.json`, JSON.stringify(index));
  }
}

/** The annotation by which a layout names an image. */
export const named = (name: string) => ({ 'org.opencontainers.image.ref.name': name });
