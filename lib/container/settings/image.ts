/** Where the root file system comes from. */

import { ImageError, OptionError } from '../../errors.js';
import { Image, ImageStore, parseReference, type Reference } from '../../image/index.js';
import { type Platform, parsePlatform } from '../../image/platform.js';
import { type RegistrySettings, readRegistryOptions } from '../../image/registry/settings.js';
import { readOwnUnpackOptions, type UnpackSettings } from '../../image/unpack.js';
import { readHostPath, readSubPath } from './paths.js';
import { copyObject, defineSchema, expectKeys, optionName, readChoice, readList, readObject } from './schema.js';

export type ImageSettings =
  | { readonly kind: 'host' }
  /** `path` is absolute and normalised. */
  | { readonly kind: 'rootfs'; readonly path: string }
  | LayersSettings
  | StoredImageSettings;

export interface LayersSettings {
  readonly kind: 'layers';
  /** Absolute and normalised. */
  readonly directory: string;
  /** Relative to it, topmost first, each once. */
  readonly names: readonly string[];
  /** What the image is for, where that is not this host's platform. */
  readonly foreign?: string;
  /** Of the image's configuration, where it decides: its working directory. */
  readonly workingDir?: string;
  /** Volumes to be made: absolute paths of the container, those above before those below. */
  readonly volumes?: readonly string[];
}

/** An image that has a configuration. Before a container is made of it, it has become layers. */
export interface StoredImageSettings {
  readonly kind: 'stored';
  /** With its tag, if it is to be looked for. */
  readonly image: Image | Reference;
  readonly pull: 'missing' | 'always' | 'never';
  /** Where a reference is looked for; the usual store if undefined. */
  readonly store: ImageStore | undefined;
  readonly registry: RegistrySettings;
  /** Only an image for it is taken, where one was asked for. */
  readonly platform: Platform | undefined;
  /** How its layers are unpacked, and who hears of it and of their being fetched. */
  readonly unpack: UnpackSettings;
  /** Which of its settings the image does not decide, as the caller has. */
  readonly decided: { readonly user: boolean; readonly cwd: boolean };
}

/** What callers say of an image, and of where it comes from. */
export const imageKeys = ['image', 'pull', 'store', 'registry', 'platform', 'unpack', 'onProgress'] as const;

/** OVL_MAX_STACK. */
const mostLayers = 500;
const imageSchema = defineSchema(['rootfs', 'layers']);
const layersSchema = defineSchema(['directory', 'names']);

export const hostImage: ImageSettings = Object.freeze({ kind: 'host' });

/** An image with the options that are about it. `decided` says what else the caller gave that an image would. */
export function readImage(
  {
    image = 'host',
    pull,
    store,
    registry,
    platform,
    unpack,
    onProgress,
  }: { readonly [Key in (typeof imageKeys)[number]]?: unknown },
  decided: StoredImageSettings['decided'],
): ImageSettings {
  if (typeof image === 'string' && image !== 'host') {
    return Object.freeze({
      kind: 'stored',
      image: readReference(image, 'image'),
      pull: pull === undefined ? 'missing' : readChoice(pull, 'pull', ['missing', 'always', 'never']),
      store: store === undefined ? undefined : readStore(store, 'store'),
      registry: readRegistryOptions(registry ?? {}, 'registry'),
      platform: platform === undefined ? undefined : parsePlatform(platform),
      unpack: readOwnUnpackOptions(unpack === undefined ? {} : unpack, 'unpack', onProgress),
      decided,
    });
  }
  refuse({ pull, store, registry, platform }, 'it is about an image that is looked for by its name');
  if (image instanceof Image) {
    return Object.freeze({
      kind: 'stored',
      image,
      pull: 'never',
      store: image.store,
      registry: readRegistryOptions({}, 'registry'),
      platform: undefined,
      unpack: readOwnUnpackOptions(unpack === undefined ? {} : unpack, 'unpack', onProgress),
      decided,
    });
  }
  refuse({ unpack, onProgress }, 'it is about an image of a store, whose layers are unpacked');
  return readDirectories(image, 'image');
}

function refuse(options: Readonly<Record<string, unknown>>, hint: string): void {
  for (const [key, value] of Object.entries(options)) {
    if (value !== undefined) throw new OptionError(key, 'no setting beside this image', value, { hint });
  }
}

function readReference(text: string, option: string): Reference {
  try {
    return parseReference(text, option).withDefaultTag();
  } catch (cause) {
    if (!(cause instanceof ImageError)) throw cause;
    const hint = /^hosts?$/i.test(text) ? "did you mean 'host'?" : cause.message;
    throw new OptionError(option, "'host', or the name of an image such as 'debian:12'", text, { hint, cause });
  }
}

function readStore(value: unknown, option: string): ImageStore {
  if (value instanceof ImageStore) return value;
  throw new OptionError(option, 'an ImageStore', value, { hint: 'await ImageStore.open({ path })' });
}

function readDirectories(value: unknown, option: string): ImageSettings {
  if (value === 'host') return hostImage;
  const expected = "'host', the name of an image, an Image, { rootfs: '/dir' } or { layers: { directory, names } }";
  if (typeof value !== 'object' || value === null) throw new OptionError(option, expected, value);
  const { rootfs, layers } = expectKeys(copyObject(value, option), option, imageSchema);
  if (rootfs !== undefined && layers !== undefined) throw new OptionError(option, expected, value);
  if (layers !== undefined) return readLayers(layers, `${option}.layers`);
  return Object.freeze({ kind: 'rootfs', path: readHostPath(rootfs, `${option}.rootfs`) });
}

function readLayers(value: unknown, option: string): LayersSettings {
  const fields = readObject(value, option, layersSchema);
  const at = optionName(option, 'names');
  const list = readList(fields.names, at, 'an array of names of directories, topmost first', mostLayers);
  if (list.length === 0) throw new OptionError(at, 'at least one directory', fields.names);
  const names = list.map((name, index) => readSubPath(name, `${at}[${index}]`));
  const taken = new Set<string>();
  for (const [index, name] of names.entries()) {
    // The kernel answers ELOOP, without a word on which.
    if (taken.has(name)) throw new OptionError(`${at}[${index}]`, 'each directory once', name);
    taken.add(name);
  }
  const directory = readHostPath(fields.directory, optionName(option, 'directory'));
  return Object.freeze({ kind: 'layers', directory, names: Object.freeze(names) });
}
