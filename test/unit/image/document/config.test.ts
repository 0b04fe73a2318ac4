import { describe, expect, it } from 'vitest';
import { parseConfig } from '../../../../lib/image/document/index.js';
import { aDigest, bytes, config, type Json } from './documents.js';

const read = (value: unknown) => parseConfig(bytes(value));

describe('the configuration of an image', () => {
  it('has what its programs are started with', () => {
    expect(
      read(
        config(
          {
            Entrypoint: ['/init'],
            Cmd: ['a', ''],
            Env: ['PATH=/bin', 'EMPTY=', 'A=b=c\nd'],
            WorkingDir: '/w',
            User: '1000:1000',
            ExposedPorts: { 80: {}, '53/UDP': {}, '8000-8010/tcp': {} },
            Volumes: { '/data/': {}, '/data': {}, '/a/b': {} },
            StopSignal: 'SIGRTMIN+3',
            Labels: { a: 'b', empty: null },
          },
          { created: '2024-01-02T03:04:05.678901234Z', author: 'me', variant: 'v1' },
        ),
      ),
    ).toEqual({
      os: 'linux',
      architecture: 'amd64',
      created: '2024-01-02T03:04:05.678901234Z',
      author: 'me',
      entrypoint: ['/init'],
      cmd: ['a', ''],
      env: { PATH: '/bin', EMPTY: '', A: 'b=c\nd' },
      workingDir: '/w',
      user: '1000:1000',
      exposedPorts: ['80/tcp', '53/udp', '8000-8010/tcp'],
      volumes: ['/data', '/a/b'],
      stopSignal: 'SIGRTMIN+3',
      labels: { a: 'b', empty: '' },
      diffIds: [aDigest],
      history: [],
    });
  });

  it('may say nothing, in each of the ways in which tools do', () => {
    const nothing = { entrypoint: [], cmd: [], env: {}, exposedPorts: [], volumes: [], labels: {}, history: [] };
    const empty = { Entrypoint: null, Cmd: null, Env: null, WorkingDir: '', User: '', Volumes: null, StopSignal: '' };
    for (const value of [config(), config(empty), config({}, { config: null }), config({}, { config: undefined })]) {
      expect(read(value)).toEqual({ os: 'linux', architecture: 'amd64', diffIds: [aDigest], ...nothing });
    }
  });

  it('takes a program that is text for a list of one, as Docker does', () => {
    expect(read(config({ Cmd: 'a b' })).cmd).toEqual(['a b']);
  });

  it('takes the last of two variables of one name, and has none of a prototype', () => {
    const { env, labels } = read(config({ Env: ['A=1', 'A=2', '__proto__=x'] }));
    expect(Object.entries(env)).toEqual([
      ['A', '2'],
      ['__proto__', 'x'],
    ]);
    expect(Object.getPrototypeOf(env)).toBeNull();
    expect(Object.getPrototypeOf(labels)).toBeNull();
  });

  it('reads nothing else', () => {
    const other = { Hostname: 'h', Privileged: true, Healthcheck: {}, Shell: ['x'], OnBuild: ['x'], ArgsEscaped: true };
    expect(read(config(other, { container_config: { Cmd: ['x'] }, 'os.features': ['x'] }))).toEqual(read(config()));
  });

  it('tells of its history', () => {
    const history = [
      { created: '2024-01-02T03:04:05+02:00', created_by: 'ADD', empty_layer: false },
      { created_by: 'ENV', comment: 'c', author: 'a', empty_layer: true },
    ];
    expect(read(config({}, { history })).history).toEqual([
      { created: '2024-01-02T03:04:05+02:00', createdBy: 'ADD' },
      { createdBy: 'ENV', comment: 'c', author: 'a', emptyLayer: true },
    ]);
  });

  it.each<[string, Json, RegExp]>([
    ['without a system', config({}, { os: '' }), /os should be the name/],
    ['without an architecture', config({}, { architecture: undefined }), /architecture should be the name/],
    ['without layers', config({}, { rootfs: undefined }), /rootfs should/],
    ['layers of another kind', config({}, { rootfs: { type: 'x', diff_ids: [] } }), /rootfs should/],
    ['more history than layers', config({}, { history: [{}, {}] }), /2 layers, and there are 1/],
    ['a variable without a value', config({ Env: ['HOME'] }), /config.Env\[0\] should be NAME=value and is 'HOME'/],
    ['a wildcard', config({ Env: ['A=b', 'SECRET*'] }), /config.Env\[1\]/],
    ['a variable without a name', config({ Env: ['=x'] }), /config.Env\[0\]/],
    ['a name of two lines', config({ Env: ['A\nB=x'] }), /config.Env\[0\]/],
    ['a NUL byte', config({ Env: ['A=x\0y'] }), /NUL bytes/],
    ['half a character', config({ Cmd: ['\ud800'] }), /halves/],
    ['a number as an argument', config({ Cmd: [5] }), /config.Cmd\[0\] should be text and is number/],
    ['an object as a program', config({ Entrypoint: {} }), /config.Entrypoint should be an array/],
    ['a relative directory', config({ WorkingDir: 'a' }), /WorkingDir is not an absolute path/],
    ['a volume that climbs', config({ Volumes: { '/../../x': {} } }), /no absolute path in normal form/],
    ['a relative volume', config({ Volumes: { x: {} } }), /no absolute path/],
    ['the root as a volume', config({ Volumes: { '/': {} } }), /no absolute path/],
    ['a list of volumes', config({ Volumes: ['/x'] }), /Volumes should be an object/],
    ['a port that is none', config({ ExposedPorts: { '0/tcp': {} } }), /no port/],
    ['a protocol that is none', config({ ExposedPorts: { '80/x': {} } }), /no port/],
    ['a range that goes down', config({ ExposedPorts: { '80-70': {} } }), /no port/],
    ['a signal that is none', config({ StopSignal: 'a b' }), /no signal/],
    ['a user of two lines', config({ User: 'a\nb' }), /control characters/],
    ['a name in another case', { ...config(), Config: {} }, /Config differs/],
    ['a variable list in another case', config({ env: [] }), /config.env differs/],
    ['a time that is none', config({}, { created: 'yesterday' }), /created is no time/],
  ])('is not one with %s', (_, value, problem) => {
    expect(() => read(value)).toThrow(expect.objectContaining({ code: 'ERR_CONFIG' }));
    expect(() => read(value)).toThrow(problem);
  });
});
