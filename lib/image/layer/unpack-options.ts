/** Options of unpacking, checked: what cannot be meant is an error before anything has started. */

import { readSignal } from '../../container/settings/exec.js';
import { readHostPath } from '../../container/settings/paths.js';
import {
  defineSchema,
  type Fields,
  readBoolean,
  readChoice,
  readInteger,
  readList,
  readObject,
} from '../../container/settings/schema.js';
import { ImageError, OptionError } from '../../errors.js';

/** How much an archive may be. */
export interface LayerLimits {
  /** Bytes of all files together. Default 64 GiB, at most 1 PiB. */
  readonly bytes?: number;
  /** Members. Default 1,048,576, at most 2^31-1. */
  readonly entries?: number;
  /** Components of a path. Default, and at most, 256. */
  readonly depth?: number;
  /** Bytes of one member's extended header (long names, attributes). Default, and at most, 1 MiB. */
  readonly header?: number;
}

/** How an archive is unpacked that is no layer. */
export interface ArchiveOptions {
  readonly limits?: LayerLimits;
  readonly signal?: AbortSignal;
  /** Hears how many bytes of the archive have been handed over. */
  readonly onProgress?: (bytes: number) => void;
}

/** How a layer is unpacked. */
export interface UnpackOptions extends ArchiveOptions {
  /** What becomes of device nodes, which are never made. Default `'refuse'`. */
  readonly devices?: 'refuse' | 'skip';
  /** Whether `security.capability` of files is kept. Default false. */
  readonly fileCapabilities?: boolean;
}

/** Options, checked. */
export interface UnpackSettings {
  readonly mode: 'layer' | 'archive';
  readonly limits: Required<LayerLimits>;
  readonly devices: 'refuse' | 'skip';
  readonly fileCapabilities: boolean;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((bytes: number) => void) | undefined;
}

const archiveSchema = defineSchema(['limits', 'signal', 'onProgress']);
const layerSchema = defineSchema([...archiveSchema.keys, 'devices', 'fileCapabilities'] as (keyof UnpackOptions)[]);
const limitSchema = defineSchema(['bytes', 'entries', 'depth', 'header']);
/** An overlay has 500 lower layers at most (OVL_MAX_STACK), of which the one that is made is the topmost. */
const mostLayers = 499;

/** @throws OptionError naming what is wrong, below `option` */
export function readLayerLimits(limits: Fields<keyof LayerLimits>, option: string): Required<LayerLimits> {
  const read = (key: keyof LayerLimits, fallback: number, min: number, max: number) =>
    limits[key] === undefined ? fallback : readInteger(limits[key], `${option}.${key}`, min, max);
  return {
    bytes: read('bytes', 2 ** 36, 1, 2 ** 50),
    entries: read('entries', 2 ** 20, 1, 2 ** 31 - 1),
    depth: read('depth', 256, 1, 256),
    header: read('header', 2 ** 20, 1, 2 ** 20),
  };
}

/** @throws OptionError */
export function readUnpackSettings(mode: 'layer' | 'archive', options: unknown): UnpackSettings {
  const fields: Fields<keyof UnpackOptions> = readObject(options, '', mode === 'layer' ? layerSchema : archiveSchema);
  const { limits = {}, devices = 'refuse', signal, onProgress } = fields;
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    throw new OptionError('onProgress', 'a function', onProgress);
  }
  return {
    mode,
    limits: readLayerLimits(readObject(limits, 'limits', limitSchema), 'limits'),
    devices: readChoice(devices, 'devices', ['refuse', 'skip']),
    fileCapabilities: readBoolean(fields.fileCapabilities, 'fileCapabilities', false),
    signal: signal === undefined ? undefined : readSignal(signal, 'signal'),
    onProgress: onProgress as UnpackSettings['onProgress'],
  };
}

/**
 * The directory and those of the layers below.
 * @throws OptionError; ImageError `ERR_LAYER` for more layers than an overlay can have
 */
export function readDirectories(directory: unknown, parents: unknown): readonly [string, ...string[]] {
  const path = readHostPath(directory, 'directory');
  const list = readList(parents, 'parents', 'paths of directories, topmost first', 2 ** 16);
  if (list.length > mostLayers) throw new ImageError('ERR_LAYER', `more than ${mostLayers} layers below`);
  return [path, ...list.map((parent, index) => readHostPath(parent, `parents[${index}]`))];
}

/** @throws OptionError */
export function checkSource(tar: unknown): asserts tar is AsyncIterable<Uint8Array> {
  if (typeof tar === 'object' && tar !== null && typeof Reflect.get(tar, Symbol.asyncIterator) === 'function') return;
  throw new OptionError('tar', 'an async iterable of bytes', tar);
}
