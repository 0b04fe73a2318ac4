/** Steps as the records that native/launcher/steps.c runs. The numbers are those of native/launcher/protocol.h. */

import { none, RecordWriter } from '../launcher/wire.js';
import { processorMask } from '../primitives/cgroup/cpuset.js';
import { networkMask, rightsMask, scopeMask } from '../primitives/landlock/rights.js';
import { sysctlPath } from '../primitives/sysctl.js';
import { keptSlots, mountAttribute, type Slot, type Step } from './step.js';

/** The op of each kind of step in enum step_op. */
export const stepOp = {
  openTree: 1,
  fsopen: 2,
  fsconfig: 3,
  fsconfigCreate: 3,
  fsconfigLayers: 80,
  fsmount: 4,
  mountSetattr: 5,
  moveMount: 6,
  unmount: 81,
  detach: 82,
  discard: 83,
  pack: 120,
  copyTree: 121,
  lend: 122,
  pivotRoot: 7,
  mask: 8,
  makeDirectory: 10,
  writeFile: 11,
  writeKernelFile: 11,
  symlink: 12,
  open: 13,
  close: 14,
  changeDirectory: 15,
  verifyRoot: 16,
  fchdir: 17,
  stateDirectory: 18,
  directoryInside: 19,
  ownStateDirectory: 119,
  setHostname: 20,
  loopbackUp: 21,
  unshare: 22,
  setGroups: 24,
  setGid: 25,
  setUid: 26,
  boundingSet: 27,
  capabilities: 28,
  noNewPrivs: 29,
  sessionKeyring: 30,
  rlimit: 31,
  umask: 32,
  scheduling: 34,
  seccomp: 35,
  stdio: 36,
  setsid: 37,
  controllingTty: 38,
  closeRange: 39,
  unblockSignals: 40,
  exec: 41,
  setns: 70,
  fork: 71,
  parentDeathSignal: 29,
  keepCapabilities: 29,
  coreScheduling: 29,
  affinity: 60,
  ioPriority: 61,
  personality: 62,
  oomScoreAdjust: 63,
  sysctl: 64,
  setDomainName: 65,
  timeOffsets: 66,
  joinCgroup: 67,
  landlockRuleset: 90,
  landlockPath: 91,
  landlockPort: 92,
  landlockRestrict: 93,
  labelOnExec: 94,
  unpack: 130,
  sparseFile: 110,
  loopDevice: 111,
  fsconfigDevice: 112,
  layerDirectories: 113,
  subvolume: 114,
  subvolumeLimit: 115,
  removeTree: 116,
  rootDirectory: 117,
  reclaim: 118,
  socket: 140,
} as const satisfies Record<Step['kind'], number>;

const OPEN_TREE_CLONE = 1;
const AT_RECURSIVE = 0x8000;
const PR_SET_KEEPCAPS = 8;
const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;
const PR_SET_NO_NEW_PRIVS = 38;
const PR_SCHED_CORE = 62;
const PR_SCHED_CORE_CREATE = 1;
const SCHED_FLAG_RESET_ON_FORK = 1;
/** SCHED_… of sched(7), and IOPRIO_CLASS_… of ioprio_set(2). */
const policyNumber = { other: 0, fifo: 1, rr: 2, batch: 3, idle: 5, deadline: 6 } as const;
const ioClassNumber = { none: 0, realtime: 1, 'best-effort': 2, idle: 3 } as const;
const ioClassShift = 13;
const fsconfigCommand = { SET_FLAG: 0, SET_STRING: 1, SET_FD: 5, CREATE: 6 } as const;
const existing = { refuse: 0, replace: 1, keep: 2, kernel: 3 } as const;

/**
 * Gives slots their numbers. Names that every plan has keep one number for as long as the program runs, so that fragments
 * of a plan can be encoded once; names with a number of their own, such as `mount 3`, are counted in each plan.
 */
export class SlotNumbers {
  static readonly #common = new Map<Slot, number>();
  readonly #own = new Map<Slot, number>();

