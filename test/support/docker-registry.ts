/** The registry that others use, Debian's package docker-registry: on loopback, with its files in a directory of its own. */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface DockerRegistryOptions {
  readonly tls?: boolean;
  readonly login?: { readonly username: string; readonly password: string };
}

export class DockerRegistry {
  private constructor(
    readonly host: string,
    readonly directory: string,
    readonly process: ChildProcess,
    /** The certificate, with TLS. */
    readonly ca: string | undefined,
  ) {}

  static async start({ tls = false, login }: DockerRegistryOptions = {}): Promise<DockerRegistry> {
    const directory = mkdtempSync(join(tmpdir(), 'tscontain-registry-'));
    const port = await freePort();
    const [key, cert, users] = ['key.pem', 'cert.pem', 'htpasswd'].map((name) => join(directory, name));
    if (tls) {
      const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
      const subject = ['-subj', '/CN=test', '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '2'];
      const files = ['-keyout', key ?? '', '-out', cert ?? ''];
      execFileSync('openssl', [...request, ...subject, ...files], { stdio: 'ignore' });
    }
    if (login) {
      const line = execFileSync('htpasswd', ['-Bbn', login.username, login.password], { encoding: 'utf8' });
      writeFileSync(users ?? '', line);
    }
    const configuration = {
      version: '0.1',
      log: { level: 'error' },
      storage: { filesystem: { rootdirectory: join(directory, 'data') }, delete: { enabled: true } },
      http: { addr: `127.0.0.1:${port}`, ...(tls && { tls: { certificate: cert, key } }) },
      ...(login && { auth: { htpasswd: { realm: 'test', path: users } } }),
    };
    // YAML is a superset of JSON.
    const file = join(directory, 'config.yml');
    writeFileSync(file, JSON.stringify(configuration));
    const log = openSync(join(directory, 'log'), 'w');
    const program = spawn('docker-registry', ['serve', file], { stdio: ['ignore', log, log] });
    closeSync(log);
    const ca = tls ? readFileSync(cert ?? '', 'utf8') : undefined;
    const registry = new DockerRegistry(`127.0.0.1:${port}`, directory, program, ca);
    try {
      await registry.#listening(port);
    } catch (error) {
      await registry.stop();
      throw error;
    }
    return registry;
  }

  async #listening(port: number): Promise<void> {
    for (let attempt = 0; attempt < 200; attempt++) {
      if (this.process.exitCode !== null) throw new Error(`docker-registry ended with ${this.process.exitCode}`);
      const socket = connect(port, '127.0.0.1');
      const there = await Promise.race([
        once(socket, 'connect').then(() => true),
        once(socket, 'close').then(() => false),
      ]).catch(() => false);
      socket.destroy();
      if (there) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error('docker-registry does not listen after ten seconds');
  }

  /** What it was asked, and how it has answered: `POST /v2/a/blobs/uploads/?… 201`. */
  get log(): string[] {
    const lines = readFileSync(join(this.directory, 'log'), 'utf8').split('\n');
    return lines.flatMap((line) => {
      const [, request, status] = /"([A-Z]+ \S+) HTTP\/[\d.]+" (\d{3}) /.exec(line) ?? [];
      return request === undefined ? [] : [`${request} ${status}`];
    });
  }

  async stop(): Promise<void> {
    if (this.process.exitCode === null && this.process.signalCode === null) {
      const ended = once(this.process, 'exit');
      this.process.kill();
      await ended;
    }
    rmSync(this.directory, { recursive: true, force: true });
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
