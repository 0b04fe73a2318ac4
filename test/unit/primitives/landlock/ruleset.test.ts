import { describe, expect, it } from 'vitest';
import { parseExecOptions } from '../../../../lib/container/settings.js';
import { Landlock, type LandlockOptions, OptionError, UnsupportedError } from '../../../../lib/index.js';
import { describeStep } from '../../../../lib/plan/describe.js';
import { encodeSteps } from '../../../../lib/plan/encode.js';
import { landlockSteps } from '../../../../lib/primitives/landlock/index.js';
import { overlayAttributes, readAttributes } from '../../../../lib/process/attributes/settings.js';

const everything: LandlockOptions = {
  read: ['/usr'],
  write: ['/tmp'],
  execute: ['/usr/bin'],
  deny: ['ioctl_dev'],
  bind: [8080],
  connect: [443, 8080],
  scope: ['signal', 'abstract-unix-socket'],
  log: { newExec: true },
};

function refusalOf(landlock: unknown): [string, string | undefined] {
  try {
    Landlock.ruleset(landlock as LandlockOptions, { abi: 7 });
  } catch (error) {
    if (error instanceof OptionError) return [error.option, error.hint];
    throw error;
  }
  throw new Error(`accepted: ${JSON.stringify(landlock)}`);
}

