/**
 * A Node process of its own, which starts a launcher of its own: for what a launcher takes over from the process that
 * starts it, and for what happens when that process dies. The library is compiled from the sources as they are, once.
 */

import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import ts from 'typescript';
import { scratch } from './probe.js';

const project = join(import.meta.dirname, '..', '..');
let compiled: string | undefined;

function compile(): string {
  if (compiled !== undefined) return compiled;
  const out = scratch();
  const options: ts.CompilerOptions = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext };
  for (const name of readdirSync(join(project, 'lib'), { recursive: true, encoding: 'utf8' })) {
    if (!name.endsWith('.ts') || name.endsWith('.d.ts')) continue;
    const target = join(out, 'lib', name.replace(/\.ts$/, '.js'));
    const source = readFileSync(join(project, 'lib', name), 'utf8');
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, ts.transpileModule(source, { compilerOptions: options }).outputText);
  }
  for (const name of ['native', 'node_modules', 'package.json']) symlinkSync(join(project, name), join(out, name));
  compiled = out;
  return out;
}

/** The command that runs `code` as a module, with `Container`, `lib`, and `part(file)` of it in scope. */
export function freshArgv(code: string): string[] {
  const url = JSON.stringify(join(compile(), 'lib', 'index.js'));
  return [
    process.execPath,
    '--input-type=module',
    '-e',
    `import * as lib from ${url};\nconst { Container } = lib;\nconst part = (name) => import(${url} + '/../' + name);\n${code}`,
  ];
}

/** Starts it; `prefix` is a command that runs another one. */
export function startFresh(code: string, options: SpawnOptions = {}, prefix: readonly string[] = []): ChildProcess {
  const [program = '', ...argv] = [...prefix, ...freshArgv(code)];
  return spawn(program, argv, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
}

/** Runs it to its end; what it printed. */
export async function runFresh(
  code: string,
  options: SpawnOptions = {},
  prefix: readonly string[] = [],
): Promise<string> {
  const child = startFresh(code, options, prefix);
  let stdout = '';
  let stderr = '';
  child.stdout?.on('data', (data) => {
    stdout += data;
  });
  child.stderr?.on('data', (data) => {
    stderr += data;
  });
  const status = await new Promise((resolve) => child.once('close', (code, signal) => resolve(code ?? signal)));
  if (status !== 0) throw new Error(`the fresh process ended with ${status}: ${stderr}`);
  return stdout;
}
