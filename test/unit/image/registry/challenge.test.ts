import { describe, expect, it } from 'vitest';
import { parseChallenges } from '../../../../lib/image/registry/challenge.js';

const read = (header: string | string[] | undefined) =>
  parseChallenges(header).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);

describe('a challenge', () => {
  it('has a scheme and parameters, quoted or not', () => {
    const docker =
      'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"';
    expect(read(docker)).toEqual([
      [
        'bearer',
        { realm: 'https://auth.docker.io/token', service: 'registry.docker.io', scope: 'repository:a/b:pull,push' },
      ],
    ]);
    expect(read('BASIC Realm = x , charset="UTF-8"')).toEqual([['basic', { realm: 'x', charset: 'UTF-8' }]]);
    expect(read('Basic realm="a \\"b\\" \\\\"')).toEqual([['basic', { realm: 'a "b" \\' }]]);
  });

  it('comes with others, in one header or several', () => {
    const both = [
      ['negotiate', {}],
      ['bearer', { realm: 'https://a', service: 's' }],
      ['basic', { realm: 'b' }],
    ];
    expect(read('Negotiate, Bearer realm="https://a", service=s, Basic realm=b')).toEqual(both);
    expect(read(['Negotiate', 'Bearer realm="https://a",service="s"', 'Basic realm="b"'])).toEqual(both);
  });

  it.each([
    'Bearer realm="a',
    'Bearer realm="a" service="b"',
    'Bearer realm="a",realm="b"',
    'Bearer realm=a b',
    'Bearer realm="a\nb"',
    'Bearer =a',
    'realm="a"',
    'Bearer realm="a", "b"',
    `Bearer realm="${'a'.repeat(9000)}"`,
  ])('that is malformed is none: %j', (header) => {
    expect(read(header)).toEqual([]);
  });

  it('may be missing', () => {
    expect(read(undefined)).toEqual([]);
    expect(read('')).toEqual([]);
  });
});
