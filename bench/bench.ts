/**
 * `npm run bench [-- table …] [--rounds N] [--json FILE]`
 *
 * Each table runs in a Node process of its own, so that neither memory nor compiled code of one reaches the next.
 */

import { fork } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { cgroupStats } from './cgroup-stats.js';
import { exec } from './exec.js';
import { fork as forkTable } from './fork.js';
import { layers } from './layers.js';
import { loop } from './loop.js';
import { overlay } from './overlay.js';
import { pull } from './pull.js';
import { run } from './run.js';
import { seccomp } from './seccomp.js';
import { stream } from './stream.js';
import { formatSection, type Section, type Table } from './table.js';
import { throughput } from './throughput.js';
import { unpack } from './unpack.js';
import { where } from './where.js';

const tables: readonly Table[] = [
  run,
  exec,
  loop,
  throughput,
  stream,
  seccomp,
  overlay,
  layers,
  unpack,
  pull,
  forkTable,
  where,
  cgroupStats,
];

interface Arguments {
  readonly names: readonly string[];
  readonly rounds: number | undefined;
  readonly json: string | undefined;
  /** Set in the process that measures one table. */
  readonly ballast: number | undefined;
}

function parseArguments(): Arguments {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { rounds: { type: 'string' }, json: { type: 'string' }, ballast: { type: 'string' } },
  });
  const unknown = positionals.find((name) => !tables.some((table) => table.name === name));
  if (unknown !== undefined) {
    throw new Error(`no table is named ${unknown}; there are ${tables.map(({ name }) => name).join(', ')}`);
  }
  const rounds = values.rounds === undefined ? undefined : Number(values.rounds);
  if (rounds !== undefined && !(Number.isInteger(rounds) && rounds > 1)) {
    throw new Error(`--rounds is a whole number from 2, and not ${values.rounds}`);
  }
  const ballast = values.ballast === undefined ? undefined : Number(values.ballast);
  return { names: positionals, rounds, json: values.json, ballast };
}

/** In the process of one table: measures, and hands the result to the parent. */
async function measureHere(table: Table, ballast: number, rounds: number | undefined): Promise<void> {
  // Filled, so that it is resident: what fork must copy are page tables of touched pages.
  const held = Buffer.alloc(ballast, 1);
  const sections = await table.measure({ rounds, ballast });
  if (held.length !== ballast) throw new Error('the ballast was lost');
  process.send?.(sections, () => process.disconnect());
}

function measureApart(table: Table, ballast: number, rounds: number | undefined): Promise<Section[]> {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(import.meta.url), [
      table.name,
      '--ballast',
      String(ballast),
      ...(rounds === undefined ? [] : ['--rounds', String(rounds)]),
    ]);
    let sections: Section[] | undefined;
    child.on('message', (message) => {
      sections = message as Section[];
    });
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (sections) resolve(sections);
      else reject(new Error(`the table ${table.name} gave no result (exit ${code ?? signal})`));
    });
  });
}

const { names, rounds, json, ballast } = parseArguments();
const chosen = names.length === 0 ? tables : tables.filter(({ name }) => names.includes(name));
const [only] = chosen;
if (ballast !== undefined && only) {
  await measureHere(only, ballast, rounds);
} else {
  const processors = cpus();
  const host = {
    processor: processors[0]?.model.trim() ?? 'unknown',
    processors: processors.length,
    memory: totalmem(),
    kernel: release(),
    node: process.version,
    date: new Date().toISOString(),
  };
  console.log(
    `${host.processors} × ${host.processor}, ${Math.round(host.memory / 2 ** 30)} GiB, Linux ${host.kernel}, Node ${host.node}\n`,
  );
  const results: { table: string; sections: Section[] }[] = [];
  for (const table of chosen) {
    for (const size of table.ballasts) {
      try {
        const sections = await measureApart(table, size, rounds);
        results.push({ table: table.name, sections });
        for (const section of sections) console.log(formatSection(section));
      } catch (error) {
        process.exitCode = 1;
        console.error(error instanceof Error ? error.message : error);
      }
    }
  }
  if (json !== undefined) writeFileSync(json, `${JSON.stringify({ host, results }, undefined, 2)}\n`);
}
