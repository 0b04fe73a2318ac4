/** The errors of `container.fs`, for the container's side of an operation and for the host's. */

import { TscontainError } from '../../errors.js';
import { formatSize } from '../../units.js';
import { type FilePath, pathText } from './paths.js';

const reasons: Readonly<Record<string, string>> = {
  EINVAL: 'only regular files and directories can be used this way',
  ENOSPC: "the container's storage is full: raise storage.size",
  EROFS: 'that part of the container is read-only',
};

/** What the kernel answered inside the container. */
export function fileError(call: string, path: FilePath, errno: string, hint = reasons[errno]): TscontainError {
  const name = pathText(path);
  const message = `${call} ${name} in the container: ${errno}`;
  return new TscontainError('ERR_FILE', message, { syscall: call, errno, path: name, hint });
}

/** There is more than the caller wants to have. */
export function tooLarge(call: string, path: FilePath, max: number, hint: string): TscontainError {
  const name = pathText(path);
  const message = `${call} ${name} in the container: more than ${formatSize(max)}`;
  return new TscontainError('ERR_FILE_TOO_LARGE', message, { path: name, hint });
}

/** What the host's side of a copy answers, in the library's own family of errors. */
export async function translated(call: string, hostPath: string, copying: Promise<void>): Promise<void> {
  try {
    await copying;
  } catch (cause) {
    if (cause instanceof TscontainError) throw cause;
    const { code, syscall, path = hostPath } = cause as NodeJS.ErrnoException;
    throw new TscontainError(
      'ERR_FILE',
      `${call}: ${syscall ?? 'using'} ${path} on the host gave ${code ?? 'an error'}`,
      {
        syscall,
        errno: code,
        path,
        hint: code === 'EEXIST' ? 'copyOut makes everything new: give a path that does not exist' : undefined,
        cause,
      },
    );
  }
}