  /** The number of a slot; -1 for the current directory. */
  of(slot: Slot | null): number {
    if (slot === null) return none;
    const kept = keptSlots[slot];
    if (kept !== undefined) return kept;
    const layer = layerSlot.exec(slot)?.[1];
    if (layer !== undefined) return firstLayerSlot + Number(layer);
    return slot.startsWith('mount ')
      ? count(this.#own, slot, firstOwnSlot)
      : count(SlotNumbers.#common, slot, firstCommonSlot);
  }
}

/** The first slots are the descriptors that come with a request, named by their position. */
const firstCommonSlot = 16;
const firstOwnSlot = 200;
/** Layers come from the host's side to an agent: two plans must have the same number for them. */
const layerSlot = /^layer (\d{1,3})$/;
const firstLayerSlot = 600;
const position = /^(?:\d|1[0-5])$/;

function count(numbers: Map<Slot, number>, slot: Slot, first: number): number {
  if (position.test(slot)) return Number(slot);
  let number = numbers.get(slot);
  if (number === undefined) {
    number = first + numbers.size;
    numbers.set(slot, number);
  }
  return number;
}

/** The bytes of a list of steps. */
export function encodeSteps(steps: readonly Step[], slots = new SlotNumbers()): Buffer {
  const writer = new RecordWriter();
  for (const step of steps) encodeStep(writer, step, slots);
  return writer.bytes();
}

const encoded = new WeakMap<object, Buffer>();

/** The bytes of fragments one after another; a frozen fragment, or a frozen list of them, is encoded once. */
export function encodeFragments(fragments: readonly (readonly Step[])[], slots: SlotNumbers): Buffer {
  return once(fragments, () => Buffer.concat(fragments.map((steps) => once(steps, () => encodeSteps(steps, slots)))));
}

function once(key: readonly unknown[], encode: () => Buffer): Buffer {
  if (!Object.isFrozen(key)) return encode();
  let bytes = encoded.get(key);
  if (!bytes) {
    bytes = encode();
    encoded.set(key, bytes);
  }
  return bytes;
}

// One arm for each kind of step: a table in the shape of a switch, so that the compiler checks that none is missing.
function encodeStep(writer: RecordWriter, step: Step, slots: SlotNumbers): RecordWriter {
  const op = stepOp[step.kind];
  switch (step.kind) {
    case 'openTree': {
      const { type = 0, major = 0, minor = 0 } = step.expect ?? {};
      const flags = OPEN_TREE_CLONE | (step.recursive ? AT_RECURSIVE : 0);
      return writer.put(
        op,
        [slots.of(step.to), slots.of(step.from), flags, type, major * 2 ** 32 + minor],
        [step.path],
      );
    }
    case 'fsopen':
      return writer.put(op, [slots.of(step.to)], [step.type]);
    case 'fsconfig': {
      if (step.file !== undefined)
        return writer.put(op, [slots.of(step.on), fsconfigCommand.SET_FD, slots.of(step.file)], [step.key, '']);
      const command = step.value === undefined ? fsconfigCommand.SET_FLAG : fsconfigCommand.SET_STRING;
      return writer.put(op, [slots.of(step.on), command, none], [step.key, step.value ?? '']);
    }
    case 'fsconfigCreate':
      return writer.put(op, [slots.of(step.on), fsconfigCommand.CREATE, none], ['', '']);
    case 'fsconfigLayers': {
      const layers = Buffer.from(Uint32Array.from(step.layers, (layer) => slots.of(layer)).buffer);
      return writer.put(op, [slots.of(step.on)], [step.key, step.prefix, layers]);
    }
    case 'fsmount':
      return writer.put(op, [slots.of(step.to), slots.of(step.from), step.attributes]);
    case 'mountSetattr': {
      const shift = step.idmap === undefined ? none : slots.of(step.idmap);
      const set = step.set | (step.idmap === undefined ? 0 : mountAttribute.IDMAP);
      const how = (step.recursive ? 1 : 0) | (step.idmapOptional ? 2 : 0);
      return writer.put(op, [slots.of(step.on), how, set, step.clear, step.propagation, shift], [step.path]);
    }
    case 'moveMount':
      return writer.put(op, [slots.of(step.mount), slots.of(step.under), step.directory ? 1 : 0], [step.path]);
    case 'unmount':
      return writer.put(op, [slots.of(step.under), step.mountId], [step.name]);
    case 'detach':
      return writer.put(op, [slots.of(step.mount)]);
    case 'discard':
      return writer.put(op, [slots.of(step.upper), slots.of(step.work)]);
    case 'pack': {
      const flags = (step.sameMount ? 1 : 0) | (step.devices ? 2 : 0) | (step.marks ? 4 : 0);
      const list = step.list === undefined ? none : slots.of(step.list);
      const omit = step.omit.map((path) => `${path}\0`).join('');
      return writer.put(op, [slots.of(step.tree), slots.of(step.to), list, flags, slots.of(step.report)], [omit]);
    }
    case 'copyTree': {
      const flags = (step.keepMarks ? 1 : 0) | (step.devices ? 2 : 0);
      const report = step.report === undefined ? none : slots.of(step.report);
      const sources = Buffer.from(Uint32Array.from(step.sources, (source) => slots.of(source)).buffer);
      return writer.put(op, [slots.of(step.target), flags, report, step.shift ?? 0], [sources]);
    }
    case 'lend':
      return writer.put(op, [slots.of(step.slot)]);
    case 'pivotRoot':
      return writer.put(op, [slots.of(step.to)]);
    case 'mask': {
      const how = step.how === 'hide' ? 0 : 1;
      return writer.put(op, [slots.of(step.under), slots.of(step.file), slots.of(step.directory), how], [step.path]);
    }
    case 'makeDirectory':
      return writer.put(op, [slots.of(step.under), 0o755, step.mode], [step.path]);
    case 'directoryInside':
      return writer.put(op, [slots.of(step.to ?? null), slots.of(step.root), step.mode], [step.path]);
    case 'writeFile':
      return writer.put(op, [slots.of(step.under), step.mode, existing[step.existing]], [step.path, step.content]);
    case 'writeKernelFile':
      return writer.put(op, [slots.of(step.under), 0, existing.kernel], [step.path, step.value]);
    case 'symlink':
      return writer.put(op, [slots.of(step.under), step.keep ? 1 : 0], [step.path, step.target]);
    case 'open':
      return writer.put(op, [slots.of(step.to), slots.of(step.from), step.flags, 0, step.resolve], [step.path]);
    case 'close':
      return writer.put(op, [slots.of(step.slot)]);
    case 'fchdir':
      return writer.put(op, [slots.of(step.to)]);
    case 'stateDirectory':
      return writer.put(op, [slots.of(step.to), step.detached ? 1 : 0, slots.of(step.under ?? null)]);
    case 'ownStateDirectory':
      return writer.put(op, [slots.of(step.to), slots.of(step.made)], [step.path]);
    case 'sparseFile': {
      const pieces = new RecordWriter();
      for (const { offset, bytes } of step.pieces) pieces.put(1, [offset], [bytes]);
      return writer.put(op, [slots.of(step.to), step.size], [pieces.bytes()]);
    }
    case 'loopDevice':
      return writer.put(op, [slots.of(step.to), slots.of(step.file)]);
    case 'fsconfigDevice':
      return writer.put(op, [slots.of(step.on), slots.of(step.device)], [step.key]);
    case 'layerDirectories':
    case 'reclaim':
      return writer.put(op, [slots.of(step.on)]);
    case 'subvolume':
      return writer.put(op, [slots.of(step.under), slots.of(step.source ?? null)], [step.name]);
    case 'subvolumeLimit':
      return writer.put(op, [slots.of(step.on), step.bytes]);
    case 'removeTree':
      return writer.put(op, [slots.of(step.under)], [step.name]);
    case 'rootDirectory':
      return writer.put(op, [slots.of(step.to), slots.of(step.under), slots.of(step.source)]);
    case 'sysctl':
      return writer.put(op, [slots.of(step.under), step.tolerant ? 1 : 0], [sysctlPath(step.key), step.value]);
    case 'timeOffsets':
      return writer.put(op, [slots.of(step.under), ...timespec(step.monotonic), ...timespec(step.boottime)]);
    case 'setDomainName':
    case 'setHostname':
      return writer.put(op, [], [step.name]);
    case 'unshare':
      return writer.put(op, [step.flags]);
    case 'setGroups':
      return writer.put(op, [], [Buffer.from(Uint32Array.from(step.groups).buffer)]);
    case 'setGid':
      return writer.put(op, [step.gid]);
    case 'setUid':
      return writer.put(op, [step.uid]);
    case 'boundingSet':
    case 'umask':
      return writer.put(op, [step.mask]);
    case 'capabilities':
      return writer.put(op, [step.effective, step.permitted, step.inheritable, step.ambient]);
    case 'keepCapabilities':
      return writer.put(op, [PR_SET_KEEPCAPS, 1, 0, 0, 0]);
    case 'coreScheduling':
      return writer.put(op, [PR_SCHED_CORE, PR_SCHED_CORE_CREATE, 0, 0, 0]);
    case 'affinity':
      return writer.put(op, [], [step.processors === 'all' ? '' : processorMask(step.processors)]);
    case 'scheduling': {
      const { policy, nice, priority, runtime, deadline, period } = step;
      const flags = step.resetOnFork ? SCHED_FLAG_RESET_ON_FORK : 0;
      return writer.put(op, [policyNumber[policy], flags, nice, priority, runtime, deadline, period]);
    }
    case 'ioPriority':
      return writer.put(op, [ioClassNumber[step.class] * 2 ** ioClassShift + step.level]);
    case 'personality':
    case 'oomScoreAdjust':
      return writer.put(op, [step.value]);
    case 'setns':
      return writer.put(op, [slots.of(step.namespace), step.flags]);
    case 'socket':
      return writer.put(op, [slots.of(step.to), step.domain, step.type, step.protocol]);
    case 'joinCgroup':
      return writer.put(op, [slots.of(step.tasks)]);
    case 'parentDeathSignal':
      return writer.put(op, [PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0]);
    case 'noNewPrivs':
      return writer.put(op, [PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0]);
    case 'rlimit':
      return writer.put(op, [step.resource, ...[step.soft, step.hard].map((n) => (Number.isFinite(n) ? n : none))]);
    case 'seccomp':
      return writer.put(op, [step.flags ?? 0, slots.of(step.listener ?? null), step.maySleep ? 1 : 0], [step.program]);
    case 'landlockRuleset':
      return writer.put(op, [
        slots.of(step.to),
        rightsMask(step.files),
        networkMask(step.network),
        scopeMask(step.scope),
      ]);
    case 'landlockPath': {
      const how = (step.optional ? 1 : 0) | (step.exact ? 2 : 0);
      return writer.put(op, [slots.of(step.on), rightsMask(step.rights), how], [step.path]);
    }
    case 'landlockPort':
      return writer.put(op, [slots.of(step.on), networkMask(step.rights), step.port]);
    case 'unpack': {
      const { bytes, entries, depth, header } = step.limits;
      const below = Buffer.from(Uint32Array.from(step.below, (layer) => slots.of(layer)).buffer);
      const ends = [step.archive, step.directory, step.report].map((slot) => slots.of(slot));
      return writer.put(op, [...ends, unpackFlags(step), bytes, entries, depth, header], [below]);
    }
    case 'landlockRestrict':
      return writer.put(op, [slots.of(step.on), step.flags]);
    case 'labelOnExec':
      return writer.put(op, [step.module === 'apparmor' ? 0 : 1, step.stack ? 1 : 0], [step.label]);
    case 'stdio':
      return writer.put(op, [slots.of(step.stdin), slots.of(step.stdout), slots.of(step.stderr)]);
    case 'controllingTty':
      return writer.put(op, [slots.of(step.slot)]);
    case 'closeRange':
      return writer.put(op, [step.first, slots.of(step.keep ?? null)]);
    case 'changeDirectory':
      return writer.put(op, [0], [step.path]);
    case 'exec': {
      // Each with an end of its own, so that an empty one at the end counts too.
      const strings = (list: readonly string[]) => list.map((text) => `${text}\0`).join('');
      const env = step.env.map(([name, value]) => `${name}=${value}`);
      const blobs = [step.program, strings(step.argv), strings(env), step.search];
      return writer.put(op, [step.argv.length, env.length], blobs);
    }
    case 'verifyRoot':
    case 'loopbackUp':
    case 'sessionKeyring':
    case 'setsid':
    case 'unblockSignals':
    case 'fork':
      return writer.put(op, []);
  }
}

function unpackFlags(step: Extract<Step, { kind: 'unpack' }>): number {
  const { mode, skipDevices, fileCapabilities, oneOwner } = step;
  return (mode === 'archive' ? 1 : 0) | (skipDevices ? 2 : 0) | (fileCapabilities ? 4 : 0) | (oneOwner ? 8 : 0);
}

const second = 1_000_000_000n;

/** Seconds and nanoseconds, the latter never negative, as struct timespec has them. */
function timespec(nanoseconds: bigint): [number, number] {
  const rest = ((nanoseconds % second) + second) % second;
  return [Number((nanoseconds - rest) / second), Number(rest)];
}
