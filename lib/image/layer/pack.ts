/**
 * Trees as tars: all of one, for an export, or what has changed in one, as the layer of an image (OCI image-spec, layer.md).
 * The native step native/launcher/steps_pack.c reads the tree, by descriptors and following no link; only bytes come here.
 */

import { AbortedError, OptionError } from '../../errors.js';
import { addon } from '../../launcher/native.js';
import type { Slot, Step } from '../../plan/step.js';
import { lastReport, readPipe, type StepRunner, type TreePlace, withRunner, writePipe } from './tree.js';

/** What became of a tree on its way into a tar. */
export interface PackCounts {
  readonly entries: number;
  /** Of contents. */
  readonly bytes: number;
  /** Further names of files that are in the tar under another one. */
  readonly links: number;
  /** Files that were written to while they were read: cut, or filled with zeros, to the size that they had. */
  readonly changed: number;
  /** What was gone, or became something else, before it could be read. */
  readonly gone: number;
  /** Left out, as no tar has them. */
  readonly sockets: number;
  /** Left out, see {@link PackOptions.devices}. */
  readonly devices: number;
  /** Extended attributes that a tar cannot have, and capabilities that are another user namespace's. */
  readonly attributes: number;
}

/** How a tree becomes a tar. */
export interface PackOptions {
  /** Leave out what is mounted in the tree; a directory, or file, to mount on is there instead. Default true. */
  readonly sameMount?: boolean;
  /** Default `'skip'`. */
  readonly devices?: 'include' | 'skip';
  readonly signal?: AbortSignal | undefined;
  /** Called once all has been read. */
  readonly onEnd?: (counts: PackCounts) => void;
}

/** How a whole tree becomes a tar. */
export interface PackTreeOptions extends PackOptions {
  /** Relative paths, such as `proc`, that are left out with all that is in them. */
  readonly omit?: readonly string[];
  /**
   * The tree is a layer in overlay's form: its whiteouts and opaque directories become those of a layer's tar. Without it they
   * are left out.
   */
  readonly marks?: boolean;
}

/** A changed path: what `changes()` of an overlay gives. */
export interface PackedChange {
  readonly kind: 'added' | 'modified' | 'deleted' | 'opaque';
  /** As the kernel has it, beginning with `/`. */
  readonly bytes: Uint8Array;
}

/**
 * A whole tree as a tar: ustar, with pax headers where something does not fit into it. Owners are numbers, attributes are
 * `user.*` and `security.capability`, and the same tree always gives the same bytes.
 * @param tree the slot that the directory is in
 * @throws TscontainError with the path, for what cannot be read; AbortedError
 */
export function packTree(place: TreePlace, tree: Slot, options: PackTreeOptions = {}): AsyncIterable<Uint8Array> {
  const { omit = [], marks = false } = options;
  for (const path of omit) {
    if (path === '' || path.startsWith('/') || path.endsWith('/') || path.includes('\0')) {
      throw new OptionError('omit', 'relative paths', path);
    }
  }
  return withRunner(place, (by) => pack(by, place, tree, { ...options, omit, marks }, undefined));
}

/**
 * What has changed in a tree as the tar of a layer: each path with the directories above it, `.wh.name` for what was deleted
 * and `.wh..wh..opq` in a directory that replaces another. The order of `changes` does not matter; they are sorted in memory.
 * @param tree the slot of the tree as it is now, seen through its overlay
 * @throws TscontainError (EINVAL) for a file whose own name begins with `.wh.`, as a layer cannot have it
 */
export function packLayer(
  place: TreePlace,
  tree: Slot,
  changes: Iterable<PackedChange>,
  options: PackOptions = {},
): AsyncIterable<Uint8Array> {
  const list = [...changes].map(toItem).sort((a, b) => Buffer.compare(a.order, b.order));
  return withRunner(place, (by) => pack(by, place, tree, { ...options, omit: [], marks: false }, list));
}

interface Item {
  readonly record: Buffer;
  readonly order: Buffer;
}

const kinds = { added: 1, modified: 1, deleted: 2, opaque: 3 } as const;

function toItem({ kind, bytes }: PackedChange): Item {
  const path = Buffer.from(bytes).subarray(1);
  const record = Buffer.alloc(8 + path.length);
  record.writeUInt32LE(path.length, 0);
  record.writeUInt32LE(kinds[kind], 4);
  path.copy(record, 8);
  // A directory is followed by all that is in it, whatever bytes are in the names beside it.
  return { record, order: path.map((byte) => (byte === 0x2f ? 0 : byte)) as Buffer };
}

async function* pack(
  by: StepRunner,
  { descriptors = [], steps = [] }: TreePlace,
  tree: Slot,
  options: PackTreeOptions & { readonly omit: readonly string[]; readonly marks: boolean },
  list: readonly Item[] | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { sameMount = true, devices = 'skip', signal, onEnd, omit, marks } = options;
  if (signal?.aborted) throw aborted(signal);
  const slot = (index: number) => String(descriptors.length + index);
  const [tar, to] = addon().pipe();
  const [counted, report] = addon().pipe();
  const items = list ? addon().pipe() : undefined;
  const step: Step = {
    kind: 'pack',
    tree,
    to: slot(0),
    report: slot(1),
    ...(items && { list: slot(2) }),
    sameMount,
    devices: devices === 'include',
    marks,
    omit,
  };
  const theirs = items ? [to, report, items[0]] : [to, report];
  const doing = list ? 'packing a layer' : 'packing a tree';
  const running = by.run([...steps, step], { descriptors: [...descriptors, ...theirs], doing });
  for (const descriptor of theirs) descriptor.close();
  const sending = list && items ? writePipe(items[1], records(list)) : undefined;
  const counting = lastReport(counted, 8);
  const settled = Promise.allSettled([running, sending, counting]);
  try {
    yield* readPipe(tar, signal);
  } finally {
    // The reading end is closed by now: a step that still writes has failed, or will with its next byte.
    await settled;
  }
  if (signal?.aborted) throw aborted(signal);
  await running;
  const [entries = 0, bytes = 0, links = 0, changed = 0, gone = 0, sockets = 0, nodes = 0, attributes = 0] =
    await counting;
  onEnd?.({ entries, bytes, links, changed, gone, sockets, devices: nodes, attributes });
}

function* records(list: readonly Item[]): Generator<Buffer> {
  const part = 512;
  for (let at = 0; at < list.length; at += part) {
    yield Buffer.concat(list.slice(at, at + part).map(({ record }) => record));
  }
}

function aborted(signal: AbortSignal): AbortedError {
  return new AbortedError('packing was ended by its signal', { cause: signal.reason });
}
