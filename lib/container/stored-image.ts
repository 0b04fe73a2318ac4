/**
 * An image of a store, for one container: found or fetched, unpacked, and its layers kept from removal; and what its
 * configuration says, which is someone else's, taken as if a caller had given it.
 */

import { join, posix } from 'node:path';
import { ImageError, OptionError } from '../errors.js';
import type { Digest } from '../image/digest.js';
import { chooseDriver, type DriverChoice } from '../image/driver/choose.js';
import { leaseMerged, mergedPath } from '../image/driver/merged.js';
import { Image, ImageStore, type Reference } from '../image/index.js';
import { fits, formatPlatform, hostPlatform } from '../image/platform.js';
import { layerName } from '../image/store/layers.js';
import { unpackImage } from '../image/unpack.js';
import type { DirectoryRoot } from './plan/directory-root.js';
import { isAtOrBelow, readContainerPath, readWorkingDirectory } from './settings/paths.js';
import { storageBy } from './settings/storage.js';
import { parseArgv, readEnv } from './settings/strings.js';
import { readImageUser } from './settings/user.js';
import type { ContainerSettings, MountSettings, StoredImageSettings } from './settings.js';
import { signalNumber } from './signals.js';

/** The image that a container is made of, for a reader. */
export interface ContainerImage {
  /** Digest of its configuration. */
  readonly id: Digest;
  /** Its canonical name in the store, if it was found by one. */
  readonly reference: string | undefined;
  /** Digest of its manifest. */
  readonly digest: Digest;
  /** What it is for, such as `linux/amd64`. */
  readonly platform: string;
  /** Digests of its layers as tar archives, bottom first. */
  readonly layers: readonly Digest[];
  /** Ports that it says it listens on, such as `80/tcp`. They are not reachable for that. */
  readonly exposedPorts: readonly string[];
  /** Where it has volumes: directories beside the container's layer, which end with the container. */
  readonly volumes: readonly string[];
}

/** What a container has of its image while it exists. */
export interface ImageUse {
  readonly image: Image;
  readonly inspection: ContainerImage;
  /** Entrypoint and command; empty if there are none. */
  readonly argv: readonly string[];
  /** Without the command. */
  readonly entrypoint: readonly string[];
  readonly stopSignal: number | undefined;
  readonly driver: DriverChoice;
  /** What the root is made of, where the driver makes no overlay. */
  readonly root: DirectoryRoot | undefined;
  /** The same for another container, which its layers are kept for as well. */
  again(): Promise<ImageUse>;
  /** Lets its layers go. May be called again. */
  release(): void;
}

export interface TakenImage {
  /** Those of the caller with what the image says, on its layers. */
  readonly settings: ContainerSettings;
  readonly use: ImageUse;
}

/**
 * Makes an image ready for one container.
 * @throws ImageError for one that cannot be found, fetched, unpacked, or says what cannot be followed; OptionError for `argv`
 *   where it has no program and `needsProgram`; AbortedError
 */
export async function takeImage(
  settings: ContainerSettings,
  stored: StoredImageSettings,
  { needsProgram }: { readonly needsProgram: boolean },
): Promise<TakenImage> {
  using own = ownSignal(settings.signal);
  const { signal } = own;
  const store = stored.store ?? (await ImageStore.default());
  // The first time something is mounted for it, which takes no longer than the image does.
  const choosing = chooseDriver(store.roots, settings.storage.driver);
  choosing.catch(() => {});
  // Until its layers are leased, nothing else keeps the image.
  await using _hold = store.hold();
  const image = await find(stored, store, signal);
  const configured = configure(settings, stored, image);
  if (needsProgram && configured.argv.length === 0) {
    throw new OptionError('argv', 'a program, as the image has none of its own', undefined);
  }
  const driver = await choosing;
  const made = by(driver, configured.settings, image);
  const use = async (): Promise<ImageUse> => {
    const unpacking = { ...stored.unpack, signal };
    const lease = await (made.root ? leaseMerged(image, made.root.driver, unpacking) : unpackImage(image, unpacking));
    return {
      image,
      inspection: inspectImage(image),
      argv: configured.argv,
      entrypoint: image.config.entrypoint,
      stopSignal: configured.stopSignal,
      driver,
      root: made.root,
      again: use,
      release: () => lease.release(),
    };
  };
  return { settings: made.settings, use: await use() };
}

