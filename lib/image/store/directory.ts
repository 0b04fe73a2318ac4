/**
 * The store's own directories: made with mode 0700, verified before anything in them is trusted (security A17, M5), on a file
 * system that can hold images (security I5).
 */

import { constants } from 'node:fs';
import { lstat, mkdir, open, readFile, realpath, writeFile } from 'node:fs/promises';
import { dirname, join, parse, sep } from 'node:path';
import { ImageError } from '../../errors.js';
import { addon } from '../../launcher/native.js';
import { storeError } from './lock.js';
import { Temporary } from './temporary.js';

/** Directories of a store; the head of store.ts says what is in each. */
export const directories = [
  'blobs',
  'blobs/sha256',
  'blobs/sha512',
  'layers',
  'references',
  'partial',
  'roots',
  'locks',
  'tmp',
] as const;

const version = 'tscontain image store 1\n';

/**
 * Makes the directories where they are missing and verifies all of them.
 * @returns the path without links
 * @throws ImageError `ERR_STORE` for a directory that is not this user's alone, or a file system that cannot be used
 */
export async function prepareDirectories(path: string): Promise<string> {
  await makeParents(dirname(path));
  await verifyParents(dirname(path));
  const root = join(await realpath(dirname(path)), parse(path).base);
  await makePrivate(root);
  for (const name of directories) await makePrivate(join(root, name));
  await probeFileSystem(root);
  await verifyVersion(join(root, 'version'));
  return root;
}

async function makeParents(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 }).catch((cause: unknown) => {
    throw storeError(`the directory ${path} could not be made`, path, cause, 'give another path to ImageStore.open');
  });
}

/** Whoever can rename one of the directories above the store can put another in its place. */
async function verifyParents(path: string): Promise<void> {
  const trusted = new Set([0, process.geteuid?.() ?? 0]);
  const refuse = (at: string, why: string): never => {
    const hint = 'choose a directory that only root and this user can change';
    throw new ImageError('ERR_STORE', `the store cannot be below ${at}: ${why}`, { path: at, hint });
  };
  for (const full of new Set([path, await realpath(path)])) {
    for (let at = parse(full).root, rest = full.split(sep).filter(Boolean); ; at = join(at, rest.shift() ?? '')) {
      const facts = await lstat(at);
      if (!trusted.has(facts.uid)) refuse(at, `it belongs to user ${facts.uid}`);
      const open = (facts.mode & 0o022) !== 0 && (facts.mode & 0o1000) === 0;
      if (open && !facts.isSymbolicLink()) refuse(at, 'others can write to it');
      if (rest.length === 0) break;
    }
  }
}

async function makePrivate(path: string): Promise<void> {
  await mkdir(path, { mode: 0o700 }).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== 'EEXIST') throw storeError(`the directory ${path} could not be made`, path, cause);
  });
  await verifyPrivate(path);
}

/** @throws ImageError `ERR_STORE` unless it is a directory, not a link, of this user and nobody else's to use */
export async function verifyPrivate(path: string): Promise<void> {
  const facts = await lstat(path);
  const why = !facts.isDirectory()
    ? 'it is no directory'
    : facts.uid !== process.geteuid?.()
      ? `it belongs to user ${facts.uid}`
      : (facts.mode & 0o777) !== 0o700
        ? `its mode is ${(facts.mode & 0o7777).toString(8)}`
        : undefined;
  if (why === undefined) return;
  throw new ImageError('ERR_STORE', `${path} must be a directory of this user's with mode 0700, and ${why}`, {
    path,
    hint: 'remove it, or give it to this user and run chmod 700 on it, if you know who has made it',
  });
}

/** Names must be bytes, modes and attributes must be kept: what layers consist of. */
async function probeFileSystem(root: string): Promise<void> {
  const refuse = (why: string, cause?: unknown): never => {
    const hint = 'put the store on a file system such as ext4, xfs or btrfs';
    throw new ImageError('ERR_STORE', `the file system of ${root} cannot hold images: ${why}`, {
      path: root,
      hint,
      cause,
    });
  };
  await using temporary = await Temporary.make(root);
  const probe = join(temporary.path, 'probe-ß');
  try {
    await writeFile(probe, '', { flag: 'wx', mode: 0o400 });
    for (const other of ['probe-ss', 'PROBE-ß', 'Probe-SS']) {
      if (await exists(join(temporary.path, other))) refuse('it takes names that differ for the same');
    }
    if (((await lstat(probe)).mode & 0o777) !== 0o400) refuse('it does not keep modes');
    try {
      addon().setXattr(Buffer.from(temporary.path), 'user.overlay.probe', Buffer.from('y'), 0);
    } catch (cause) {
      refuse('it does not keep extended attributes (user.*)', cause);
    }
  } catch (cause) {
    throw storeError(`${root} could not be written to`, root, cause);
  }
}

async function verifyVersion(path: string): Promise<void> {
  await writeFile(path, version, { flag: 'wx', mode: 0o600 }).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== 'EEXIST') throw storeError(`${path} could not be written`, path, cause);
  });
  const found = await readFile(path, 'utf8');
  // Empty: another process has just made it, or the machine has died right then.
  if (found === version) return;
  if (found === '') return writeFile(path, version);
  throw new ImageError('ERR_STORE', `${path} is of another version of the store`, {
    path,
    hint: 'use the release of tscontain that has made it, or give another path to ImageStore.open',
  });
}

export async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    (error: unknown) => {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
      throw error;
    },
  );
}

/** Makes a name that was given or taken away last, where the machine loses power. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
