/**
 * What the settings name on the host: is it there, what is it, may it be shown to a container. For errors that a caller
 * understands, before anything starts; it is no defence against someone who changes the files meanwhile. That is the
 * launcher's part, which opens each source once and works with the descriptor.
 */

import { access, lstat, readFile, realpath, stat, statfs } from 'node:fs/promises';
import { OptionError } from '../errors.js';
import type { ContainerNetwork } from '../network/bridge/container-network.js';
import type { IoLimit, Limits } from '../primitives/cgroup/index.js';
import type { DirectoryRoot } from './plan/directory-root.js';
import { isAtOrBelow } from './settings/paths.js';
import type { BindSettings, ContainerSettings, LayersSettings, OverlaySettings } from './settings.js';
import { kernelFileSystem, kernelMountBelow } from './sources/kernel-file-systems.js';

/** What the plan needs to know about the host's side of the settings. */
export interface SourceFacts {
  /** For each bind mount, by its index in `settings.mounts`, what its target has to be. */
  readonly kinds: ReadonlyMap<number, 'directory' | 'file'>;
  /** The limits, with every device of `io` as `major:minor`. */
  readonly limits: Limits;
  /** What the container's root is made of, where a driver makes no overlay. */
  readonly root?: DirectoryRoot;
  /** Its place in a network, where it has one. */
  readonly network?: ContainerNetwork;
  /** Whether what is written begins with a copy, which is made in the middle of the plan: `fork()`. */
  readonly filled?: boolean;
}

const noKinds: ReadonlyMap<number, 'directory' | 'file'> = new Map();

/**
 * Looks at the sources of a container.
 * @throws OptionError for one that is missing, of the wrong kind, or not to be shown to a container
 */
export function resolveSources(settings: ContainerSettings): Promise<SourceFacts> {
  const { image, mounts, limits } = settings;
  const named = mounts.some((mount) => mount.type !== 'tmpfs');
  // Most containers name nothing of the host; for them no file is looked at.
  if (image.kind === 'host' && !named && limits.values.io === undefined) {
    return Promise.resolve({ kinds: noKinds, limits: limits.values });
  }
  return look(settings);
}

async function look({ image, mounts, limits }: ContainerSettings): Promise<SourceFacts> {
  const host = await lookAtHost();
  const kinds = new Map<number, 'directory' | 'file'>();
  const checks = mounts.map(async (mount, index) => {
    if (mount.type === 'bind') kinds.set(index, await checkBind(mount, host));
    if (mount.type === 'overlay') await checkLowers(mount, host);
  });
  if (image.kind === 'rootfs') {
    const hint = "for the host's own programs use image: 'host'";
    checks.unshift(checkDirectory(image.path, 'image.rootfs', host, hint));
  } else if (image.kind === 'layers') {
    checks.unshift(checkLayers(image, host));
  }
  const io = limits.values.io === undefined ? undefined : resolveDevices(limits.values.io);
  await firstFailure([...checks, ...(io === undefined ? [] : [io])]);
  return { kinds, limits: io === undefined ? limits.values : { ...limits.values, io: await io } };
}

/** All at once, yet which failure is reported does not depend on which was found first. */
async function firstFailure(checks: readonly Promise<unknown>[]): Promise<void> {
  for (const outcome of await Promise.allSettled(checks)) if (outcome.status === 'rejected') throw outcome.reason;
}

/** What identifies the host's root and its /dev, whatever path leads there. */
interface HostDirectories {
  readonly root: { readonly dev: bigint; readonly ino: bigint };
  readonly devices: bigint | undefined;
}

async function lookAtHost(): Promise<HostDirectories> {
  const root = await stat('/', { bigint: true });
  const dev = await stat('/dev', { bigint: true }).catch(() => undefined);
  return { root, devices: dev === undefined || dev.dev === root.dev ? undefined : dev.dev };
}

async function checkBind(mount: BindSettings, host: HostDirectories): Promise<'directory' | 'file'> {
  const option = `${mount.option}.source`;
  const path = mount.subPath === undefined ? mount.source : await followSubPath(mount);
  const facts = await examine(path, option);
  await refuseKernelFileSystem(path, facts, option, host);
  const unsafe = mount.unsafeSource ? undefined : (unsafeReason(facts, host) ?? (await unsafeContent(path, facts)));
  if (unsafe !== undefined) {
    const hint = `if that is meant, set ${mount.option}.unsafeSource: true`;
    throw new OptionError(option, `a directory or a regular file, and this is ${unsafe}`, path, { path, hint });
  }
  return facts.isDirectory() ? 'directory' : 'file';
}

/** Every component of `subPath` has to be what it is, not a link: who can write to the source could point it anywhere. */
async function followSubPath({ source, subPath = '', option }: BindSettings): Promise<string> {
  let path = await realpath(source).catch((cause) => {
    throw unreachable(source, `${option}.source`, cause);
  });
  for (const component of subPath.split('/')) {
    path = path === '/' ? `/${component}` : `${path}/${component}`;
    const facts = await lstat(path).catch((cause) => {
      throw unreachable(path, `${option}.subPath`, cause);
    });
    if (facts.isSymbolicLink()) {
      throw new OptionError(`${option}.subPath`, `a path without links, and ${path} is one`, subPath, { path });
    }
  }
  return path;
}

