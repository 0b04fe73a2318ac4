/** A container's files as a new image: what has changed as one more layer of its image, or its whole root as the only one. */

import { createHash } from 'node:crypto';
import { AbortedError, OptionError } from '../errors.js';
import type { Digest } from '../image/digest.js';
import { type Compression, mediaTypes } from '../image/document/media-types.js';
import { Image } from '../image/image.js';
import { compressLayer } from '../image/layer/compress.js';
import { packLayer, packTree } from '../image/layer/pack.js';
import { parseReference } from '../image/reference.js';
import { ImageStore } from '../image/store/index.js';
import { type ConfigChanges, type NewLayer, writeImage } from '../image/write.js';
import type { OverlayChange } from '../primitives/mount/changes.js';
import { containerChanges, ownFiles } from './changes.js';
import { type Pausable, whilePaused } from './paused.js';
import { flatten } from './plan/compile.js';
import { defineSchema, readBoolean, readChoice, readObject, readText } from './settings/schema.js';
import type { ContainerSettings } from './settings.js';
import { type ChangedView, expectOwnRoot, startReader, viewChanges } from './views.js';

/** How a container becomes an image. */
export interface CommitOptions {
  /**
   * The image whose layers the container's root is made of: the new one is that with one layer more. Default: the one that the
   * container was made of. Without either, as with `{ rootfs }`, the new image has one layer, of the whole root.
   */
  readonly base?: Image;
  /** Default: that of `base`, and no other with it; else {@link ImageStore.default}. */
  readonly store?: ImageStore;
  /** What the image is to be called in the store. */
  readonly reference?: string;
  /** Give it its name also where another image has it. Default false. */
  readonly moveTags?: boolean;
  /** Each field that is given replaces that of `base`. */
  readonly config?: ConfigChanges;
  /** For the history. */
  readonly message?: string;
  readonly author?: string;
  /** Default: `SOURCE_DATE_EPOCH` of the environment, in seconds, else now. */
  readonly created?: Date;
  /** Of the layer. Default `'gzip'`. */
  readonly compression?: Compression;
  /** Whether everything in the container stops while its files are read. Default true. */
  readonly pause?: boolean;
  readonly signal?: AbortSignal;
}

const schema = defineSchema([
  'base',
  'store',
  'reference',
  'moveTags',
  'config',
  'message',
  'author',
  'created',
  'compression',
  'pause',
  'signal',
]);
interface CommitSettings {
  readonly base: Image | undefined;
  readonly store: ImageStore | undefined;
  readonly reference: string | undefined;
  readonly moveTags: boolean;
  readonly config: ConfigChanges | undefined;
  readonly message: string | undefined;
  readonly author: string | undefined;
  readonly created: Date | undefined;
  readonly compression: Compression;
  readonly pause: boolean;
  readonly signal: AbortSignal | undefined;
}

/** @param made the image that the container was made of, if it was */
export async function commitContainer(
  container: Pausable,
  made: Image | undefined,
  options: CommitOptions,
): Promise<Image> {
  const settings = readOptions(options, container.settings, made);
  expectOwnRoot(container.settings, 'be committed');
  throwIfAborted(settings.signal);
  const { base, message, author, created, config, reference, moveTags } = settings;
  const store = base?.store ?? settings.store ?? (await ImageStore.default());
  // Until the image has its name, nothing but this keeps what is put there.
  await using _hold = store.hold();
  const layer = await makeLayer(container, settings, store);
  const written = await writeImage(store, {
    ...(base && { base }),
    layers: layer ? [layer] : [],
    ...(config !== undefined && { config }),
    ...(author !== undefined && { author }),
    ...(message !== undefined && { comment: message }),
    ...(created !== undefined && { created }),
  });
  if (reference !== undefined) await store.setReference(reference, written.descriptor, { move: moveTags });
  return await Image.read(store, written.descriptor, reference);
}

/** Undefined where nothing has changed, which takes no layer. */
async function makeLayer(
  container: Pausable,
  settings: CommitSettings,
  store: ImageStore,
): Promise<NewLayer | undefined> {
  // Init, and so these descriptors, cannot be asked for once it is paused.
  const view = await viewChanges(container.instance);
  try {
    await using reader = await startReader(view);
    const place = { by: reader, descriptors: [view.root] };
    const pack = async () => {
      const { signal } = settings;
      if (!settings.base) return await writeLayer(packTree(place, '0', { omit: ownFiles, signal }), settings, store);
      const changes = await listChanges(container, view, signal);
      if (changes.length === 0) return undefined;
      return await writeLayer(packLayer(place, '0', changes, { signal }), settings, store);
    };
    return await (settings.pause ? whilePaused(container, pack) : pack());
  } finally {
    view.close();
  }
}

