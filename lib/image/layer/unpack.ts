/**
 * Unpacking: a plain tar stream becomes a directory. An agent does it, confined: as root it has a user namespace of its own,
 * with ids that nobody else has, and reaches nothing of the host but the directory, through a mount that shows it with the
 * archive's ids. This side moves bytes into a pipe, and reads what became of them.
 */

import { constants } from 'node:os';
import { AbortedError, errnoName, ImageError, printable, type TscontainError, UnsupportedError } from '../../errors.js';
import { containerIds } from '../../host/ids.js';
import { addon, type Descriptor } from '../../launcher/native.js';
import { decodeRecords } from '../../launcher/wire.js';
import type { Step } from '../../plan/step.js';
import { startAgent, type UnpackPlan } from './agent.js';
import { PipeWriter, readAll } from './pipe.js';
import {
  type ArchiveOptions,
  checkSource,
  readDirectories,
  readUnpackSettings,
  type UnpackOptions,
  type UnpackSettings,
} from './unpack-options.js';

/** What was made. */
export interface Unpacked {
  /** Members of the archive. */
  readonly entries: number;
  /** Bytes of its files. */
  readonly bytes: number;
  /** What was left out. */
  readonly skipped: {
    readonly devices: number;
    /** Extended attributes that are not on the list of those that are kept. */
    readonly xattrs: number;
    /** Members whose owner is another, as there is only one id to give them. */
    readonly owners: number;
  };
}

/**
 * Unpacks a layer, in overlay's form: whiteouts are character devices 0:0, opaque directories have `user.overlay.opaque`.
 *
 * Kept are owners (as root), modes, times, hard links, FIFOs and `user.*` attributes. Directories that the archive does not
 * name take their attributes from the layers below.
 *
 * @param tar plain, not compressed
 * @param directory empty, and this user's own
 * @param parents directories of the layers below, topmost first
 * @throws OptionError; UnsupportedError for a directory whose file system can neither shift ids nor keep `user.*` attributes;
 *   ImageError `ERR_LAYER` for an archive that is malformed, ambiguous or refused, with the member's name;
 *   `ERR_LAYER_LIMIT` for one that is too much; AbortedError; what `tar` throws. What has been made stays in the directory.
 * @see https://github.com/opencontainers/image-spec/blob/main/layer.md
 */
export function unpackLayer(
  tar: AsyncIterable<Uint8Array>,
  directory: string,
  parents: readonly string[],
  options: UnpackOptions = {},
): Promise<Unpacked> {
  return unpack('layer', tar, directory, parents, options);
}

/**
 * Unpacks an archive that is no layer, such as one of `docker save`: regular files, directories and links that stay inside.
 * Owners, attributes and times are not kept.
 * @throws as {@link unpackLayer}
 */
export function unpackArchive(
  tar: AsyncIterable<Uint8Array>,
  directory: string,
  options: ArchiveOptions = {},
): Promise<Unpacked> {
  return unpack('archive', tar, directory, [], options);
}

async function unpack(
  mode: 'layer' | 'archive',
  tar: AsyncIterable<Uint8Array>,
  directory: string,
  parents: readonly string[],
  options: unknown,
): Promise<Unpacked> {
  const settings = readUnpackSettings(mode, options);
  const { signal } = settings;
  const paths = readDirectories(directory, parents);
  checkSource(tar);
  if (signal?.aborted) throw aborted(signal);
  const [path, ...below] = paths;
  const plan = await startAgent(path, below);
  await using agent = plan.agent;
  const abort = () => void agent.close();
  signal?.addEventListener('abort', abort, { once: true });
  try {
    return await feed(plan, tar, settings);
  } catch (error) {
    throw signal?.aborted ? aborted(signal) : error;
  } finally {
    signal?.removeEventListener('abort', abort);
    for (const descriptor of plan.descriptors) descriptor.close();
  }
}

function unpackStep({ directory, below }: UnpackPlan, settings: UnpackSettings): Step {
  const { mode, limits, devices, fileCapabilities } = settings;
  const [skipDevices, oneOwner] = [devices === 'skip', containerIds().kind === 'single'];
  return {
    ...{ kind: 'unpack', archive: '0', report: '1', directory, below },
    ...{ mode, skipDevices, fileCapabilities, oneOwner, limits },
  };
}

/** Both ends at once: the archive goes in, the report comes out. */
async function feed(plan: UnpackPlan, tar: AsyncIterable<Uint8Array>, settings: UnpackSettings): Promise<Unpacked> {
  const { agent } = plan;
  const native = addon();
  const [archive, input] = native.pipe();
  const [output, report] = native.pipe();
  const writer = new PipeWriter(input);
  const answer = readAll(output);
  const ran = agent.run([...plan.steps, unpackStep(plan, settings)], {
    descriptors: [archive, report, ...plan.descriptors],
    doing: 'unpacking',
  });
  for (const descriptor of [archive, report] satisfies Descriptor[]) descriptor.close();
  const close = () => writer.close();
  ran.then(close, close);
  // What the agent says explains more than that it has stopped reading.
  const written = await writer.writeAll(tar, settings.onProgress).then(
    () => undefined,
    (error: unknown) => ({ error }),
  );
  if (written) {
    await agent.close(); // nothing must take the part that came for the whole
    await ran.catch(() => {});
    throw written.error;
  }
  await ran;
  return unpacked(await answer);
}

function unpacked(bytes: Buffer): Unpacked {
  const [record] = decodeRecords(bytes);
  const [kind = 3, errno = 0, offset = 0, entries = 0, size = 0, devices = 0, xattrs = 0, owners = 0] =
    record?.ints ?? [];
  if (record && kind === 0) return { entries, bytes: size, skipped: { devices, xattrs, owners } };
  const name = record?.blobs[0]?.toString() ?? '';
  const where = `${name === '' ? '' : ` '${printable(name.slice(0, 256))}'`} near byte ${offset} of the archive`;
  throw refusal(kind, errno, record?.blobs[1]?.toString() ?? 'no report', where, name);
}

function refusal(kind: number, errno: number, reason: string, where: string, path: string): TscontainError {
  if (kind === 3 && errno === constants.errno.EOPNOTSUPP) {
    return new UnsupportedError(`making${where}: ${reason} gave EOPNOTSUPP`, {
      ...{ syscall: reason, errno, path },
      hint: 'the file system has no user.* attributes (xattr(7)): keep images on ext4, xfs, btrfs, or tmpfs (Linux 6.6)',
    });
  }
  if (kind === 3) {
    return new ImageError('ERR_LAYER', `making${where}: ${reason} gave ${errnoName(errno)}`, {
      syscall: reason,
      errno,
      path,
    });
  }
  const code = kind === 2 ? 'ERR_LAYER_LIMIT' : 'ERR_LAYER';
  return new ImageError(code, `unpacking${where}: ${reason}`, { path });
}

function aborted(signal: AbortSignal): AbortedError {
  return new AbortedError('unpacking was aborted', { cause: signal.reason });
}
