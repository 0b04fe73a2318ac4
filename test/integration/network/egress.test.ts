/** Outgoing connections of real programs, decided in this process; servers are on this machine's loopback. */

import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import {
  Container,
  type DeniedEgress,
  type EgressConnection,
  type EgressPolicy,
  type EgressRecord,
} from '../../../lib/index.js';
import { fetchInside, nameServer, serve } from '../../support/egress.js';
import { needsPrograms } from '../../support/requirements.js';
import { checkResidue } from '../../support/residue.js';

checkResidue();

const local = { hosts: { 'api.test': '127.0.0.1' } };

function withEgress(egress: EgressPolicy): Promise<Container> {
  return Container.create({ network: { egress } });
}

function refusals(box: Container): DeniedEgress[] {
  const list: DeniedEgress[] = [];
  box.on('denied', (refusal) => {
    if (refusal.kind !== undefined) list.push(refusal);
  });
  return list;
}

describe('rules', () => {
  it('let a name and a port through, and nothing else', async () => {
    await using api = await serve();
    await using other = await serve();
    await using box = await withEgress({ allow: [`api.test:${api.port}`], dns: local });
    const denied = refusals(box);
    expect(await fetchInside(box, 'api.test', api.port)).toBe('hello');
    expect(denied).toEqual([]);
    expect(await fetchInside(box, 'api.test', other.port)).toBe('ECONNRESET');
    expect(await fetchInside(box, 'other.test', api.port)).toBe('EAI');
    expect(await fetchInside(box, '192.0.2.1', api.port)).toBe('ECONNRESET');
    expect(await fetchInside(box, '2001:db8::1', api.port)).toBe('ECONNRESET');
    expect(other.accepted).toHaveLength(0);
    const seen = denied.map(({ kind, reason, name, address, port }) => [kind, reason, name ?? address, port]);
    expect(seen.filter(([kind]) => kind === 'connection')).toEqual([
      ['connection', 'not-allowed', 'api.test', other.port],
      ['connection', 'not-allowed', '192.0.2.1', api.port],
      ['connection', 'not-allowed', '2001:db8::1', api.port],
    ]);
    expect(seen.filter(([kind]) => kind === 'name')).toContainEqual(['name', 'not-allowed', 'other.test', undefined]);
  });

  it('are kept for every program: curl, fetch of Node, urllib of Python', async (context) => {
    needsPrograms(context, 'curl', 'python3');
    const http = createHttpServer((request, response) => response.end(`hello ${request.headers.host}`));
    http.listen(0, '127.0.0.1');
    await once(http, 'listening');
    try {
      const { port } = http.address() as { port: number };
      const url = `http://api.test:${port}/`;
      await using box = await withEgress({ allow: ['*.test'], deny: ['evil.test'], dns: local });
      const programs = (to: string): [string, ...string[]][] => [
        ['curl', '-sS', to],
        ['node', '-e', `fetch('${to}').then((r) => r.text()).then(console.log)`],
        ['python3', '-c', `import urllib.request as u; print(u.urlopen('${to}').read().decode())`],
      ];
      for (const argv of programs(url)) {
        expect((await box.exec(argv)).stdout.trim(), argv[0]).toBe(`hello api.test:${port}`);
      }
      for (const argv of programs(`http://evil.test:${port}/`)) {
        const { stdout, exitCode } = await box.exec(argv);
        expect([stdout, exitCode === 0], argv[0]).toEqual(['', false]);
      }
    } finally {
      http.close();
      http.closeAllConnections();
    }
  });

  it('ask the name server that was given, and keep its answer for as long as it says', async () => {
    await using api = await serve();
    await using dns = await nameServer({ 'api.test': ['127.0.0.1'] }, 1);
    const egress = { allow: ['api.test', '127.0.0.1'], dns: { servers: [dns.address] } };
    await using box = await withEgress(egress);
    expect(await fetchInside(box, 'api.test', api.port)).toBe('hello');
    const asked = dns.asked.length;
    expect(asked).toBe(2); // A and AAAA, once for what was asked and what was connected to
    await sleep(1100);
    expect(await fetchInside(box, 'api.test', api.port)).toBe('hello');
    expect(dns.asked.length).toBe(asked * 2);
    expect(await fetchInside(box, 'unknown.api.test', api.port)).toBe('EAI');
    expect(dns.asked.length).toBe(asked * 2);
  });

  it('refuse datagrams and pings, with an error at once', async () => {
    await using box = await withEgress({ allow: ['0.0.0.0/0', '::/0', '*'] });
    const code = `
import socket, errno
for family, to in ((socket.AF_INET, '192.0.2.1'), (socket.AF_INET6, '2001:db8::1')):
    s = socket.socket(family, socket.SOCK_DGRAM)
    try: s.sendto(b'x', (to, 53)); print('sent')
    except OSError as e: print(errno.errorcode[e.errno])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); r = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
r.bind(('127.0.0.1', 0)); s.sendto(b'own loopback', r.getsockname()); print(r.recv(99).decode())
`;
    expect((await box.exec(['python3', '-c', code])).stdout.split('\n').slice(0, 3)).toEqual([
      'EPERM',
      'EPERM',
      'own loopback',
    ]);
  });

  it('are replaced while it runs; connections that are open stay, or are ended', async () => {
    await using api = await serve((socket) => socket.pipe(socket));
    await using box = await withEgress({ allow: [] });
    const denied = refusals(box);
    expect(await fetchInside(box, 'api.test', api.port)).toBe('EAI');
    const echo = `
import socket, sys
s = socket.create_connection(('api.test', ${api.port}))
for line in sys.stdin:
    s.sendall(line.encode())
    got = s.recv(99).decode()
    print(got.strip() or 'end', flush=True)
`;
    box.egress?.update({ allow: ['api.test'], dns: local });
    const program = box.exec(['python3', '-c', echo], { stdin: 'pipe', stdout: 'pipe' });
    const lines = program.stdout?.[Symbol.asyncIterator]();
    const said = async (text: string) => {
      program.stdin?.write(`${text}\n`);
      return String((await lines?.next())?.value).trim();
    };
    expect(await said('one')).toBe('one');
    box.egress?.update({ allow: [] });
    expect(await said('two')).toBe('two');
    expect(box.egress?.stats()).toMatchObject({ open: 1, connections: 1 });
    box.egress?.update({ allow: [] }, { reset: true });
    program.stdin?.write('three\n');
    expect(await program).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('ConnectionResetError') });
    expect(box.egress?.stats()).toMatchObject({ open: 0, sent: 8, received: 8 });
    expect(denied.every(({ kind }) => kind === 'name')).toBe(true);
    expect(() => box.egress?.update({ allow: ['http://a'] })).toThrow('option policy.allow[0]');
  });
});