interface ByDriver {
  readonly settings: ContainerSettings;
  readonly root: DirectoryRoot | undefined;
}

/** @throws OptionError where the storage that was asked for is none that the driver has */
function by({ driver }: DriverChoice, settings: ContainerSettings, image: Image): ByDriver {
  if (driver === 'overlay') return { settings, root: undefined };
  const storage = storageBy(settings.storage, driver, settings.limits.values.memory);
  const root = { driver, parent: image.store.roots, merged: mergedPath(image, driver) };
  return { settings: Object.freeze({ ...settings, storage }), root };
}

/** The settings of a container of an image that is in the store already; nothing is fetched or unpacked. */
export async function planImage(settings: ContainerSettings, stored: StoredImageSettings): Promise<ByDriver> {
  const store = stored.store ?? (await ImageStore.default());
  const image = await find({ ...stored, pull: 'never' }, store, undefined);
  const driver = await chooseDriver(store.roots, settings.storage.driver);
  return by(driver, configure(settings, stored, image).settings, image);
}

/** Fetching and unpacking know signals of this realm only. */
function ownSignal(signal: AbortSignal | undefined): Disposable & { readonly signal: AbortSignal | undefined } {
  if (signal === undefined || signal instanceof AbortSignal) return { signal, [Symbol.dispose]: () => {} };
  const foreign: AbortSignal = signal;
  const own = new AbortController();
  const abort = () => own.abort(foreign.reason);
  if (foreign.aborted) abort();
  foreign.addEventListener('abort', abort, { once: true });
  return { signal: own.signal, [Symbol.dispose]: () => foreign.removeEventListener('abort', abort) };
}

async function find(
  { image, pull, registry, platform, unpack }: StoredImageSettings,
  store: ImageStore,
  signal: AbortSignal | undefined,
): Promise<Image> {
  if (image instanceof Image) return image;
  const name = String(image);
  const known = pull === 'always' ? undefined : await Image.get(name, { store });
  if (known && (platform === undefined || fits(known.config, platform))) return known;
  if (pull === 'never' && known && platform) {
    const found = `the image ${image.familiar} of the store is for ${formatPlatform(known.config)}`;
    throw new ImageError('ERR_NOT_FOUND', `${found}, and not for ${formatPlatform(platform)}`);
  }
  if (pull === 'never') {
    throw new ImageError('ERR_NOT_FOUND', `the store has no image ${image.familiar}`, { hint: hintFor(image) });
  }
  try {
    const settings = { platform: platform ?? hostPlatform(), registry, signal, onProgress: unpack.onProgress };
    return await Image.fetch(store, image, settings);
  } catch (cause) {
    const meant = hintFor(image);
    if (!(cause instanceof ImageError) || meant === undefined) throw cause;
    const { message, code, status } = cause;
    throw new ImageError(code as `ERR_${string}`, `${image.familiar}: ${message}`, { hint: meant, status, cause });
  }
}

/** A word alone is the name of an image of Docker's registry, also where something else was meant. */
function hintFor({ registry, repository }: Reference): string | undefined {
  if (registry !== 'docker.io' || !repository.startsWith('library/')) return undefined;
  return "for the host's own programs use image: 'host'";
}

interface Configured {
  readonly settings: ContainerSettings;
  readonly argv: readonly string[];
  readonly stopSignal: number | undefined;
}

