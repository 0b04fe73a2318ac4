/**
 * Extended attributes of files (xattr(7)): small named values beside a file's content. Overlays note there what they have
 * deleted and moved, and the kernel keeps the capabilities of a program there.
 */

import { errnoName, PermissionError, TscontainError, UnsupportedError } from '../errors.js';
import { addon, type Descriptor } from '../launcher/native.js';

/** A file by its path, of which the last component is never followed where it is a link; or by an open descriptor. */
export type XattrFile = string | Uint8Array | Descriptor;

/**
 * The value of an attribute; undefined where the file has none of that name.
 * @throws TscontainError where there is no such file, UnsupportedError where the file system has no attributes
 */
export function getXattr(file: XattrFile, name: string): Buffer | undefined {
  return call(file, name, (target) => addon().getXattr(target, name));
}

/** The names of all attributes that this process may see: `trusted.*` only with CAP_SYS_ADMIN. */
export function listXattr(file: XattrFile): string[] {
  const names = call(file, undefined, (target) => addon().listXattr(target));
  return names
    .toString()
    .split('\0')
    .filter((name) => name !== '');
}

/**
 * Sets an attribute.
 * @param when `'create'` fails with EEXIST where it is there, `'replace'` with ENODATA where it is not
 * @throws PermissionError where this process may not, such as `security.*` and `trusted.*` without privilege
 */
export function setXattr(file: XattrFile, name: string, value: Uint8Array, when?: 'create' | 'replace'): void {
  const flags = when === 'create' ? 1 : when === 'replace' ? 2 : 0;
  call(file, name, (target) => addon().setXattr(target, name, value, flags));
}

/** Removes an attribute. Whether it was there. */
export function removeXattr(file: XattrFile, name: string): boolean {
  return call(file, name, (target) => addon().removeXattr(target, name));
}

function call<Result>(
  file: XattrFile,
  name: string | undefined,
  work: (target: Buffer | Descriptor) => Result,
): Result {
  const target = typeof file === 'string' || file instanceof Uint8Array ? Buffer.from(file) : file;
  // The kernel would stop at the NUL byte, and act on another file or attribute.
  if ((Buffer.isBuffer(target) && target.includes(0)) || name?.includes('\0')) {
    throw new TscontainError('ERR_XATTR', 'a path or the name of an extended attribute has a NUL byte in it', {
      errno: 'EINVAL',
    });
  }
  try {
    return work(target);
  } catch (cause) {
    throw failure(target, name, cause);
  }
}

function failure(target: Buffer | Descriptor, name: string | undefined, cause: unknown): unknown {
  if (!(cause instanceof Error && 'errno' in cause && 'syscall' in cause)) return cause;
  const errno = errnoName(Number(cause.errno));
  const path = Buffer.isBuffer(target) ? target.toString() : undefined;
  const message = `${cause.syscall}: ${name ?? 'the attributes'} of ${path ?? 'a descriptor'}: ${errno}`;
  const details = { syscall: String(cause.syscall), errno, path };
  if (errno === 'EOPNOTSUPP') {
    return new UnsupportedError(message, {
      ...details,
      hint: 'the file system has no extended attributes of this kind',
    });
  }
  if (errno === 'EPERM' || errno === 'EACCES') return new PermissionError(message, details);
  const hint = errno === 'ENOENT' ? 'there is no such file' : undefined;
  return new TscontainError('ERR_XATTR', message, { ...details, hint });
}
