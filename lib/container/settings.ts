/**
 * From what a caller asked for to what is done: options are copied once, checked, completed with the defaults and frozen.
 * Everything after this file reads settings, and finds nothing in them that was not checked.
 */

import { OptionError } from '../errors.js';
import type { Capabilities } from '../primitives/capabilities.js';
import { cgroupName } from '../primitives/cgroup/name.js';
import type { SeccompProfile } from '../primitives/seccomp/index.js';
import type { Sysctl } from '../primitives/sysctl.js';
import type { ClockOffsets } from '../primitives/time-namespace.js';
import {
  type AttributeSettings,
  attributeKeys,
  readAttributes,
  relaxedAttributes,
} from '../process/attributes/settings.js';
import { readSeccomp, relaxedSeccomp, type SupervisionSettings } from '../process/seccomp/settings.js';
import { withLimits } from './settings/attributes.js';
import { type ExecSettings, execKeys, readExec, readSignal } from './settings/exec.js';
import { hostImage, type ImageSettings, imageKeys, readImage } from './settings/image.js';
import { readSysctls, readTimeOffsets } from './settings/kernel.js';
import { defaultLimits, type LimitSettings, readLimits } from './settings/limits.js';
import { type MountSettings, noMounts, readMounts } from './settings/mounts.js';
import { type NetworkSettings, noNetwork, readNetworkOption } from './settings/network.js';
import { readWorkingDirectory } from './settings/paths.js';
import { readCapabilities, relaxedCapabilities } from './settings/privileges.js';
import { byteLength, defineSchema, type Fields, readObject } from './settings/schema.js';
import { readStorage, type StorageSettings } from './settings/storage.js';
import { type EnvPairs, parseArgv, readEnv } from './settings/strings.js';
import { type ImageUser, readUser, rootUser, type UserSpec } from './settings/user.js';

export type { OutputSettings, StdinSettings } from './settings/exec.js';
export type { LayersSettings, StoredImageSettings } from './settings/image.js';
export type { BindSettings, OverlaySettings } from './settings/mounts.js';
export type { ExecSettings, ImageUser, LimitSettings, MountSettings, StorageSettings, UserSpec };
export { parseArgv };

/** Checked, frozen options of a container. */
export interface ContainerSettings {
  readonly name?: string;
  readonly image: ImageSettings;
  readonly hostname?: string;
  readonly user: UserSpec | ImageUser;
  readonly cwd: string;
  readonly env: EnvPairs;
  /** In the order they are made. */
  readonly mounts: readonly MountSettings[];
  readonly limits: LimitSettings;
  /** Of every program that has none of its own; what `limits` says of one process is among them. */
  readonly attributes: AttributeSettings;
  readonly sysctl: readonly Sysctl[];
  readonly timeOffsets?: ClockOffsets;
  readonly storage: StorageSettings;
  readonly capabilities: Capabilities;
  readonly seccomp: SeccompProfile;
  readonly seccompName: 'default' | 'docker' | 'custom';
  /** Calls that a handler decides, and refusals that are told of, if there is either. */
  readonly supervision?: SupervisionSettings;
  readonly network: NetworkSettings;
  readonly signal?: AbortSignal;
  /** Every way in which this container is less confined than the defaults, such as `mounts[0].unsafeSource`. */
  readonly relaxations: readonly string[];
}

const containerKeys = [
  ...imageKeys,
  'name',
  'hostname',
  'user',
  'cwd',
  'env',
  'mounts',
  'limits',
  'storage',
  'capabilities',
  'seccomp',
  'network',
  'signal',
  'sysctl',
  'timeOffsets',
  ...attributeKeys,
] as const;

function hintsFor(keys: readonly string[], hint: string): [string, string][] {
  return keys.map((key) => [key, `${key} ${hint}`]);
}

const noSwitch: readonly (readonly [string, string])[] = [
  ['privileged', 'there is no such switch: each relaxation has an option of its own, whose name starts with unsafe'],
];
const containerSchema = defineSchema(
  containerKeys,
  new Map([
    ...hintsFor([...execKeys, 'entrypoint'], 'is an option of exec and run'),
    ...noSwitch,
    ['sysctls', 'did you mean sysctl?'],
  ]),
);
const execSchema = defineSchema(
  [...execKeys, 'entrypoint'],
  new Map([...hintsFor(containerKeys, 'is an option of the container'), ...noSwitch]),
);
/** Keys of both, which `run` gives to the container. */
const shared: ReadonlySet<string> = new Set([...attributeKeys, 'capabilities']);
const runSchema = defineSchema([...new Set([...containerKeys, ...execKeys, 'entrypoint' as const])], new Map(noSwitch));

const noRelaxations: readonly string[] = Object.freeze([]);
const defaultStorage = readStorage(undefined, 'storage', defaultLimits.values.memory);

/**
 * The settings of a container.
 * @throws OptionError naming the option, or UnsupportedError for one that cannot be had
 */
export function parseContainerOptions(options: unknown): ContainerSettings {
  return readContainer(readObject(options, '', containerSchema));
}

/**
 * The settings of one process.
 * @throws OptionError naming the option
 */
export function parseExecOptions(options: unknown): ExecSettings {
  const { entrypoint, ...fields } = readObject(options, '', execSchema);
  return withEntrypoint(readExec(fields), entrypoint);
}

