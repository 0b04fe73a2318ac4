/** The bare C program of bench/floor: what the kernel alone needs for the same container. */

import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Peer } from './peers.js';

/** What a default container consists of, by the names of floor.c. */
export const allParts = [
  ...['user', 'mount', 'pid', 'net', 'ipc', 'uts', 'cgroupns', 'cgroups'],
  ...['root', 'idmap', 'etc', 'dev', 'mqueue', 'proc', 'sys', 'masks'],
] as const;
export type Part = (typeof allParts)[number];

export interface Floor {
  /** `noexec` ends before the program is executed. */
  contender(name: string, parts: 'all' | readonly (Part | 'noexec')[]): Peer;
  close(): Promise<void>;
}

/** Compiles the program and starts it; without a compiler its rows say so. */
export function openFloor(): Floor {
  const program = compile();
  if (!('path' in program)) {
    return { contender: (name) => ({ name, absent: program.absent }), close: async () => {} };
  }
  const child = spawn(program.path, cgroupBases(), { stdio: ['pipe', 'pipe', 'inherit'] });
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ended = new Promise<void>((resolve) => child.on('close', () => resolve()));
  const sample = async (line: string) => {
    child.stdin.write(`${line}\n`);
    const { value, done } = await answers.next();
    if (done) throw new Error(`the floor program ended at: ${line}`);
    return Number(value) / 1e6;
  };
  return {
    contender: (name, parts) => ({ name, sample: () => sample((parts === 'all' ? allParts : parts).join(' ')) }),
    close: async () => {
      child.stdin.end();
      await ended;
    },
  };
}

function compile(): { readonly path: string } | { readonly absent: string } {
  // Compiled to build/bench; the source is not copied there.
  const root = fileURLToPath(new URL('../../', import.meta.url));
  const path = join(root, 'build', 'floor');
  const source = join(root, 'bench', 'floor', 'floor.c');
  try {
    mkdirSync(join(root, 'build'), { recursive: true });
    execFileSync(process.env.CC ?? 'cc', ['-O2', '-static', '-o', path, source], { stdio: 'pipe' });
    return { path };
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    return { absent: missing ? 'no C compiler' : 'floor.c did not compile' };
  }
}

/** Where our own containers have cgroups by default: version 2, and the controllers of version 1 for memory and pids. */
function cgroupBases(): string[] {
  const bases = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .flatMap((line) => {
      const [before = '', after = ''] = line.split(' - ');
      const directory = before.split(' ')[4] ?? '';
      const [type, , options = ''] = after.split(' ');
      if (type === 'cgroup2') return [`2:${directory}`];
      return type === 'cgroup' && /(^|,)(memory|pids)(,|$)/.test(options) ? [directory] : [];
    });
  return [...new Set(bases)];
}
