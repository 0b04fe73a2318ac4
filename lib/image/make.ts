/** Images made here: an archive, or a directory, becomes the one layer of a new image. */

import { resolve } from 'node:path';
import {
  copyObject,
  defineSchema,
  expectKeys,
  readBoolean,
  readChoice,
  readText,
} from '../container/settings/schema.js';
import { OptionError } from '../errors.js';
import { giveName, type ImportOptions, readImportOptions } from './import.js';
import { addLayerAsItIs, addPlainLayer } from './layer/add.js';
import { decompressLayer } from './layer/decompress.js';
import { packTree } from './layer/pack.js';
import { openDirectory } from './layer/tree.js';
import { readSignal, readStore } from './options.js';
import { readSource } from './source/bytes.js';
import type { ImageStore } from './store/index.js';
import { type ImageLimits, readTarLimits } from './unpack.js';
import { type ConfigChanges, type NewLayer, type WrittenImage, writeImage } from './write.js';

/** How an image is made. */
export interface MakeOptions extends ImportOptions {
  /** What containers of it run, and how: `{ cmd: ['/bin/sh'], env: { LANG: 'C.UTF-8' } }`. Default: nothing. */
  readonly config?: ConfigChanges;
  readonly author?: string;
  /** For the image's history. */
  readonly comment?: string;
  /** Default: `SOURCE_DATE_EPOCH` of the environment, in seconds, else now. */
  readonly created?: Date;
}

/** How an archive becomes an image. */
export interface FromTarOptions extends MakeOptions {
  /** Default: the archive is stored as it comes. zstd needs Node 22.15. */
  readonly compression?: 'gzip' | 'zstd' | 'none';
  /** How much it may be: of these, `bytes` and `ratio` are looked at now, and all of them when the image is unpacked. */
  readonly limits?: ImageLimits;
}

/** How a directory becomes an image. */
export interface FromDirectoryOptions extends MakeOptions {
  /** Default `'gzip'`. zstd needs Node 22.15. */
  readonly compression?: 'gzip' | 'zstd' | 'none';
  /** Leave out what is mounted below it. Default true. */
  readonly sameMount?: boolean;
  /** Relative paths, such as `proc`, that are left out with all that is in them. */
  readonly omit?: readonly string[];
}

/** An image that was made, in its store. */
export interface Made {
  readonly store: ImageStore;
  readonly chosen: WrittenImage;
  readonly reference: string | undefined;
}

const common = ['store', 'as', 'moveTags', 'platform', 'signal', 'config', 'author', 'comment', 'created'] as const;
const tarSchema = defineSchema([...common, 'compression', 'limits']);
const directorySchema = defineSchema([...common, 'compression', 'sameMount', 'omit']);
const compressions = ['gzip', 'zstd', 'none'] as const;

/** @see Image.fromTar */
export async function imageFromTar(source: unknown, options: FromTarOptions): Promise<Made> {
  const fields = expectKeys(copyObject(options, ''), '', tarSchema);
  const compression =
    fields.compression === undefined ? undefined : readChoice(fields.compression, 'compression', compressions);
  const limits = readTarLimits(fields.limits);
  const signal = readSignal(fields.signal);
  const bytes = readSource(source, 'source', signal);
  return await make(options, 'an archive', (store) =>
    compression === undefined
      ? addLayerAsItIs(store, bytes, limits, { signal })
      : addPlainLayer(store, decompressLayer(bytes, { limits }), compression),
  );
}

/** @see Image.fromDirectory */
export async function imageFromDirectory(path: unknown, options: FromDirectoryOptions): Promise<Made> {
  const fields = expectKeys(copyObject(options, ''), '', directorySchema);
  const compression = readChoice(fields.compression ?? 'gzip', 'compression', compressions);
  const sameMount = readBoolean(fields.sameMount, 'sameMount', true);
  const signal = readSignal(fields.signal);
  const directory = readText(path, 'directory', 'the path of a directory');
  if (directory === '') throw new OptionError('directory', 'the path of a directory', path);
  const place = { steps: [openDirectory('tree', resolve(directory))] };
  const { omit = [] } = options;
  return await make(options, 'a directory', (store) =>
    addPlainLayer(store, packTree(place, 'tree', { sameMount, omit, signal }), compression),
  );
}

async function make(
  options: MakeOptions,
  from: string,
  addLayer: (store: ImageStore) => Promise<NewLayer>,
): Promise<Made> {
  const { platform, as } = readImportOptions(options);
  const { config, author, comment, created } = options;
  if (created !== undefined && !(created instanceof Date && Number.isFinite(created.getTime()))) {
    throw new OptionError('created', 'a date', created);
  }
  const store = await readStore(options.store);
  await using _hold = store.hold();
  const chosen = await writeImage(store, {
    layers: [await addLayer(store)],
    platform,
    createdBy: `tscontain: ${from}`,
    ...(config && { config }),
    ...(author !== undefined && { author }),
    ...(comment !== undefined && { comment }),
    ...(created && { created }),
  });
  return { store, chosen, reference: as && (await giveName(store, options, chosen.descriptor, as)) };
}