/**
 * Both, from the options of `Container.run`, each read once. The user, directory and variables are the container's, and
 * so the process's; the signal ends whichever of the two it finds under way.
 * @throws OptionError naming the option
 */
export function parseRunOptions(options: unknown): {
  readonly container: ContainerSettings;
  readonly exec: ExecSettings;
} {
  const { user, cwd, env, entrypoint, ...fields } = readObject(options, '', runSchema);
  const container = readContainer({ user, cwd, env, ...fields });
  const rest = Object.fromEntries(Object.entries(fields).filter(([key]) => !shared.has(key)));
  return Object.freeze({ container, exec: withEntrypoint(readExec(rest), entrypoint) });
}

/** What comes before the arguments: a program of the caller's, or that of the image. */
function withEntrypoint(settings: ExecSettings, value: unknown): ExecSettings {
  if (value === undefined) return settings;
  const entrypoint = value === 'image' ? value : readEntrypoint(value);
  return Object.freeze({ ...settings, entrypoint });
}

function readEntrypoint(value: unknown): readonly string[] {
  if (Array.isArray(value)) return parseArgv(value, 'entrypoint');
  throw new OptionError('entrypoint', "'image', or an array of a program and its arguments", value);
}

function readContainer(fields: Fields<(typeof containerKeys)[number]>): ContainerSettings {
  const { name, hostname, user, cwd, env, network, signal } = fields;
  const aboutImage = imageKeys.some((key) => fields[key] !== undefined);
  const timeOffsets = readTimeOffsets(fields.timeOffsets, 'timeOffsets');
  const mounts = fields.mounts === undefined ? noMounts : readMounts(fields.mounts, 'mounts');
  const limits = readLimits(fields.limits, 'limits');
  const attributes = withLimits(readAttributes(fields, 'container'), limits);
  const capabilities = readCapabilities(fields.capabilities, 'capabilities');
  const { seccomp, seccompName, supervision } = readSeccomp(fields.seccomp, 'seccomp');
  const image = aboutImage ? readImage(fields, { user: user !== undefined, cwd: cwd !== undefined }) : hostImage;
  const storage =
    fields.storage === undefined && limits === defaultLimits
      ? defaultStorage
      : readStorage(fields.storage, 'storage', limits.values.memory);
  expectDriver(storage, image);
  return Object.freeze({
    image,
    storage,
    user: user === undefined ? rootUser : readUser(user, 'user'),
    cwd: cwd === undefined ? '/' : readWorkingDirectory(cwd, 'cwd'),
    env: readEnv(env, 'env'),
    mounts,
    limits,
    attributes,
    sysctl: readSysctls(fields.sysctl, 'sysctl', true),
    ...(timeOffsets === undefined ? {} : { timeOffsets }),
    capabilities,
    seccomp,
    seccompName,
    ...(supervision === undefined ? {} : { supervision }),
    network: network === undefined ? noNetwork : readNetworkOption(network, 'network'),
    relaxations: relaxationsOf(mounts, capabilities, relaxedSeccomp({ seccomp, seccompName, supervision }), attributes),
    ...(name === undefined ? {} : { name: cgroupName(name, 'name') }),
    ...(hostname === undefined ? {} : { hostname: readHostname(hostname, 'hostname') }),
    ...(signal === undefined ? {} : { signal: readSignal(signal, 'signal') }),
  });
}

/** What there is to choose: an image of a store only, and an overlay is all that directories can have. */
function expectDriver({ driver }: StorageSettings, { kind }: ImageSettings): void {
  if (kind === 'stored' || driver === 'auto') return;
  if (kind === 'host') {
    throw new OptionError('storage.driver', "nothing but 'auto' with image: 'host'", driver, {
      hint: 'its root is put together of mounts, and has no layers',
    });
  }
  if (driver !== 'overlay') {
    throw new OptionError('storage.driver', "'auto' or 'overlay' with directories of the caller's", driver, {
      hint: 'the others keep a copy of the layers, which takes an image of a store: Image.fromDirectory',
    });
  }
}

/** RFC 1123: it is written to /etc/hosts and /etc/hostname, so nothing else may be in it. */
function readHostname(value: unknown, option: string): string {
  const label = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i;
  // HOST_NAME_MAX is 64; 63 is what a label may have.
  if (typeof value === 'string' && byteLength(value) <= 63 && value.split('.').every((part) => label.test(part))) {
    return value;
  }
  throw new OptionError(option, "a host name of at most 63 letters, digits, '-' and '.' (RFC 1123)", value);
}

function relaxationsOf(
  mounts: readonly MountSettings[],
  capabilities: Capabilities,
  filter: readonly string[],
  attributes: AttributeSettings,
): readonly string[] {
  const unsafe = mounts.flatMap((mount) => (mount.type === 'bind' && mount.unsafeSource ? [mount.option] : []));
  const relaxed = relaxedCapabilities(capabilities);
  const weaker = relaxedAttributes(attributes);
  if (unsafe.length + relaxed.length + filter.length + weaker.length === 0) return noRelaxations;
  return Object.freeze([
    ...unsafe.map((option) => `${option}.unsafeSource`),
    ...relaxed.map((capability) => `capabilities ${capability}`),
    ...filter,
    ...weaker,
  ]);
}