describe('a function', () => {
  it('decides each connection: let through, refused, or led to a host, a socket or another function', async () => {
    await using api = await serve();
    const directory = await mkdtemp(join(tmpdir(), 'egress-'));
    const unix = createServer((socket) => socket.resume().end('by a path'));
    unix.listen(join(directory, 's'));
    await once(unix, 'listening');
    try {
      const seen: EgressConnection[] = [];
      await using box = await withEgress({
        dns: local,
        decide: async (connection) => {
          seen.push(connection);
          await sleep(1);
          switch (connection.name) {
            case 'api.test':
              return 'allow';
            case 'elsewhere.internal':
              return { connect: { host: '127.0.0.1', port: api.port } };
            case 'path.internal':
              return { connect: { unix: join(directory, 's') } };
            case 'mock.internal':
              return { connect: (stream, { name, port }) => stream.resume() && stream.end(`${name}:${port}`) };
            case 'broken.internal':
              throw new Error('no idea');
            case 'wrong.internal':
              return { connect: {} } as never;
            default:
              return 'deny';
          }
        },
      });
      const denied = refusals(box);
      expect(await fetchInside(box, 'api.test', api.port)).toBe('hello');
      expect(await fetchInside(box, 'elsewhere.internal', 1)).toBe('hello');
      expect(await fetchInside(box, 'path.internal', 2)).toBe('by a path');
      expect(await fetchInside(box, 'mock.internal', 3)).toBe('mock.internal:3');
      expect(denied).toEqual([]);
      for (const name of ['refused.internal', 'broken.internal', 'wrong.internal', '192.0.2.7']) {
        expect(await fetchInside(box, name, 4)).toBe('ECONNRESET');
      }
      expect(denied.map(({ reason, name, address }) => [reason, name ?? address])).toEqual([
        ['decided', 'refused.internal'],
        ['failed', 'broken.internal'],
        ['failed', 'wrong.internal'],
        ['decided', '192.0.2.7'],
      ]);
      expect(String(denied[1]?.error)).toContain('no idea');
      expect(String(denied[2]?.error)).toContain('option decide');
      expect(seen.map(({ id, family, port }) => [id, family, port]).slice(0, 2)).toEqual([
        [1, 'ipv4', api.port],
        [2, 'ipv4', 1],
      ]);
    } finally {
      unix.close();
      await rm(directory, { recursive: true });
    }
  });

  it('that serves a connection gets its bytes as from any stream: by events, by iteration, late', async () => {
    await using box = await withEgress(({ name }) => ({
      connect: async (stream) => {
        if (name === 'events.test') stream.once('data', (chunk) => stream.end(`got ${chunk}`));
        if (name === 'late.test') await sleep(50);
        if (name !== 'events.test') for await (const chunk of stream) stream.end(`got ${chunk}`);
      },
    }));
    const code = `
import socket
for name in ('events.test', 'iteration.test', 'late.test'):
    s = socket.create_connection((name, 1)); s.sendall(b'bytes'); s.shutdown(socket.SHUT_WR); print(s.makefile().read())`;
    const { stdout } = await box.exec(['python3', '-c', code], { timeout: '10s' });
    expect(stdout).toBe('got bytes\n'.repeat(3));
  });

  it('is all that knows of a name until it allows it: nobody is asked before', async () => {
    await using dns = await nameServer({ 'ok.test': ['127.0.0.1'] });
    const decide = ({ name }: EgressConnection) => (name === 'ok.test' ? 'allow' : 'deny');
    await using box = await withEgress({ decide, dns: { servers: [dns.address] } });
    expect(await fetchInside(box, 'c2VjcmV0.attacker.test', 80)).toBe('ECONNRESET');
    expect(dns.asked).toEqual([]);
    await fetchInside(box, 'ok.test', 80);
    expect(dns.asked).toEqual(['ok.test', 'ok.test']);
  });
});

