import { describe, expect, it } from 'vitest';
import { chooseProxy } from '../../../../lib/image/registry/proxy.js';
import { OptionError } from '../../../../lib/index.js';

const through = (url: string, environment: NodeJS.ProcessEnv, option?: unknown) =>
  chooseProxy(option, environment)(new URL(url))?.host;

describe('a proxy', () => {
  const environment = { HTTPS_PROXY: 'http://secure:1', http_proxy: 'plain:2' };

  it('is the one of the environment for the scheme, and the lower-case variable counts first', () => {
    expect(through('https://a.example/', environment)).toBe('secure:1');
    expect(through('http://a.example/', environment)).toBe('plain:2');
    expect(through('http://a.example/', { ...environment, HTTP_PROXY: 'other:3' })).toBe('plain:2');
    expect(through('https://a.example/', {})).toBeUndefined();
    expect(through('http://a.example/', { ...environment, REQUEST_METHOD: 'GET' })).toBeUndefined();
  });

  it('is the option’s for everything, or none', () => {
    expect(through('https://a.example/', { ...environment, NO_PROXY: '*' }, 'http://own:4')).toBe('own:4');
    expect(through('https://a.example/', environment, false)).toBeUndefined();
  });

  it.each([
    ['*', 'https://a.example/', true],
    ['a.example', 'https://a.example/', true],
    ['.example', 'https://a.example/', true],
    ['example', 'https://a.example/', true],
    ['*.example', 'https://a.example/', true],
    ['ample', 'https://a.example/', false],
    ['b.example, A.Example', 'https://a.example/', true],
    ['a.example:443', 'https://a.example/', true],
    ['a.example:444', 'https://a.example/', false],
    ['127.0.0.1', 'https://127.0.0.1:5000/', true],
    ['0.0.1', 'https://127.0.0.1:5000/', false],
    ['::1', 'https://[::1]:5000/', true],
    ['[::1]:5000', 'https://[::1]:5000/', true],
    ['[::1]:5001', 'https://[::1]:5000/', false],
  ])('NO_PROXY=%s and %s: direct is %s', (list, url, direct) => {
    expect(through(url, { ...environment, NO_PROXY: list }) === undefined).toBe(direct);
  });

  it('that is no URL of one is an error that shows no password', () => {
    for (const bad of ['ftp://u:hidden@x', 'http://u:hidden@', 'hidden', 5, '']) {
      const refused = () => chooseProxy(bad, {});
      expect(refused).toThrow(OptionError);
      expect(refused).not.toThrow(/hidden/);
    }
  });
});
