/** The numbers of native/launcher/protocol.h that Node needs. A test compares the two files. */

export const message = {
  HELLO: 11,
  CREATE: 12,
  KILL: 13,
  STATS: 14,
  WRITE: 15,
  GROUP: 16,
  UNGROUP: 17,
  RECLAIM: 18,
  WELCOME: 30,
  CREATED: 31,
  CREATE_FAILED: 32,
  GONE: 33,
  REPLY: 34,
  OOM: 35,
  EXEC: 50,
  SIGNAL: 51,
  FILE: 52,
  RUN: 53,
  RETURN: 54,
  READY: 60,
  FAILED: 61,
  STARTED: 62,
  EXEC_FAILED: 63,
  EXITED: 64,
  FILE_REPLY: 65,
  RAN: 66,
  LENT: 67,
  LISTENER: 70,
} as const;

/** Where in the launcher a creation failed. */
export const stage = {
  RANGE: 1,
  CGROUP: 2,
  LIMIT: 3,
  CLONE: 4,
  MAP: 5,
  HOST_STEP: 6,
  START: 7,
  STORAGE: 8,
} as const;

/** How the ids of a new user namespace are mapped. */
export const mapMode = { RANGE: 0, SINGLE: 1, NONE: 2, GIVEN: 3, BOTH: 4, HELPED: 5 } as const;

export const createFlag = { AGENT: 1 } as const;

export const execFlag = { TTY: 1, LAST: 2, GROUP: 4, REPORT: 8 } as const;

/** What init says about a program that could not be executed (enum failure_detail). */
export const detail = {
  NONE: 0,
  NOT_FOUND: 1,
  NOT_EXECUTABLE: 2,
  INTERPRETER_MISSING: 3,
  IS_DIRECTORY: 4,
  BAD_TYPE: 5,
  NOT_APPLIED: 6,
} as const;

/** Operations of FILE. */
export const fileOperation = {
  OPEN: 1,
  STAT: 2,
  MKDIR: 3,
  READDIR: 4,
  REMOVE: 5,
  RENAME: 6,
  SYMLINK: 7,
  READLINK: 8,
  CHMOD: 9,
  CHOWN: 10,
} as const;