describe('a connection', () => {
  it('ends each direction by itself, and carries what was sent whole', async () => {
    const size = 20_000_000;
    let got = 0;
    await using api = await serve((socket) => {
      socket.on('data', (chunk) => {
        got += chunk.length;
      });
      socket.on('end', () => socket.end(`${got} bytes`));
    });
    await using box = await withEgress({ allow: ['api.test'], dns: local });
    const closed = new Promise<EgressRecord>((resolve) => box.egress?.once('close', resolve));
    const code = `
import socket
s = socket.create_connection(('api.test', ${api.port}))
s.sendall(b'x' * ${size}); s.shutdown(socket.SHUT_WR)
print(s.makefile().read())`;
    expect((await box.exec(['python3', '-c', code])).stdout.trim()).toBe(`${size} bytes`);
    const { to, sent, received, error } = await closed;
    expect([to, sent, received, error]).toEqual([`127.0.0.1:${api.port}`, size, `${size} bytes`.length, undefined]);
  });

  it('is read no faster than the other side takes it', async () => {
    await using api = await serve((socket) => socket.pause());
    await using box = await withEgress({ allow: ['api.test'], dns: local });
    const code = `
import socket
s = socket.create_connection(('api.test', ${api.port}))
s.settimeout(1)
sent = 0
try:
    while sent < 10**9: sent += s.send(b'x' * 65536)
except TimeoutError: pass
print(sent)`;
    const sent = Number((await box.exec(['python3', '-c', code])).stdout);
    expect(sent).toBeGreaterThan(65536);
    expect(sent).toBeLessThan(64 * 2 ** 20);
  });

  it('is reset where the server resets it, and where nobody listens', async () => {
    await using api = await serve((socket) => socket.once('data', () => socket.resetAndDestroy()));
    await using box = await withEgress({ allow: ['api.test'], dns: local });
    const code = `
import socket
s = socket.create_connection(('api.test', ${api.port}))
s.sendall(b'x')
try: print(s.recv(9))
except ConnectionResetError: print('reset')`;
    expect((await box.exec(['python3', '-c', code])).stdout.trim()).toBe('reset');
    const { port } = await serve().then(async (gone) => {
      await gone[Symbol.asyncDispose]();
      return gone;
    });
    const closed = new Promise<EgressRecord>((resolve) => box.egress?.once('close', resolve));
    expect(await fetchInside(box, 'api.test', port)).toBe('ECONNRESET');
    expect(String((await closed).error)).toContain('ECONNREFUSED');
  });

  it('ends with the container, on both sides', async () => {
    await using api = await serve((socket) => socket.resume().on('end', () => socket.end()));
    const box = await withEgress({ allow: ['api.test'], dns: local });
    const code = `import socket, time; s = socket.create_connection(('api.test', ${api.port})); time.sleep(60)`;
    const running = box.exec(['python3', '-c', code]);
    await new Promise((resolve) => box.egress?.once('open', resolve));
    await expect.poll(() => api.accepted.length).toBe(1);
    const [outer] = api.accepted;
    const ended = outer && once(outer, 'close');
    await box.kill();
    await running.catch(() => {});
    await ended;
    expect(outer?.destroyed).toBe(true);
  });

  it('leaves nothing: after a thousand of them there are as many descriptors as before', async () => {
    await using api = await serve();
    await using box = await withEgress({ allow: ['api.test'], dns: local });
    const many = (count: number) => `
import socket
for i in range(${count}):
    s = socket.create_connection(('api.test', ${api.port}))
    assert s.recv(99) == b'hello' and s.recv(99) == b''
    s.close()`;
    const settled = async () => {
      await expect.poll(() => box.egress?.stats().open).toBe(0);
      for (const socket of api.accepted.splice(0)) socket.destroy();
      await sleep(50);
      return readdirSync('/proc/self/fd').length;
    };
    await box.exec(['python3', '-c', many(10)], { check: true });
    const before = await settled();
    await box.exec(['python3', '-c', many(1000)], { check: true });
    expect(await settled()).toBeLessThanOrEqual(before);
    expect(box.egress?.stats()).toMatchObject({
      connections: 1010,
      received: 5050,
      destinations: [{ host: 'api.test' }],
    });
  }, 60_000);

  it('is refused beyond the limit of open ones', async () => {
    await using api = await serve((socket) => socket.resume().write('hello'));
    await using box = await withEgress({ allow: ['api.test'], dns: local, connections: 4 });
    const denied = refusals(box);
    const code = `
import socket
list = [socket.create_connection(('api.test', ${api.port})) for i in range(4)]
print(all(s.recv(9) == b'hello' for s in list))
try: print(socket.create_connection(('api.test', ${api.port})).recv(9))
except ConnectionResetError: print('reset')`;
    expect((await box.exec(['python3', '-c', code])).stdout.split('\n')).toMatchObject(['True', 'reset', '']);
    expect(denied.map(({ reason }) => reason)).toEqual(['limit']);
  });
});

