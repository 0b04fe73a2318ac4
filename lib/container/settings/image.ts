/** Where the root file system comes from. */

import { OptionError } from '../../errors.js';
import { readHostPath, readSubPath } from './paths.js';
import { copyObject, defineSchema, expectKeys, optionName, readList, readObject } from './schema.js';

export type ImageSettings =
  | { readonly kind: 'host' }
  /** `path` is absolute and normalised. */
  | { readonly kind: 'rootfs'; readonly path: string }
  | LayersSettings;

export interface LayersSettings {
  readonly kind: 'layers';
  /** Absolute and normalised. */
  readonly directory: string;
  /** Relative to it, topmost first, each once. */
  readonly names: readonly string[];
}

/** OVL_MAX_STACK. */
const mostLayers = 500;
const imageSchema = defineSchema(['rootfs', 'layers']);
const layersSchema = defineSchema(['directory', 'names']);

export const hostImage: ImageSettings = Object.freeze({ kind: 'host' });

export function readImage(value: unknown, option: string): ImageSettings {
  if (value === 'host') return hostImage;
  const expected = "'host', { rootfs: '/dir' } or { layers: { directory, names } }";
  if (typeof value !== 'object' || value === null) {
    const hint = typeof value === 'string' ? 'references to registries are not supported yet' : undefined;
    throw new OptionError(option, expected, value, { hint });
  }
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
