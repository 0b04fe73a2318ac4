/** The text files that every container has: names of users, hosts and services, generated, never the host's. */

import { nameServer } from '../../network/egress/name-server.js';
import type { Step } from '../../plan/step.js';

/** The account database of `image: 'host'`, and of an image that has none. */
export const passwd = `root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
`;

export const group = `root:x:0:
daemon:x:1:
tty:x:5:
nogroup:x:65534:
`;

export const nsswitch = `passwd: files
group: files
hosts: files dns
services: files
protocols: files
`;

/** hosts(5): loopback, and the container's own name, on it where it has no other address. */
export function hosts(hostname: string, addresses: readonly string[] = ['127.0.1.1']): string {
  return `127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
${addresses.map((address) => `${address}\t${hostname}\n`).join('')}`;
}

/** resolv.conf(5) of a container without a network: no server to ask. */
export const resolvConf = '# no network, no name server\n';

/** That of one whose names are answered in this process. */
export const egressResolvConf = `nameserver ${nameServer}\n`;

/** resolv.conf(5) of a container in a network. */
export function resolvers(servers: readonly string[]): string {
  if (servers.length === 0) return '# no name server that can be reached from here\n';
  return servers.map((server) => `nameserver ${server}\n`).join('');
}

/** Written into the container's own upper directory, in place of whatever the image has there, links included (K8). */
export function textFile(path: string, content: string, existing: 'replace' | 'keep'): Step {
  return { kind: 'writeFile', under: 'root', path, mode: 0o644, existing, content };
}

/** For an image that has no account database of its own. */
export const accountFiles: readonly Step[] = [
  textFile('etc/passwd', passwd, 'keep'),
  textFile('etc/group', group, 'keep'),
];
