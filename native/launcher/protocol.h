// The messages between Node, the launcher and init, and the steps of a plan, by number. lib/launcher/protocol.ts and
// lib/plan/encode.ts have the same numbers; a test compares the two.
#pragma once

enum message_op {
  MSG_LARGE = 1, // ints: size; the record itself is in the last descriptor, a sealed memfd

  // Node to launcher
  MSG_CONNECT = 10, // on the control socket only; fd: a client's socket
  MSG_HELLO = 11,   // ints: first id, count and size of id ranges; blobs: prepare, hierarchies, stat files, lock, state
  // ints: id, clone flags, hierarchy mask, map mode, create flags, ids of two containers for an agent that copies from
  // the second to the first, or all ones: it is born in the cgroups of the first; blobs: writes, common host steps,
  // common init steps, own of each, and the id maps, if they are given: a record {ints: whether setgroups is denied;
  // blobs: of users, groups, and the paths of programs that write them, if any do}
  MSG_CREATE = 12,
  MSG_KILL = 13,    // ints: id
  MSG_STATS = 14,   // ints: id, request
  MSG_WRITE = 15,   // ints: id, request, hierarchy; blobs: file, value
  MSG_GROUP = 16,   // ints: id, request: make the cgroup of the next exec
  MSG_UNGROUP = 17, // ints: id, group: remove the cgroup of an exec that has ended
  MSG_RECLAIM = 18, // ints: request; remove what launchers that are dead left

  // launcher to Node
  MSG_WELCOME = 30,       // ints: pid, errno
  MSG_CREATED = 31,       // ints: id, pid, uid base; blobs: cgroup name
  MSG_CREATE_FAILED = 32, // ints: id, stage, index, errno; blobs: text
  MSG_GONE = 33,          // ints: id, wait status; blobs: stat contents
  MSG_REPLY = 34,         // ints: request, errno, value…; blobs: content
  MSG_OOM = 35,           // ints: id

  // launcher to init
  MSG_SLOTS = 40, // ints: slot numbers of the descriptors that come with it
  MSG_START = 41, // blobs: the container's own steps; fds: its socket
  MSG_KILL_ALL = 42,
  MSG_PREPARE = 43, // blobs: the common steps

  // Node to init
  MSG_EXEC = 50,   // ints: exec, flags, columns, rows; blobs: steps
  MSG_SIGNAL = 51, // ints: exec, signal
  MSG_FILE = 52,   // ints: request, operation, a, b, c; blobs: path, second path
  // ints: request, slots whose descriptors to hand out…; blobs: steps; fds: those of slots 0…
  MSG_RUN = 53,
  MSG_RETURN = 54, // what was lent is given back: the plan goes on

  // init to Node
  MSG_READY = 60,
  MSG_FAILED = 61,      // ints: step, errno, detail; blobs: text
  MSG_STARTED = 62,     // ints: exec, pid; fd: terminal, if any
  MSG_EXEC_FAILED = 63, // ints: exec, step, errno, detail; blobs: text
  MSG_EXITED = 64,      // ints: exec, wait status, user µs, system µs, maxrss KiB, in blocks, out blocks
  MSG_FILE_REPLY = 65,  // ints: request, errno, more, values…; blobs: data
  MSG_RAN = 66,         // ints: request, step, errno, detail; blobs: text; fds: those asked for
  MSG_LENT = 67,        // fd: a slot's, which Node may use until it sends MSG_RETURN

  // a starting program to Node, on a socket of its own
  MSG_LISTENER = 70, // fd: the listener of its seccomp filter
};

// Where in the launcher a creation failed.
enum create_stage {
  STAGE_RANGE = 1,
  STAGE_CGROUP = 2,
  STAGE_LIMIT = 3,
  STAGE_CLONE = 4,
  STAGE_MAP = 5,
  STAGE_HOST_STEP = 6,
  STAGE_START = 7,
  STAGE_STORAGE = 8,
};

// How the ids of a new user namespace are mapped; MAP_NONE where there is none.
enum map_mode {
  MAP_RANGE = 0,
  MAP_SINGLE = 1,
  MAP_NONE = 2,
  MAP_GIVEN = 3,
  MAP_BOTH = 4,   // the ranges of two containers: 0… is the first one's, the other's follows
  MAP_HELPED = 5, // given, and written by newuidmap and newgidmap
};

enum create_flags {
  CREATE_AGENT = 1, // a process of ours outside of containers: see docs/architecture.md
};

