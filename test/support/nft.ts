/** nft(8) as a witness: what it shows of a network namespace, and rules that it writes there. */

import { spawnSync } from 'node:child_process';
import { Namespace } from '../../lib/index.js';
import type { Descriptor } from '../../lib/launcher/native.js';

/** A network namespace that this process may change: as an ordinary user in a user namespace of its own. */
export function makeNetwork(): Promise<Namespace> {
  return Namespace.create(process.geteuid?.() === 0 ? 'net' : ['user', 'net']);
}

/** Runs a program in the namespaces, and gives its output. */
export function runIn(namespace: Namespace, argv: readonly string[], input?: string): string {
  const at = (descriptor: Descriptor) => `/proc/${process.pid}/fd/${descriptor.number}`;
  const enter = namespace.kinds.map((kind) => `--${kind}=${at(namespace.descriptor(kind))}`);
  const options = namespace.kinds.includes('user') ? ['--preserve-credentials'] : [];
  const { status, stdout, stderr, error } = spawnSync('nsenter', [...enter, ...options, ...argv], {
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
    ...(input !== undefined && { input }),
    env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
  });
  if (status !== 0) throw new Error(`${argv.join(' ')}: ${error?.message ?? stderr}`);
  return stdout;
}

/** What nft shows, as text. */
export function nftText(namespace: Namespace): string {
  return runIn(namespace, ['nft', 'list', 'ruleset']);
}

/** Rules as nft reads them. */
export function nftLoad(namespace: Namespace, text: string): void {
  runIn(namespace, ['nft', '-f', '-'], text);
}
