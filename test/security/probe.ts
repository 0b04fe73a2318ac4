/**
 * Probes: small Python programs that ask the kernel one question, run the same way inside a container and outside of one.
 * A row of the catalogue is believed only where the two answers differ as they should.
 */

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { Container, type ExecOptions, type MountOption, type RunOptions } from '../../lib/index.js';

const python = '/usr/bin/python3';

/** What every probe can use: `call(number, …)` gives 'OK' or the error's name; `answer(value)` prints the result. */
const prelude = `
import ctypes, errno, fcntl, json, os, socket, stat, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def call(number, *arguments):
    ctypes.set_errno(0)
    fixed = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return 'OK' if libc.syscall(ctypes.c_long(number), *fixed) >= 0 else errno.errorcode[ctypes.get_errno()]
def attempt(action):
    try:
        action()
        return 'OK'
    except OSError as error:
        return errno.errorcode[error.errno]
def opens(path, flags):
    def action():
        os.close(os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY))
    return attempt(action)
def answer(value):
    print(json.dumps(value))
`;

/** The arguments that run a probe. */
export function probeArgv(code: string): [string, ...string[]] {
  return [python, '-I', '-c', prelude + code];
}

/** A probe's answer in a container of its own. */
export async function inside<T>(code: string, options: RunOptions = {}): Promise<T> {
  const { stdout, stderr, exitCode, reason } = await Container.run(probeArgv(code), options);
  return parse<T>(stdout, `${reason} ${exitCode}: ${stderr}`);
}

/** A probe's answer in a running container. */
export async function insideOf<T>(box: Container, code: string, options: ExecOptions = {}): Promise<T> {
  const { stdout, stderr, exitCode, reason } = await box.exec(probeArgv(code), options);
  return parse<T>(stdout, `${reason} ${exitCode}: ${stderr}`);
}

/** The positive control: the same probe on the host. */
export function outside<T>(code: string, options: { uid?: number; env?: NodeJS.ProcessEnv } = {}): T {
  const [program, ...argv] = probeArgv(code);
  const { stdout, stderr, status } = spawnSync(program, argv, { encoding: 'utf8', maxBuffer: 2 ** 26, ...options });
  return parse<T>(stdout, `${status}: ${stderr}`);
}

function parse<T>(text: string, context: string): T {
  try {
    return JSON.parse(text) as T;
  } catch {
    throw new Error(`the probe gave no answer: ${context}`);
  }
}

const made: string[] = [];

/** A directory for this file's tests, on a file system that ids can be shifted on, removed at the end. */
export function scratch(): string {
  if (made.length === 0) {
    afterAll(() => {
      for (const path of made.splice(0)) rmSync(path, { recursive: true, force: true });
    });
  }
  const path = mkdtempSync('/run/tscontain-test-');
  made.push(path);
  return path;
}

/** A root file system of links into the host's /usr, which {@link usr} mounts: what an untrusted image can be made of. */
export function makeRoot(): string {
  const root = scratch();
  for (const directory of ['usr', 'etc', 'tmp']) mkdirSync(join(root, directory));
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) symlinkSync(`usr/${name}`, join(root, name));
  return root;
}

export const usr: MountOption = { type: 'bind', source: '/usr', target: '/usr', idmap: false };

/** Options of a container over `root`. */
export function over(
  root: string,
  mounts: readonly MountOption[] = [],
): { image: { rootfs: string }; mounts: MountOption[] } {
  return { image: { rootfs: root }, mounts: [usr, ...mounts] };
}

export function run(program: string, ...argv: string[]): string {
  return execFileSync(program, argv, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}
