/** Filters: how long a profile takes to compile, and what a system call costs under the result. */

import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { arch, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { Capabilities, Container, Seccomp, type SeccompOptions } from 'tscontain';
import { openLibseccomp, rawAction, rulesOf } from '../test/support/libseccomp.js';
import { duration } from './measure.js';
import { compare, type Options, type Section, type Table } from './table.js';

export const seccomp: Table = {
  name: 'seccomp',
  ballasts: [0],
  async measure({ rounds }: Options): Promise<Section[]> {
    return [
      await compiling(rounds ?? 200),
      ...(await costs(rounds ?? 25)),
      await deciding(rounds ?? 25),
      await starting(rounds ?? 200),
    ];
  },
};

/** The first compilation of a thread, whose code nobody has made fast yet. */
const firstOfAThread = `
const { parentPort } = require('node:worker_threads');
import('tscontain').then(({ Seccomp }) => {
  const start = performance.now();
  Seccomp.compile('docker');
  parentPort.postMessage(performance.now() - start);
});`;

async function compiling(rounds: number): Promise<Section> {
  const text = JSON.stringify(Seccomp.docker);
  const cold = () =>
    new Promise<number>((resolve, reject) => {
      const worker = new Worker(firstOfAThread, { eval: true });
      worker.once('message', resolve).once('error', reject);
    });
  const many = async (action: () => unknown, times: number) =>
    (await duration(async () => {
      for (let i = 0; i < times; i++) action();
    })) / times;
  return compare({
    title: "Docker's default profile, compiled",
    unit: 'ms',
    rounds,
    contenders: [
      { name: 'known already', sample: () => many(() => Seccomp.compile('docker'), 100) },
      { name: 'again, from its JSON', sample: () => many(() => Seccomp.compile(JSON.parse(text)), 1) },
      { name: 'the first time, in a new thread', sample: cold },
    ],
    notes: ['wanted: less than 0.05 ms known already, less than 10 ms the first time'],
  });
}

const calls = [
  ['getppid', 'always allowed'],
  ['clone', 'allowed for some flags'],
  ['personality', 'allowed for five values, of which this is the last'],
  ['swapoff', 'refused'],
] as const;
const callsOfASample = 200_000;

async function costs(rounds: number): Promise<Section[]> {
  const folder = mkdtempSync(join(tmpdir(), 'tscontain-bench-'));
  const meter = openMeter(folder);
  try {
    const filters = filtersIn(folder);
    const sections: Section[] = [];
    for (const [call, what] of calls) {
      sections.push(
        await compare({
          title: `one ${call}, ${what}`,
          unit: 'ns',
          rounds,
          contenders: filters.map(({ name, path, absent }) => {
            if ('absent' in meter) return { name, absent: meter.absent };
            if (path === undefined) return { name, absent: absent ?? 'it made no filter' };
            return { name, sample: () => meter.sample(`${call} ${callsOfASample} ${path}`) };
          }),
          notes: filters.flatMap(({ note }) => note?.(call) ?? []),
        }),
      );
    }
    return sections;
  } finally {
    if ('close' in meter) await meter.close();
    rmSync(folder, { recursive: true });
  }
}

interface Loaded {
  readonly name: string;
  readonly path?: string;
  readonly absent?: string;
  readonly note?: (call: string) => string[];
}

/** The same profile by each maker, as files. */
function filtersIn(folder: string): Loaded[] {
  const save = (name: string, program: Uint8Array) => {
    const path = join(folder, name);
    writeFileSync(path, program);
    return path;
  };
  const ours = Seccomp.compile('docker', { capabilities: Capabilities.docker });
  const args = { personality: [0xffff_ffff], clone: [0x800] } as const;
  const instructions = (filter: typeof ours, maker: string) => (call: string) => {
    const { instructions: executed } = filter.simulate(call, args[call as keyof typeof args] ?? []);
    return [`${maker}: ${executed} of ${filter.length} instructions`];
  };
  const own = { name: 'ours', path: save('ours', ours.program), note: instructions(ours, 'ours') };
  const none = { name: 'no filter', path: '-' };
  const library = openLibseccomp();
  if ('missing' in library) return [none, own, { name: 'libseccomp', absent: library.missing }];
  const [major = 5, minor = 15] = release().split('.').map(Number);
  const target = { arch: arch() === 'arm64' ? 'arm64' : 'x64', capabilities: Capabilities.docker } as const;
  const rules = rulesOf(Seccomp.docker, { ...target, kernel: [major, minor] });
  const theirs = ([1, 2] as const).map((optimize) => {
    const name = optimize === 1 ? 'libseccomp, a list' : 'libseccomp, a tree';
    const { program } = library.compile(target.arch, rawAction('SCMP_ACT_ERRNO', 1), rules, optimize);
    return { name, path: save(`libseccomp-${optimize}`, program), note: instructions(Seccomp.load(program), name) };
  });
  library.close();
  return [none, own, ...theirs];
}

/** Calls that wait for this process's event loop, made by a program in a container. */
async function deciding(rounds: number): Promise<Section> {
  const folder = mkdtempSync(join(tmpdir(), 'tscontain-bench-'));
  chmodSync(folder, 0o755);
  const program = compileMeter(folder);
  const title = 'one call that is decided here';
  const wanted: readonly (readonly [name: string, call: string, options: SeccompOptions])[] = [
    ['by the filter alone', 'getppid', {}],
    ['a handler gives its value', 'getppid', { notify: { getppid: () => ({ value: 1 }) } }],
    ['a handler lets it go on', 'getppid', { notify: { getppid: () => 'continue' } }],
    ['an asynchronous handler', 'getppid', { notify: { getppid: async () => ({ value: 1 }) } }],
    ['refused, and told of', 'swapoff', { audit: true }],
  ];
  if ('absent' in program) {
    return { title, unit: 'µs', rounds, rows: [{ name: 'all', absent: program.absent }], notes: [] };
  }
  const mounts = [{ type: 'bind', source: folder, target: '/bench', idmap: false }] as const;
  const boxes = await Promise.all(wanted.map(([, , options]) => Container.create({ mounts, seccomp: options })));
  try {
    return await compare({
      title,
      unit: 'µs',
      rounds,
      contenders: wanted.map(([name, call], index) => ({
        name,
        sample: async () => {
          const result = await boxes[index]?.exec(['/bench/cost'], { stdin: `${call} 2000 -\n`, check: true });
          return Number(result?.stdout) / 1000;
        },
      })),
    });
  } finally {
    await Promise.all(boxes.map((box) => box.kill()));
    rmSync(folder, { recursive: true });
  }
}

/** What it takes to get the listener out of a starting program. */
async function starting(rounds: number): Promise<Section> {
  const options: readonly (readonly [string, SeccompOptions])[] = [
    ['by the filter alone', {}],
    ['with a handler', { notify: { getppid: () => ({ value: 1 }) } }],
  ];
  const boxes = await Promise.all(options.map(([, one]) => Container.create({ seccomp: one })));
  try {
    return await compare({
      title: 'exec of /bin/true',
      unit: 'ms',
      rounds,
      contenders: options.map(([name], index) => ({
        name,
        sample: () => duration(async () => boxes[index]?.exec(['/bin/true'])),
      })),
    });
  } finally {
    await Promise.all(boxes.map((box) => box.kill()));
  }
}

function compileMeter(folder: string): { readonly path: string } | { readonly absent: string } {
  const path = join(folder, 'cost');
  // Compiled to build/bench; the source is not copied there.
  const source = fileURLToPath(new URL('../../bench/seccomp/cost.c', import.meta.url));
  try {
    execFileSync(process.env.CC ?? 'cc', ['-O2', '-o', path, source], { stdio: 'pipe' });
    return { path };
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    return { absent: missing ? 'no C compiler' : 'cost.c did not compile' };
  }
}

interface Meter {
  /** Nanoseconds of one call. */
  sample(line: string): Promise<number>;
  close(): Promise<void>;
}

function openMeter(folder: string): Meter | { readonly absent: string } {
  const program = compileMeter(folder);
  if ('absent' in program) return program;
  const child = spawn(program.path, [], { stdio: ['pipe', 'pipe', 'inherit'] });
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ended = new Promise<void>((resolve) => child.on('close', () => resolve()));
  return {
    sample: async (line: string) => {
      child.stdin.write(`${line}\n`);
      const { value, done } = await answers.next();
      if (done || Number(value) < 0) throw new Error(`could not be measured: ${line}`);
      return Number(value);
    },
    close: async () => {
      child.stdin.end();
      await ended;
    },
  };
}