async function checkLowers(mount: OverlaySettings, host: HostDirectories): Promise<void> {
  await firstFailure(
    mount.lower.map((path, index) => checkDirectory(path, `${mount.option}.lower[${index}]`, host, undefined)),
  );
}

async function checkLayers({ directory, names }: LayersSettings, host: HostDirectories): Promise<void> {
  await checkDirectory(directory, 'image.layers.directory', host, undefined);
  await firstFailure(
    names.map((name, index) => checkDirectory(`${directory}/${name}`, `image.layers.names[${index}]`, host, undefined)),
  );
}

async function checkDirectory(
  path: string,
  option: string,
  host: HostDirectories,
  hint: string | undefined,
): Promise<void> {
  const facts = await examine(path, option);
  if (!facts.isDirectory()) throw new OptionError(option, 'a directory', path, { path });
  await refuseKernelFileSystem(path, facts, option, host);
  if (isRoot(facts, host))
    throw new OptionError(option, "a directory other than the host's root", path, { path, hint });
}

type Facts = Awaited<ReturnType<typeof examine>>;

async function examine(path: string, option: string) {
  return stat(path, { bigint: true }).catch((cause) => {
    throw unreachable(path, option, cause);
  });
}

function unreachable(path: string, option: string, cause: unknown): OptionError {
  const errno = cause instanceof Error && 'code' in cause ? String(cause.code) : undefined;
  const hint =
    errno === 'ENOENT'
      ? 'it does not exist; make it first, it is never made for you'
      : 'is it readable by this process?';
  return new OptionError(option, `a path of the host that can be reached (${errno})`, path, {
    syscall: 'stat',
    errno,
    path,
    hint,
    cause,
  });
}

async function refuseKernelFileSystem(
  path: string,
  facts: Facts,
  option: string,
  host: HostDirectories,
): Promise<void> {
  const { type } = await statfs(path).catch((cause) => {
    throw unreachable(path, option, cause);
  });
  const real = await realpath(path).catch(() => path); // without one: a descriptor's link into /proc, such as a namespace
  // devtmpfs says it is a tmpfs; it is known by being what /dev is on.
  const devices = facts.isDirectory() && facts.dev === host.devices ? 'devtmpfs' : undefined;
  // A hybrid host has a plain tmpfs at /sys/fs/cgroup, full of cgroup v1.
  const place = ['/proc', '/sys'].find((directory) => isAtOrBelow(real, directory));
  const name = kernelFileSystem(type) ?? devices ?? place;
  if (name === undefined) return;
  const hint = 'a container has its own /proc, /sys and /dev';
  throw new OptionError(option, `a path that is not on a file system of the kernel (${name})`, path, { path, hint });
}

/** Why a source gives more than its files: through it the container could act on the host. */
function unsafeReason(facts: Facts, host: HostDirectories): string | undefined {
  if (isRoot(facts, host)) return "the host's root";
  if (facts.isSocket()) return 'a socket';
  if (facts.isFIFO()) return 'a FIFO';
  if (facts.isBlockDevice()) return 'a block device';
  if (facts.isCharacterDevice()) return 'a character device';
  return undefined;
}

/** A bind takes along what is mounted below it. */
async function unsafeContent(path: string, facts: Facts): Promise<string | undefined> {
  if (!facts.isDirectory()) return undefined;
  const [real, mountinfo] = await Promise.all([realpath(path), readFile('/proc/self/mountinfo', 'utf8')]);
  const below = kernelMountBelow(mountinfo, real);
  return below === undefined ? undefined : `one with a file system of the kernel in it (${below})`;
}

function isRoot(facts: Facts, { root }: HostDirectories): boolean {
  return facts.dev === root.dev && facts.ino === root.ino;
}

async function resolveDevices(limits: readonly IoLimit[]): Promise<readonly IoLimit[]> {
  const resolved: IoLimit[] = [];
  const taken = new Map<string, string>();
  for (const [index, limit] of limits.entries()) {
    const option = `limits.io[${index}].device`;
    const device = limit.device.startsWith('/') ? await deviceNumbers(limit.device, option) : limit.device;
    const other = taken.get(device);
    // The kernel would keep the last, silently.
    if (other !== undefined) throw new OptionError(option, `a device other than that of ${other}`, limit.device);
    taken.set(device, option);
    if (
      await access(`/sys/dev/block/${device}/partition`).then(
        () => true,
        () => false,
      )
    ) {
      throw new OptionError(option, 'a whole disk, not a partition', limit.device, {
        hint: 'the kernel limits disks only',
      });
    }
    resolved.push({ ...limit, device });
  }
  return resolved;
}

async function deviceNumbers(path: string, option: string): Promise<string> {
  const facts = await examine(path, option);
  if (!facts.isBlockDevice()) throw new OptionError(option, 'a block device', path, { path });
  return decodeDevice(facts.rdev);
}

/** `major:minor` of glibc's dev_t, which has the low bits of both in its low half (makedev(3)). */
export function decodeDevice(rdev: bigint): string {
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & ~0xfffn);
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & ~0xffn & 0xffffffffn);
  return `${major}:${minor}`;
}
