/** The same work done by other programs: `/bin/true` in all namespaces, with the host's /usr, started from Node. */

import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Contender, duration } from './measure.js';
import { spawned } from './programs.js';

export type Peer = Contender | { readonly name: string; readonly absent: string };

const bwrapArguments = ['--unshare-all', '--ro-bind', '/', '/', '--proc', '/proc', '--dev', '/dev', '/bin/true'];

/** Options of an OCI runtime, tried in this order: on a hybrid cgroup host not every manager works. */
const runtimes = [
  { name: 'crun', options: [[], ['--cgroup-manager=cgroupfs'], ['--cgroup-manager=disabled']] },
  { name: 'runc', options: [[]] },
] as const;

/** Peers that are installed and work here, the others with the reason. `close` removes the bundle. */
export async function openPeers(): Promise<{ peers: Peer[]; close(): void }> {
  const peers: Peer[] = [await bwrap()];
  const directory = makeBundle();
  for (const { name, options } of runtimes) peers.push(await runtime(name, options, directory));
  return { peers, close: () => rmSync(directory, { recursive: true, force: true }) };
}

async function bwrap(): Promise<Peer> {
  const name = 'bwrap --unshare-all';
  if (!installed('bwrap')) return { name, absent: 'not installed' };
  const run = () => spawned('bwrap', bwrapArguments);
  const refused = await failure(run);
  return refused === undefined ? { name, sample: () => duration(run) } : { name, absent: refused };
}

async function runtime(name: string, options: readonly (readonly string[])[], bundle: string): Promise<Peer> {
  if (!installed(name)) return { name: `${name} run`, absent: 'not installed' };
  let count = 0;
  let reason = '';
  for (const flags of options) {
    const run = () => spawned(name, [...flags, 'run', '--bundle', bundle, `bench-${process.pid}-${++count}`]);
    const refused = await failure(run);
    if (refused === undefined) return { name: [name, ...flags, 'run'].join(' '), sample: () => duration(run) };
    reason = refused;
  }
  return { name: `${name} run`, absent: reason };
}

function installed(program: string): boolean {
  try {
    execFileSync(program, ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

async function failure(run: () => Promise<void>): Promise<string | undefined> {
  try {
    await run();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message.slice(-100).trim() : String(error);
  }
}

/** An OCI bundle with what our default container has: namespaces, id map, /dev, masks, the host's /usr. */
function makeBundle(): string {
  const directory = mkdtempSync(join(tmpdir(), 'tscontain-bench-'));
  // The container's root, an unknown user to the host, must get through.
  chmodSync(directory, 0o755);
  const root = join(directory, 'rootfs');
  for (const path of ['usr', 'proc', 'sys', 'dev', 'etc', 'tmp']) mkdirSync(join(root, path), { recursive: true });
  for (const path of ['bin', 'sbin', 'lib', 'lib64']) symlinkSync(`usr/${path}`, join(root, path));
  writeFileSync(join(directory, 'config.json'), JSON.stringify(configuration(), undefined, 2));
  return directory;
}

function configuration() {
  const kernelOnly = ['nosuid', 'noexec', 'nodev'];
  const map = [{ containerID: 0, hostID: 2_000_000_000, size: 65_536 }];
  return {
    ociVersion: '1.0.2',
    process: {
      user: { uid: 0, gid: 0 },
      args: ['/bin/true'],
      env: ['PATH=/usr/bin:/bin'],
      cwd: '/',
      noNewPrivileges: true,
    },
    root: { path: 'rootfs', readonly: true },
    hostname: 'bench',
    mounts: [
      { destination: '/usr', type: 'bind', source: '/usr', options: ['rbind', 'ro', 'nosuid', 'nodev'] },
      { destination: '/proc', type: 'proc', source: 'proc', options: kernelOnly },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755', 'size=65536k'] },
      { destination: '/dev/pts', type: 'devpts', source: 'devpts', options: ['nosuid', 'noexec', 'newinstance'] },
      { destination: '/dev/shm', type: 'tmpfs', source: 'shm', options: [...kernelOnly, 'mode=1777', 'size=65536k'] },
      { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: kernelOnly },
      { destination: '/sys', type: 'sysfs', source: 'sysfs', options: [...kernelOnly, 'ro'] },
    ],
    linux: {
      namespaces: ['pid', 'network', 'ipc', 'uts', 'mount', 'cgroup', 'user'].map((type) => ({ type })),
      uidMappings: map,
      gidMappings: map,
      maskedPaths: ['/proc/acpi', '/proc/kcore', '/proc/keys', '/proc/timer_list', '/proc/scsi', '/sys/firmware'],
      readonlyPaths: ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'],
    },
  };
}