enum exec_flags {
  EXEC_TTY = 1,
  EXEC_LAST = 2,   // init ends when this process does
  EXEC_GROUP = 4,  // the last descriptor is the cgroup to start it in
  EXEC_REPORT = 8, // send MSG_STARTED
};

enum step_op {
  STEP_OPEN_TREE = 1,
  STEP_FSOPEN = 2,
  STEP_FSCONFIG = 3,
  STEP_FSMOUNT = 4,
  STEP_MOUNT_SETATTR = 5,
  STEP_MOVE_MOUNT = 6,
  STEP_PIVOT_ROOT = 7,
  STEP_MASK = 8,
  STEP_MAKE_DIRECTORY = 10,
  STEP_WRITE_FILE = 11,
  STEP_SYMLINK = 12,
  STEP_OPEN = 13,
  STEP_CLOSE = 14,
  STEP_CHANGE_DIRECTORY = 15,
  STEP_VERIFY_ROOT = 16,
  STEP_FCHDIR = 17,
  STEP_STATE_DIRECTORY = 18,
  STEP_DIRECTORY_INSIDE = 19,
  STEP_OWN_STATE_DIRECTORY = 119,
  STEP_FSCONFIG_LAYERS = 80,
  STEP_UNMOUNT = 81,
  STEP_DETACH = 82,
  STEP_DISCARD = 83,
  STEP_SET_HOSTNAME = 20,
  STEP_LOOPBACK_UP = 21,
  STEP_UNSHARE = 22,
  STEP_SET_GROUPS = 24,
  STEP_SET_GID = 25,
  STEP_SET_UID = 26,
  STEP_BOUNDING_SET = 27,
  STEP_CAPABILITIES = 28,
  STEP_PRCTL = 29,
  STEP_SESSION_KEYRING = 30,
  STEP_RLIMIT = 31,
  STEP_UMASK = 32,
  STEP_SCHEDULING = 34,
  STEP_SECCOMP = 35,
  STEP_STDIO = 36,
  STEP_SETSID = 37,
  STEP_CONTROLLING_TTY = 38,
  STEP_CLOSE_RANGE = 39,
  STEP_UNBLOCK_SIGNALS = 40,
  STEP_EXEC = 41,
  STEP_AFFINITY = 60,
  STEP_IO_PRIORITY = 61,
  STEP_PERSONALITY = 62,
  STEP_OOM_SCORE_ADJUST = 63,
  STEP_SETNS = 70,
  STEP_FORK = 71,
  STEP_SYSCTL = 64,
  STEP_SET_DOMAIN_NAME = 65,
  STEP_TIME_OFFSETS = 66,
  STEP_JOIN_CGROUP = 67,
  STEP_LANDLOCK_RULESET = 90,
  STEP_LANDLOCK_PATH = 91,
  STEP_LANDLOCK_PORT = 92,
  STEP_LANDLOCK_RESTRICT = 93,
  STEP_LABEL_ON_EXEC = 94,
  STEP_PACK = 120,
  STEP_COPY_TREE = 121,
  STEP_LEND = 122,
  STEP_UNPACK = 130,
  STEP_SPARSE_FILE = 110,
  STEP_LOOP_DEVICE = 111,
  STEP_FSCONFIG_DEVICE = 112,
  STEP_LAYER_DIRECTORIES = 113,
  STEP_SUBVOLUME = 114,
  STEP_SUBVOLUME_LIMIT = 115,
  STEP_REMOVE_TREE = 116,
  STEP_ROOT_DIRECTORY = 117,
  STEP_RECLAIM = 118,
  STEP_SOCKET = 140,
};

// Slots hold descriptors between the steps of a plan. The highest ones are init's own, kept for its whole life.
enum {
  SLOT_COUNT = 1024,
  SLOT_NULL = 1000,
  SLOT_PTMX = 1001,
  SLOT_PROC = 1002,
  SLOT_TTY = 1003,
  SLOT_OOM_SCORE = 1004, // init's own oom_score_adj
  SLOT_LANDLOCK = 1005,  // the container's ruleset, and then the program's own
  LANDLOCK_LAYERS = 2,
  SLOT_UPPER = 1007,  // what the container writes to, and what its changes are told from: of its overlay, the lower
  SLOT_BELOW = 1008,  // layers alone
  SLOT_COPIED = 1009, // made right after its root was copied
  SLOT_USERNS = 1010
};