describe('a container with egress', () => {
  it('for one program has its network before the program starts, and tells of refusals', async () => {
    await using api = await serve();
    const denied: DeniedEgress[] = [];
    const egress = { allow: ['api.test'], dns: local, onDenied: (refusal: DeniedEgress) => void denied.push(refusal) };
    const code = `import socket; print(socket.create_connection(('api.test', ${api.port})).recv(9)); socket.getaddrinfo('b.test', 1)`;
    const result = await Container.run(['python3', '-c', code], { network: { egress } });
    expect(result).toMatchObject({ stdout: "b'hello'\n", exitCode: 1 });
    expect(denied[0]).toMatchObject({ kind: 'name', name: 'b.test', reason: 'not-allowed' });
  });

  it('answers names over TCP too, and nobody can stand in for it', async () => {
    await using box = await withEgress({ decide: () => 'deny' });
    const code = `
import socket, struct
query = b'\\x12\\x34\\x01\\0\\0\\x01\\0\\0\\0\\0\\0\\0\\x04name\\x04test\\0\\0\\x01\\0\\x01'
s = socket.create_connection(('127.0.0.11', 53))
s.sendall(struct.pack('>H', len(query)) + query)
size, = struct.unpack('>H', s.recv(2))
answer = s.recv(size)
print(answer[:2].hex(), answer[3] & 15, socket.inet_ntoa(answer[-4:]))
for port in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
    try: socket.socket(socket.AF_INET, port).bind(('127.0.0.11', 53)); print('bound')
    except OSError as e: print(e.strerror)`;
    const { stdout } = await box.exec(['python3', '-c', code]);
    expect(stdout.split('\n')).toEqual([
      expect.stringMatching(/^1234 0 198\.1[89]\.\d+\.\d+$/),
      'Address already in use',
      'Address already in use',
      '',
    ]);
  });

  it('has nothing more than another one', async () => {
    await using box = await withEgress({ allow: ['*'] });
    expect(box.inspect().relaxations.filter((one) => !one.startsWith('ids:'))).toEqual([]);
    await using none = await Container.create();
    expect(none.egress).toBeUndefined();
    const argv = ['python3', '-c', 'import socket; print(socket.if_nameindex())'] as const;
    expect((await box.exec(argv)).stdout).toBe((await none.exec(argv)).stdout);
  });
});
