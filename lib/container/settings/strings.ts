/**
 * What a program is given as text: its arguments and its variables. execve(2) bounds each string (MAX_ARG_STRLEN, 32
 * pages with the NUL byte) and all of them together (a quarter of the 8 MiB stack, since Linux 2.6.23), and answers
 * E2BIG without saying which; here the error names it.
 */

import { OptionError } from '../../errors.js';
import { byteLength, copyObject, optionName, readList, readText } from './schema.js';

/** Name and value of each variable, in the caller's order. */
export type EnvPairs = readonly (readonly [string, string])[];

const longestString = 32 * 4096 - 1;
// The rest is for what the kernel puts beside them: the auxiliary vector, the file's name, alignment.
const mostBytes = 2 * 1024 * 1024 - 64 * 1024;
const mostArguments = 100_000;
const mostVariables = 10_000;
/** A string costs its bytes, a NUL byte and a pointer. */
const overhead = 1 + 8;

const noEnv: EnvPairs = Object.freeze([]);

/** A program and its arguments. */
export function parseArgv(argv: unknown, option = 'argv'): readonly string[] {
  const hint = typeof argv === 'string' ? "there is no shell; use ['sh', '-c', …] to ask for one" : undefined;
  if (typeof argv === 'string')
    throw new OptionError(option, 'an array of a program and its arguments', argv, { hint });
  const list = readList(argv, option, 'an array of a program and its arguments', mostArguments);
  if (list.length === 0) throw new OptionError(option, 'at least a program', argv);
  const strings: string[] = [];
  let total = 0;
  for (const [index, element] of list.entries()) {
    const text = readText(element, `${option}[${index}]`, 'a string');
    total += checkString(text, `${option}[${index}]`);
    strings.push(text);
  }
  if (strings[0] === '') throw new OptionError(`${option}[0]`, 'a program', '');
  if (total > mostBytes) throw tooLong(option, total);
  return Object.freeze(strings);
}

/** Variables. A newline in a value is legal and stays in that one variable. */
export function readEnv(value: unknown, option: string): EnvPairs {
  if (value === undefined) return noEnv;
  const copied = copyObject(value, option);
  const names = Object.keys(copied);
  if (names.length > mostVariables) throw new OptionError(option, `at most ${mostVariables} variables`, value);
  const pairs: (readonly [string, string])[] = [];
  let total = 0;
  for (const name of names) {
    checkName(name, option);
    const at = optionName(option, name);
    const text = readText(copied[name], at, 'a string');
    total += byteLength(name) + 1 + checkString(text, at, byteLength(name) + 1);
    pairs.push(Object.freeze([name, text] as const));
  }
  if (total > mostBytes) throw tooLong(option, total);
  return Object.freeze(pairs);
}

function checkName(name: string, option: string): void {
  if (name === '' || /[=\p{Cc}]/u.test(name)) {
    throw new OptionError(option, "names of variables that are not empty and without '=' or control bytes", name);
  }
  readText(name, option, 'names of variables');
}

function checkString(text: string, option: string, prefix = 0): number {
  const bytes = byteLength(text);
  if (bytes + prefix > longestString) {
    throw new OptionError(option, `at most ${longestString - prefix} bytes, what execve(2) takes`, text);
  }
  return bytes + overhead;
}

function tooLong(option: string, total: number): OptionError {
  const hint = 'pass long data through stdin or a file';
  return new OptionError(option, `at most ${mostBytes} bytes in all, what execve(2) takes`, total, { hint });
}