/** @throws ImageError `ERR_CONFIG` for what a caller could not have asked for either */
function configure(settings: ContainerSettings, { decided, unpack }: StoredImageSettings, image: Image): Configured {
  const { env, workingDir, user, entrypoint, cmd, stopSignal, volumes, diffIds } = image.config;
  if (diffIds.length === 0) throw new ImageError('ERR_CONFIG', `the image ${nameOf(image)} has no layers`);
  try {
    const program = [...entrypoint, ...cmd];
    const cwd = workingDir === undefined || decided.cwd ? undefined : readOwnDirectory(workingDir);
    return {
      settings: Object.freeze({
        ...settings,
        image: Object.freeze({
          kind: 'layers',
          directory: join(image.store.path, 'layers'),
          names: layerNames(diffIds, unpack.variant),
          ...(!fits(image.config, hostPlatform()) && { foreign: formatPlatform(image.config) }),
          volumes: ownVolumes(volumes, settings.mounts),
          ...(cwd !== undefined && { workingDir: cwd }),
        }),
        env: [...new Map([...readEnv(env, 'Env'), ...settings.env])],
        ...(!decided.user && { user: readImageUser(user, 'User') }),
        ...(cwd !== undefined && { cwd }),
      }),
      argv: program.length === 0 ? [] : parseArgv(program),
      stopSignal: stopSignal === undefined ? undefined : readStopSignal(stopSignal),
    };
  } catch (cause) {
    if (!(cause instanceof OptionError)) throw cause;
    throw new ImageError('ERR_CONFIG', `the configuration of ${nameOf(image)}: ${cause.message}`, { cause });
  }
}

/** Topmost first. */
function layerNames(diffIds: readonly Digest[], variant: string | undefined): readonly string[] {
  return diffIds.map((_, index) => `${layerName({ diffIds: diffIds.slice(0, diffIds.length - index), variant })}/root`);
}

/** As Docker does, `..` is taken away as text, before there is a root in which it could mean something else. */
function readOwnDirectory(path: string): string {
  return readWorkingDirectory(posix.normalize(path), 'WorkingDir');
}

/** Those for which the caller has mounted nothing, there or above; a volume that lies in another one comes after it. */
function ownVolumes(paths: readonly string[], mounts: readonly MountSettings[]): readonly string[] {
  if (paths.length > mostVolumes) throw new OptionError('Volumes', `at most ${mostVolumes} volumes`, paths.length);
  const depth = (path: string) => path.split('/').length;
  return paths
    .map(readVolume)
    .filter((path) => !mounts.some(({ target }) => isAtOrBelow(path, target)))
    .sort((one, other) => depth(one) - depth(other) || (one < other ? -1 : 1));
}

const mostVolumes = 100;

function readVolume(path: string): string {
  const checked = readContainerPath(path, 'Volumes');
  if (checked === '/' || ['/proc', '/sys', '/dev'].some((kept) => isAtOrBelow(checked, kept))) {
    throw new OptionError('Volumes', 'paths other than / and not in /proc, /sys or /dev', path);
  }
  return checked;
}

/** The first real-time signal that programs have; glibc keeps two below it for itself (signal(7)). */
const SIGRTMIN = 34;
const SIGRTMAX = 64;

/** Names, numbers, and `SIGRTMIN+3`, with which systemd is ended. */
function readStopSignal(text: string): number {
  const [, end, sign, offset] = /^(?:SIG)?RT(MIN|MAX)(?:([+-])(\d+))?$/i.exec(text) ?? [];
  if (end === undefined) return signalNumber(/^\d+$/.test(text) ? Number(text) : text, 'StopSignal');
  const number = (end.toUpperCase() === 'MIN' ? SIGRTMIN : SIGRTMAX) + Number(`${sign ?? ''}${offset ?? 0}`);
  if (number >= SIGRTMIN && number <= SIGRTMAX) return number;
  throw new OptionError('StopSignal', 'a signal from SIGRTMIN to SIGRTMAX', text);
}

function nameOf({ reference, id }: Image): string {
  return reference ?? id;
}

function inspectImage({ id, reference, descriptor, config }: Image): ContainerImage {
  const { diffIds: layers, exposedPorts, volumes } = config;
  const platform = formatPlatform(config);
  return Object.freeze({ id, reference, digest: descriptor.digest, platform, layers, exposedPorts, volumes });
}
