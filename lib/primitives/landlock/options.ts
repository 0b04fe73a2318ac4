/** Landlock as an option: its types, and the reader that turns them into settings. */

import { readContainerPath } from '../../container/settings/paths.js';
import {
  copyObject,
  defineSchema,
  optionName,
  readBoolean,
  readChoice,
  readInteger,
  readList,
  readObject,
} from '../../container/settings/schema.js';
import { OptionError } from '../../errors.js';
import { type LandlockRight, type LandlockScope, rightNames, scopeNames } from './rights.js';

/**
 * An absolute path as the program sees it, and all below it. It must be there when the program starts, unless it is
 * `optional`; links are followed, but for those of procfs.
 */
export type LandlockPath = string | { readonly path: string; readonly optional?: boolean };

/** Single rights on a path. Those that only directories have are an error on a file. */
export interface LandlockPathRights {
  readonly path: string;
  readonly rights: readonly LandlockRight[];
  readonly optional?: boolean;
}

/**
 * What a program, and all that it starts, may still do (landlock(7)). Each key restricts what it names, to what is listed:
 * without `read` everything may be read, with `read: []` nothing. It comes on top of permissions and mounts, can never be
 * undone, and holds from the execution of the program on: its file must be allowed to be read and executed, its loader and
 * libraries too.
 */
export interface LandlockOptions {
  /** Where files may be read and directories listed. */
  readonly read?: readonly LandlockPath[];
  /**
   * Where files may be written, truncated, made, removed and moved. Device nodes are made nowhere, unless `paths` says so.
   */
  readonly write?: readonly LandlockPath[];
  /** Where programs may be executed; what is executed may be read, too. */
  readonly execute?: readonly LandlockPath[];
  /** Single rights on single paths. What is given here somewhere is denied everywhere else. */
  readonly paths?: readonly LandlockPathRights[];
  /** Rights that are denied wherever nothing else gives them, such as `['ioctl_dev']`. */
  readonly deny?: readonly LandlockRight[];
  /** TCP ports that may be bound; 0 is any that the kernel chooses. Linux 6.7 (ABI 4). */
  readonly bind?: readonly number[];
  /** TCP ports that may be connected to, 1 to 65535. Linux 6.7 (ABI 4). */
  readonly connect?: readonly number[];
  /** What may not reach processes outside: abstract sockets, signals. Linux 6.12 (ABI 6). */
  readonly scope?: readonly LandlockScope[];
  /** What the kernel's audit log gets of denials: by the program itself (default true), by what it executes (default false), by domains that it makes (default true). Linux 6.15 (ABI 7). */
  readonly log?: { readonly sameExec?: boolean; readonly newExec?: boolean; readonly subdomains?: boolean };
  /**
   * Where the kernel's ABI is too old for some of this, go without it, instead of an {@link UnsupportedError}. What a container
   * goes without is among its `inspect().relaxations`.
   */
  readonly degrade?: boolean;
}

export interface LandlockPathSettings {
  readonly path: string;
  readonly optional: boolean;
}

interface LandlockLog {
  readonly sameExec: boolean;
  readonly newExec: boolean;
  readonly subdomains: boolean;
}

/** Checked options. A list that is absent restricts nothing. */
export interface LandlockSettings {
  readonly read?: readonly LandlockPathSettings[];
  readonly write?: readonly LandlockPathSettings[];
  readonly execute?: readonly LandlockPathSettings[];
  readonly paths: readonly (LandlockPathSettings & { readonly rights: readonly LandlockRight[] })[];
  readonly deny: readonly LandlockRight[];
  readonly bind?: readonly number[];
  readonly connect?: readonly number[];
  readonly scope: readonly LandlockScope[];
  readonly log?: LandlockLog;
  readonly degrade: boolean;
}

const schema = defineSchema(
  ['read', 'write', 'execute', 'paths', 'deny', 'bind', 'connect', 'scope', 'log', 'degrade'],
  new Map([
    ['exec', 'its name is execute'],
    ['ports', 'give bind and connect, each with its own list'],
    ['bestEffort', 'its name is degrade'],
  ]),
);
const pathSchema = defineSchema(['path', 'optional']);
const rightsSchema = defineSchema(['path', 'optional', 'rights']);
const logSchema = defineSchema(['sameExec', 'newExec', 'subdomains']);
const mostPaths = 1000;
const mostPorts = 1000;
const highestPort = 65_535;
const groupNames = ['read', 'write', 'execute'] as const;

