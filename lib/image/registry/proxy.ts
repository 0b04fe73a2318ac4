/** Which proxy a request goes through: an option, or the variables that other programs read (curl(1), "ENVIRONMENT"). */

import { isIP } from 'node:net';
import { OptionError } from '../../errors.js';

/** Gives the proxy for an address, or none. */
export type ProxyChoice = (url: URL) => URL | undefined;

/**
 * @param option a proxy for everything, `false` for none, and undefined for what the environment says
 * @throws OptionError naming `proxy`, or the variable
 */
export function chooseProxy(option: unknown, environment: NodeJS.ProcessEnv = process.env): ProxyChoice {
  if (option === false) return () => undefined;
  if (option !== undefined) {
    const proxy = parseProxy(option, 'proxy');
    return () => proxy;
  }
  const variable = (name: string): URL | undefined => {
    const value = environment[name.toLowerCase()] || environment[name];
    return value ? parseProxy(value.includes('://') ? value : `http://${value}`, name) : undefined;
  };
  // In a CGI program HTTP_PROXY is a header of the client's (CVE-2016-5385).
  const http = environment.REQUEST_METHOD ? undefined : variable('HTTP_PROXY');
  const https = variable('HTTPS_PROXY');
  const direct = (environment.no_proxy || environment.NO_PROXY || '').split(/[\s,]+/).filter((entry) => entry !== '');
  return (url) => {
    const proxy = url.protocol === 'https:' ? https : http;
    return proxy === undefined || goesDirect(url, direct) ? undefined : proxy;
  };
}

/** Whether an entry of NO_PROXY names the host: `*`, a domain with all below it, an address, each with or without a port. */
function goesDirect(url: URL, entries: readonly string[]): boolean {
  const host = bare(url.hostname);
  const port = url.port || (url.protocol === 'https:' ? '443' : '80');
  return entries.some((entry) => {
    if (entry === '*') return true;
    const match = /^(\[[^\]]+\]|[^:]+|[0-9a-f:]+:[0-9a-f:]*)(?::(\d+))?$/i.exec(entry.toLowerCase());
    if (!match || (match[2] !== undefined && match[2] !== port)) return false;
    const name = bare(match[1] ?? '').replace(/^\*?\./, '');
    return host === name || (isIP(host) === 0 && host.endsWith(`.${name}`));
  });
}

function bare(host: string): string {
  return host
    .toLowerCase()
    .replace(/^\[|\]$/g, '')
    .replace(/\.$/, '');
}

function parseProxy(value: unknown, option: string): URL {
  const expected = "the URL of a proxy, such as 'http://proxy.example:3128'";
  let url: URL;
  try {
    url = new URL(typeof value === 'string' ? value : '');
  } catch {
    // What came may hold a password.
    throw new OptionError(option, expected, typeof value === 'string' ? '<redacted>' : value);
  }
  if ((url.protocol !== 'http:' && url.protocol !== 'https:') || url.hostname === '') {
    throw new OptionError(option, expected, `${url.protocol}//…`);
  }
  return url;
}
