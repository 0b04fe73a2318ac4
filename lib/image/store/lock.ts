/**
 * Locks of the store: flock(2) on open files, so that the kernel drops them with their owner, however it ends. Nothing waits in
 * the kernel: whoever finds a lock held tries again after a while, so every wait can be aborted.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { AbortedError, errnoName, ImageError, TscontainError } from '../../errors.js';
import { addon, type Descriptor } from '../../launcher/native.js';

export type LockKind = 'directory' | 'file' | 'create';
export type LockMode = 'shared' | 'exclusive';

/** How a wait goes on. */
export interface LockWait {
  readonly signal?: AbortSignal | undefined;
  /** Called once, when another is found to hold the lock. */
  readonly onWait?: (() => void) | undefined;
}

const shortestPause = 2;
const longestPause = 50;

/** The lock if it is free now. @throws ImageError `ERR_STORE`; a system error with `code` ENOENT where nothing is there */
export function tryLock(path: string, kind: LockKind, mode: LockMode): Descriptor | undefined {
  try {
    return addon().lockFile(path, kind, mode === 'exclusive');
  } catch (cause) {
    throw storeError(`the lock ${path} could not be taken`, path, cause);
  }
}

/** Waits for the lock. @throws AbortedError */
export async function lock(path: string, kind: LockKind, mode: LockMode, wait: LockWait = {}): Promise<Descriptor> {
  for (let pause = shortestPause; ; pause = Math.min(longestPause, pause * 2)) {
    throwIfAborted(wait.signal, path);
    const held = tryLock(path, kind, mode);
    if (held) return held;
    if (pause === shortestPause) wait.onWait?.();
    // Not all at the same time again.
    await sleep(pause * (0.5 + Math.random()), undefined, wait.signal ? { signal: wait.signal } : {}).catch(() => {});
  }
}

export function throwIfAborted(signal: AbortSignal | undefined, path: string): void {
  if (!signal?.aborted) return;
  throw new AbortedError(`waiting for ${path} was aborted`, { path, cause: signal.reason });
}

/** A failure of the store's own directory, as the kernel told it. */
export function storeError(doing: string, path: string, cause: unknown, hint?: string): ImageError {
  if (cause instanceof ImageError) return cause;
  const { code, errno, syscall } = cause as NodeJS.ErrnoException;
  const error = code ?? (errno === undefined ? undefined : Math.abs(errno));
  return new ImageError('ERR_STORE', `${doing}: ${(cause as Error).message}`, {
    path,
    errno: error,
    syscall,
    cause,
    hint: hint ?? hints[typeof error === 'number' ? errnoName(error) : (error ?? '')],
  });
}

/** Runs what works in the store's own directory; what the kernel refuses there is an `ERR_STORE`, with the path. */
export async function inStore<Result>(doing: string, path: string, run: () => Promise<Result>): Promise<Result> {
  try {
    return await run();
  } catch (error) {
    const isSystem = error instanceof Error && !(error instanceof TscontainError) && 'errno' in error;
    throw isSystem ? storeError(doing, path, error) : error;
  }
}

const hints: Readonly<Record<string, string>> = {
  ENOSPC: 'the file system is full; gc() frees what no image needs',
  EDQUOT: 'the quota is used up; gc() frees what no image needs',
  EROFS: 'the store must be on a writable file system',
};

/** Whether a failure says that nothing is there. */
export function isMissing(error: unknown): boolean {
  const cause = error instanceof ImageError ? error.cause : error;
  const { code, errno } = cause as NodeJS.ErrnoException;
  return code === 'ENOENT' || errno === 2 || errno === -2;
}
