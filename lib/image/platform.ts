/**
 * Platforms, `linux/arm64/v8`: what an image is for, and which of an index's images fits. Names are Go's (GOOS, GOARCH), as
 * in the OCI image-spec; other common ones are turned into these, as containerd does.
 */

import { endianness } from 'node:os';
import { ImageError, OptionError } from '../errors.js';

/** What an image is made for. Names are those of the OCI image-spec. */
export interface Platform {
  /** Such as `linux`. */
  readonly os: string;
  /** Such as `amd64`, `arm64`. */
  readonly architecture: string;
  /** A generation of the architecture, such as `v7` of `arm`. Absent for `arm64` v8 and `amd64` v1, which go without saying. */
  readonly variant?: string;
}

const word = /^[a-z0-9](?:[a-z0-9_.-]{0,62}[a-z0-9])?$/;

/** Other names of architectures: what they are, with the variant that they imply. */
const aliases: ReadonlyMap<string, readonly [architecture: string, variant?: string]> = new Map([
  ['i386', ['386']],
  ['x86_64', ['amd64']],
  ['x86-64', ['amd64']],
  ['aarch64', ['arm64']],
  ['armhf', ['arm', 'v7']],
  ['armel', ['arm', 'v6']],
]);

/** Architectures of Node, by the name that Go has for them. */
const ofNode: ReadonlyMap<string, string> = new Map([
  ['x64', 'amd64'],
  ['ia32', '386'],
  ['arm64', 'arm64'],
  ['arm', 'arm'],
  ['loong64', 'loong64'],
  ['mips', 'mips'],
  ['mipsel', 'mipsle'],
  ['riscv64', 'riscv64'],
  ['s390x', 's390x'],
]);

/**
 * Takes a platform: text such as `'linux/arm64/v8'`, `'arm64'`, `'linux/x86_64'`, or its parts.
 * @throws OptionError naming `option`
 */
export function parsePlatform(value: unknown, option = 'platform'): Platform {
  const expected = "a platform such as 'linux/amd64' or 'linux/arm/v7'";
  if (typeof value !== 'string') throw new OptionError(option, expected, value);
  const parts = value.toLowerCase().split('/');
  if (parts.length > 3 || parts.some((part) => !word.test(part))) throw new OptionError(option, expected, value);
  const [first = '', second, third] = parts;
  if (second === undefined) return normalized('linux', first, undefined);
  return normalized(first, second, third);
}

/** The platform of this host: what an image is for if nobody says otherwise. */
export function hostPlatform(): Platform {
  const architecture =
    process.arch === 'ppc64' ? (endianness() === 'LE' ? 'ppc64le' : 'ppc64') : ofNode.get(process.arch);
  if (architecture !== 'arm') return normalized('linux', architecture ?? process.arch, undefined);
  const { arm_version: version } = process.config.variables as { readonly arm_version?: string };
  return normalized('linux', 'arm', `v${version ?? '7'}`);
}

/** Brings names to their common form; a variant that goes without saying is left out. */
export function normalized(os: string, architecture: string, variant: string | undefined): Platform {
  const [name, implied] = aliases.get(architecture.toLowerCase()) ?? [architecture.toLowerCase()];
  const system = os.toLowerCase() === 'macos' ? 'darwin' : os.toLowerCase();
  const given = variant === undefined || variant === '' ? implied : variant.toLowerCase();
  const generation = variantOf(name, given === undefined || !/^\d+$/.test(given) ? given : `v${given}`);
  return generation === undefined
    ? { os: system, architecture: name }
    : { os: system, architecture: name, variant: generation };
}

function variantOf(architecture: string, variant: string | undefined): string | undefined {
  if (architecture === 'amd64' && variant === 'v1') return undefined;
  if (architecture === 'arm64' && variant === 'v8') return undefined;
  if (architecture === 'arm' && variant === undefined) return 'v7';
  return variant;
}

/** `linux/arm/v7` */
export function formatPlatform({ os, architecture, variant }: Platform): string {
  return variant === undefined ? `${os}/${architecture}` : `${os}/${architecture}/${variant}`;
}

/**
 * How well an image of one platform runs on another: 0 is the very same, more is an older generation, `undefined` not at all.
 * Generations go down (arm v7, v6, v5; amd64 v3, v2, v1). Another architecture never fits, also where the processor could
 * run it: whether the kernel can is not known here.
 */
function fitness(image: Platform, wanted: Platform): number | undefined {
  if (image.os !== wanted.os || image.architecture !== wanted.architecture) return undefined;
  if (image.variant === wanted.variant) return 0;
  const has = generation(image);
  const can = generation(wanted);
  if (has === undefined || can === undefined || has > can) return undefined;
  return can - has;
}

/** Whether an image of one platform runs where another is asked for: the same, or an older generation of it. */
export function fits(image: Platform, wanted: Platform): boolean {
  return fitness(image, wanted) !== undefined;
}

/** The generation as a number, where generations have an order: each runs what is for those before it. */
function generation({ architecture, variant }: Platform): number | undefined {
  if (architecture !== 'amd64' && architecture !== 'arm' && architecture !== 'arm64') return undefined;
  if (variant === undefined) return architecture === 'amd64' ? 1 : 8;
  // arm64 has v8, v9 and steps between them, v8.1: numbers all the same.
  const match = /^v(\d{1,2}(?:\.\d{1,2})?)$/.exec(variant);
  return match ? Number(match[1]) : undefined;
}

/** What an index says of one image, as far as choosing goes. */
export interface Candidate {
  readonly platform?: Platform;
  readonly annotations?: Readonly<Record<string, string>>;
}

/**
 * The image of an index that fits a platform best. What is no image is never chosen: attestations say that they are of the
 * platform `unknown/unknown`. An entry without a platform is chosen only where it is the only image: its configuration
 * decides then.
 * @throws ImageError `ERR_NOT_FOUND` listing what there is
 */
export function selectPlatform<Entry extends Candidate>(
  manifests: readonly Entry[],
  wanted: Platform,
  what: string,
): Entry {
  const images = manifests.filter((entry) => !isAttestation(entry));
  let best: { readonly entry: Entry; readonly distance: number } | undefined;
  for (const entry of images) {
    const distance = entry.platform && fitness(entry.platform, wanted);
    // The first of equals, so that the order of the index decides.
    if (distance !== undefined && (best === undefined || distance < best.distance)) best = { entry, distance };
  }
  if (best) return best.entry;
  const [only, ...others] = images;
  if (only && others.length === 0 && only.platform === undefined) return only;
  const known = images.map(({ platform }) => (platform ? formatPlatform(platform) : 'one that does not say'));
  throw new ImageError('ERR_NOT_FOUND', `${what} has no image for ${formatPlatform(wanted)}`, {
    hint: images.length === 0 ? 'it has no images at all' : `it has ${[...new Set(known)].slice(0, 20).join(', ')}`,
  });
}

function isAttestation({ platform, annotations }: Candidate): boolean {
  if (annotations?.['vnd.docker.reference.type'] === 'attestation-manifest') return true;
  return platform?.os === 'unknown' && platform.architecture === 'unknown';
}