describe('a Landlock ruleset', () => {
  it('handles what is restricted, and only that', () => {
    const { handled, network, scope, paths } = Landlock.ruleset({ read: ['/usr'] }, { abi: 7 });
    expect(handled).toEqual(['read_file', 'read_dir', 'refer']);
    expect([network, scope]).toEqual([[], []]);
    expect(paths).toEqual([
      { path: '/usr', rights: ['read_file', 'read_dir'], optional: false, exact: false },
      { path: '/', rights: ['refer'], optional: false, exact: false },
    ]);
  });

  it('denies everything of a kind where its list is empty', () => {
    expect(Landlock.ruleset({ execute: [], bind: [] }, { abi: 7 })).toMatchObject({
      handled: ['execute', 'refer'],
      network: ['bind'],
      ports: [],
    });
  });

  it('gives what is executed to be read as well, where reading is restricted', () => {
    const rights = (options: LandlockOptions) => Landlock.ruleset(options, { abi: 7 }).paths.at(0)?.rights;
    expect(rights({ execute: ['/bin'] })).toEqual(['execute']);
    expect(rights({ execute: ['/bin'], read: [] })).toEqual(['execute', 'read_file']);
  });

  it('does not give moving between directories back where writing is restricted, or it is denied', () => {
    const paths = (options: LandlockOptions) => Landlock.ruleset(options, { abi: 7 }).paths.map(({ path }) => path);
    expect(paths({ read: [], write: ['/tmp'] })).toEqual(['/tmp']);
    expect(paths({ read: [], deny: ['refer'] })).toEqual([]);
    expect(paths({ read: [], paths: [{ path: '/a', rights: ['refer'] }] })).toEqual(['/a']);
  });

  it('gives the right to make device nodes only by name', () => {
    const { handled, paths } = Landlock.ruleset({ write: ['/tmp'] }, { abi: 7 });
    expect(handled).toContain('make_char');
    expect(paths.flatMap(({ rights }) => rights)).not.toContain('make_char');
  });

  it('puts ports of both kinds into one rule', () => {
    expect(Landlock.ruleset(everything, { abi: 7 }).ports).toEqual([
      { port: 8080, rights: ['bind', 'connect'] },
      { port: 443, rights: ['connect'] },
    ]);
  });

  it.each([
    [7, []],
    [6, ['log.newExec']],
    [5, ['scope signal', 'scope abstract-unix-socket', 'log.newExec']],
    [4, ['ioctl_dev', 'scope signal', 'scope abstract-unix-socket', 'log.newExec']],
    [3, ['ioctl_dev', 'bind', 'connect', 'scope signal', 'scope abstract-unix-socket', 'log.newExec']],
    [2, ['truncate', 'ioctl_dev', 'bind', 'connect', 'scope signal', 'scope abstract-unix-socket', 'log.newExec']],
    [
      1,
      [
        'refer',
        'truncate',
        'ioctl_dev',
        'bind',
        'connect',
        'scope signal',
        'scope abstract-unix-socket',
        'log.newExec',
      ],
    ],
  ])('under ABI %i goes without what that lacks, only where asked to, and says so', (abi, lost) => {
    const { leftOut, handled, network } = Landlock.ruleset({ ...everything, degrade: true }, { abi });
    expect(leftOut).toEqual(lost);
    for (const name of lost) expect([...handled, ...network]).not.toContain(name);
    expect(handled).toContain('read_file');
    if (lost.length === 0) return;
    const refused = () => Landlock.ruleset(everything, { abi });
    expect(refused).toThrow(UnsupportedError);
    expect(refused).toThrow(new RegExp(`ABI ${abi}\\).*${lost[0]}`));
  });

  it('is nothing without Landlock, only where asked to', () => {
    expect(() => Landlock.ruleset({ read: [] }, { abi: 0 })).toThrow(/this kernel has no Landlock.*5\.13/);
    const ruleset = Landlock.ruleset({ ...everything, degrade: true }, { abi: 0 });
    expect(ruleset.leftOut).toContain('read_file');
    expect(landlockSteps(ruleset, 'landlock')).toEqual({ prepare: [], restrict: [] });
  });

  it('tells the kernel of logging only what differs from its default', () => {
    const flags = (log: LandlockOptions['log']) =>
      Landlock.ruleset({ deny: ['make_sym'], ...(log && { log }) }, { abi: 7 }).flags;
    expect(flags(undefined)).toBe(0);
    expect(flags({ sameExec: true, newExec: false, subdomains: true })).toBe(0);
    expect(flags({ sameExec: false })).toBe(1);
    expect(flags({ newExec: true, subdomains: false })).toBe(6);
  });

  it('becomes steps: the ruleset, its rules, and later the restriction', () => {
    const { prepare, restrict } = landlockSteps(Landlock.ruleset(everything, { abi: 7 }), 'landlock');
    expect([...prepare, ...restrict].map(({ kind }) => kind)).toEqual([
      'landlockRuleset',
      'landlockPath',
      'landlockPath',
      'landlockPath',
      'landlockPort',
      'landlockPort',
      'landlockRestrict',
    ]);
    expect(encodeSteps(prepare).readUInt16LE(0)).toBe(90);
    // dst, rights of files, of the network, scopes: all of them but those that only `paths` restricts.
    expect([1, 2, 3].map((index) => Number(encodeSteps(prepare).readBigUInt64LE(8 + 8 * index)))).toEqual([
      0xffff, 3, 3,
    ]);
    expect(prepare.slice(0, 2).map((step) => describeStep(step).manual)).toEqual([
      'landlock_create_ruleset(2)',
      'landlock_add_rule(2)',
    ]);
  });

  it.each([
    [undefined, 'landlock'],
    [{}, 'landlock'],
    [{ degrade: true }, 'landlock'],
    [{ log: {} }, 'landlock'],
    [{ read: '/usr' }, 'landlock.read'],
    [{ read: ['usr'] }, 'landlock.read[0]'],
    [{ read: ['/usr', ''] }, 'landlock.read[1]'],
    [{ read: ['/a\0b'] }, 'landlock.read[0]'],
    [{ read: ['/a/../b'] }, 'landlock.read[0]'],
    [{ read: [`/${'a'.repeat(256)}`] }, 'landlock.read[0]'],
    [{ read: [{ path: '/usr', optinal: true }] }, 'landlock.read[0].optinal'],
    [{ read: [{ path: '/usr', optional: 1 }] }, 'landlock.read[0].optional'],
    [{ write: [7] }, 'landlock.write[0]'],
    [{ paths: [{ path: '/usr', rights: [] }] }, 'landlock.paths[0].rights'],
    [{ paths: [{ path: '/usr' }] }, 'landlock.paths[0].rights'],
    [{ paths: [{ path: '/usr', rights: ['READ_FILE'] }] }, 'landlock.paths[0].rights[0]'],
    [{ paths: ['/usr'] }, 'landlock.paths[0]'],
    [{ deny: ['read'] }, 'landlock.deny[0]'],
    [{ bind: [65_536] }, 'landlock.bind[0]'],
    [{ bind: [-1] }, 'landlock.bind[0]'],
    [{ bind: 80 }, 'landlock.bind'],
    [{ bind: [1.5] }, 'landlock.bind[0]'],
    [{ connect: [0] }, 'landlock.connect[0]'],
    [{ connect: ['443'] }, 'landlock.connect[0]'],
    [{ connect: [Number.NaN] }, 'landlock.connect[0]'],
    [{ scope: ['signals'] }, 'landlock.scope[0]'],
    [{ scope: 'signal' }, 'landlock.scope'],
    [{ read: [], log: { same: true } }, 'landlock.log.same'],
    [{ read: [], degrade: 1 }, 'landlock.degrade'],
    [{ exec: ['/bin'] }, 'landlock.exec'],
    [{ read: Array.from({ length: 1001 }, () => '/usr') }, 'landlock.read'],
  ])('of %j is refused at %s', (landlock, option) => {
    expect(refusalOf(landlock)[0]).toBe(option);
  });

  it('of a program comes after that of its container, in the same order', () => {
    const container = readAttributes({ landlock: { read: ['/usr'] } }, 'container');
    const own = readAttributes({ landlock: { read: ['/etc'] } }, 'container');
    expect(overlayAttributes(container, own).landlock?.map(({ read }) => read?.[0]?.path)).toEqual(['/usr', '/etc']);
    expect(overlayAttributes(container, parseExecOptions({}).attributes).landlock).toHaveLength(1);
  });
});
