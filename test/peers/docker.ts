/**
 * Docker's own daemon, with all that it has in a directory of its own, without networks: it keeps images and does not run
 * anything here. Installed, or from packages that docker.sh has unpacked.
 */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { images, takesOverlays } from './peers.js';

export class Docker {
  private constructor(
    readonly socket: string,
    readonly daemon: ChildProcess,
    readonly path: string,
  ) {}

  /** @param directory empty */
  static async start(directory: string): Promise<Docker> {
    const unpacked = resolve(images, 'docker/usr');
    const path = `${process.env.PATH}:/usr/sbin:${unpacked}/bin:${unpacked}/sbin`;
    const socket = `${directory}/socket`;
    const log = openSync(`${directory}/log`, 'w');
    const driver = takesOverlays(directory) ? 'overlay2' : 'vfs';
    const places = [`--data-root=${directory}/data`, `--exec-root=${directory}/exec`, `--pidfile=${directory}/pid`];
    // Nothing of the machine's own network is changed.
    const options = [
      '--iptables=false',
      '--ip-forward=false',
      '--bridge=none',
      `--storage-driver=${driver}`,
      '-H',
      `unix://${socket}`,
    ];
    const env = { ...process.env, PATH: path };
    const daemon = spawn('dockerd', [...options, ...places], { env, stdio: ['ignore', log, log] });
    closeSync(log);
    const docker = new Docker(socket, daemon, path);
    for (let attempt = 0; attempt < 300; attempt++) {
      try {
        docker.run('version');
        return docker;
      } catch {
        if (daemon.exitCode !== null) break;
        await sleep(100);
      }
    }
    await docker.stop();
    throw new Error(`dockerd does not answer: ${readFileSync(`${directory}/log`, 'utf8').slice(-2000)}`);
  }

  /** A command of `docker`. */
  run(...argv: readonly string[]): string {
    const env = { ...process.env, PATH: this.path };
    return execFileSync('docker', ['-H', `unix://${this.socket}`, ...argv], {
      env,
      encoding: 'utf8',
      maxBuffer: 2 ** 26,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  async stop(): Promise<void> {
    if (this.daemon.exitCode !== null || this.daemon.signalCode !== null) return;
    const ended = once(this.daemon, 'exit');
    this.daemon.kill();
    await ended;
  }
}