async function listChanges(
  { instance }: Pausable,
  view: ChangedView,
  signal: AbortSignal | undefined,
): Promise<OverlayChange[]> {
  const list: OverlayChange[] = [];
  for await (const change of containerChanges(view, flatten(instance.blueprint.steps.container))) {
    throwIfAborted(signal);
    list.push(change);
  }
  return list;
}

async function writeLayer(
  tar: AsyncIterable<Uint8Array>,
  { compression }: CommitSettings,
  store: ImageStore,
): Promise<NewLayer> {
  const hash = createHash('sha256');
  async function* hashed(): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const part of tar) {
      hash.update(part);
      yield part;
    }
  }
  const { digest, size } = await store.putBlob(compressLayer(hashed(), compression));
  const diffId: Digest = `sha256:${hash.digest('hex')}`;
  return { descriptor: { mediaType: layerTypes[compression], digest, size }, diffId };
}

const layerTypes = {
  none: mediaTypes.ociLayer,
  gzip: mediaTypes.ociLayerGzip,
  zstd: mediaTypes.ociLayerZstd,
} as const;

function readOptions(options: CommitOptions, { image }: ContainerSettings, made: Image | undefined): CommitSettings {
  const fields = readObject(options, '', schema);
  const { base = made, store, signal, created } = fields;
  if (base !== undefined && !(base instanceof Image)) throw new OptionError('base', 'an Image', base);
  if (store !== undefined && !(store instanceof ImageStore)) throw new OptionError('store', 'an ImageStore', store);
  if (base && store && store !== base.store) throw new OptionError('store', 'the store that base is in', store.path);
  const layers = image.kind === 'layers' ? image.names.length : 0;
  if (base && layers !== base.config.diffIds.length) {
    const expected = `the image of the container's ${layers} layers`;
    throw new OptionError('base', expected, `one of ${base.config.diffIds.length}`, {
      hint: 'without base the new image has one layer, of the whole root',
    });
  }
  if (signal !== undefined && !(signal instanceof AbortSignal))
    throw new OptionError('signal', 'an AbortSignal', signal);
  if (created !== undefined && !(created instanceof Date && Number.isFinite(created.getTime()))) {
    throw new OptionError('created', 'a valid Date', created);
  }
  const text = (key: 'message' | 'author' | 'reference') =>
    fields[key] === undefined ? undefined : readText(fields[key], key, 'text');
  const name = text('reference');
  const reference = name === undefined ? undefined : parseReference(name, 'reference').withDefaultTag().toString();
  return {
    base,
    store,
    reference,
    created,
    signal,
    message: text('message'),
    author: text('author'),
    config: fields.config === undefined ? undefined : readConfig(fields.config),
    moveTags: readBoolean(fields.moveTags, 'moveTags', false),
    pause: readBoolean(fields.pause, 'pause', true),
    compression: readChoice(fields.compression ?? 'gzip', 'compression', ['gzip', 'zstd', 'none']),
  };
}

/** Of the right shape; what it says is looked at where the new configuration is read again. */
function readConfig(value: unknown): ConfigChanges {
  const fields = readObject(value, 'config', defineSchema(Object.keys(configShapes) as (keyof ConfigChanges)[]));
  for (const [key, field] of Object.entries(fields)) {
    if (field === undefined) continue;
    const shape = configShapes[key as keyof ConfigChanges];
    const parts = shape === 'text' ? [field] : shape === 'list' ? listOf(field) : valuesOf(field);
    if (parts?.every((part) => typeof part === 'string')) continue;
    throw new OptionError(`config.${key}`, shapeNames[shape], field);
  }
  return fields as ConfigChanges;
}

function listOf(value: unknown): readonly unknown[] | undefined {
  return Array.isArray(value) ? value : undefined;
}

function valuesOf(value: unknown): readonly unknown[] | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.values(value) : undefined;
}

const shapeNames = { text: 'text', list: 'an array of text', record: 'an object of text' } as const;
const configShapes: { readonly [Key in keyof ConfigChanges]-?: keyof typeof shapeNames } = {
  entrypoint: 'list',
  cmd: 'list',
  env: 'record',
  workingDir: 'text',
  user: 'text',
  exposedPorts: 'list',
  volumes: 'list',
  stopSignal: 'text',
  labels: 'record',
};

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new AbortedError('the commit was ended by its signal', { cause: signal.reason });
}