/**
 * Checks options for Landlock.
 * @throws OptionError naming the option
 */
export function readLandlock(value: unknown, option: string): LandlockSettings {
  const fields = readObject(value, option, schema);
  const { paths, deny, bind, connect, scope, log } = fields;
  const restricting = [...groupNames, 'paths', 'deny', 'bind', 'connect', 'scope'] as const;
  if (restricting.every((key) => fields[key] === undefined)) {
    throw new OptionError(option, 'something to restrict', value, { hint: `give some of ${restricting.join(', ')}` });
  }
  const lists = groupNames.flatMap((name) =>
    fields[name] === undefined ? [] : [[name, readPaths(fields[name], optionName(option, name))] as const],
  );
  return Object.freeze({
    ...Object.fromEntries(lists),
    paths: paths === undefined ? [] : readRules(paths, `${option}.paths`),
    deny: deny === undefined ? [] : readRights(deny, `${option}.deny`),
    ...(bind === undefined ? {} : { bind: readPorts(bind, `${option}.bind`, 0) }),
    ...(connect === undefined ? {} : { connect: readPorts(connect, `${option}.connect`, 1) }),
    scope:
      scope === undefined
        ? []
        : unique(scope, `${option}.scope`, 'a list of scopes', scopeNames.length, (one, at) =>
            readChoice(one, at, scopeNames),
          ),
    ...(log === undefined ? {} : { log: readLog(log, `${option}.log`) }),
    degrade: readBoolean(fields.degrade, `${option}.degrade`, false),
  });
}

function unique<T>(
  value: unknown,
  option: string,
  expected: string,
  most: number,
  read: (value: unknown, option: string) => T,
): readonly T[] {
  const list = readList(value, option, expected, most).map((one, index) => read(one, `${option}[${index}]`));
  return Object.freeze([...new Set(list)]);
}

function readPaths(value: unknown, option: string): readonly LandlockPathSettings[] {
  const list = readList(value, option, 'a list of paths', mostPaths);
  return Object.freeze(list.map((one, index) => readPath(one, `${option}[${index}]`)));
}

function readPath(value: unknown, option: string): LandlockPathSettings {
  if (typeof value !== 'object' || value === null) {
    return Object.freeze({ path: readContainerPath(value, option), optional: false });
  }
  const { path, optional } = readObject(value, option, pathSchema);
  return Object.freeze({
    path: readContainerPath(path, `${option}.path`),
    optional: readBoolean(optional, `${option}.optional`, false),
  });
}

function readRules(value: unknown, option: string): LandlockSettings['paths'] {
  const list = readList(value, option, 'a list of paths with rights', mostPaths);
  return Object.freeze(
    list.map((one, index) => {
      const at = `${option}[${index}]`;
      const { path, optional, rights } = readObject(copyObject(one, at), at, rightsSchema);
      const given = readRights(rights, `${at}.rights`);
      if (given.length === 0) throw new OptionError(`${at}.rights`, 'at least one right', rights);
      return Object.freeze({
        path: readContainerPath(path, `${at}.path`),
        optional: readBoolean(optional, `${at}.optional`, false),
        rights: given,
      });
    }),
  );
}

function readRights(value: unknown, option: string): readonly LandlockRight[] {
  return unique(value, option, 'a list of rights', rightNames.length, (one, at) => readChoice(one, at, rightNames));
}

function readPorts(value: unknown, option: string, least: number): readonly number[] {
  return unique(value, option, 'a list of TCP ports', mostPorts, (one, at) => readInteger(one, at, least, highestPort));
}

function readLog(value: unknown, option: string): LandlockLog {
  const { sameExec, newExec, subdomains } = readObject(value, option, logSchema);
  return Object.freeze({
    sameExec: readBoolean(sameExec, `${option}.sameExec`, true),
    newExec: readBoolean(newExec, `${option}.newExec`, false),
    subdomains: readBoolean(subdomains, `${option}.subdomains`, true),
  });
}
