/**
 * Egress: a script that nobody trusts, which may reach one host and nothing else, and each refusal as it happens; then the same
 * script with a function in the place of the host. Servers are this process's own, on its loopback.
 */

import { once } from 'node:events';
import { createServer } from 'node:http';
import { Container, type DeniedEgress } from 'tscontain';
import { example, show } from './show.js';

/** Tries what a script might try, and says how each went. */
const script = `
import sys, urllib.request
for name, url in zip(sys.argv[1::2], sys.argv[2::2]):
    try: print(name, 'got', urllib.request.urlopen(url, timeout=5).read().decode())
    except Exception as e: print(name, 'failed:', getattr(e, 'reason', e))
`;

await example(async () => {
  const server = createServer((request, response) => response.end(`hello from ${request.headers.host?.split(':')[0]}`));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const urls = {
    api: `http://api.example.com:${port}/`,
    elsewhere: 'http://evil.example.com/?secret=42',
    metadata: 'http://169.254.169.254/latest/meta-data/',
    direct: 'http://192.0.2.1/',
  };
  const nameOf = ({ name, address }: DeniedEgress) =>
    Object.entries(urls).find(([, url]) => url.includes(name ?? address ?? '?'))?.[0];

  await using box = await Container.create({
    network: {
      egress: { allow: [`api.example.com:${port}`], dns: { hosts: { 'api.example.com': '127.0.0.1' } } },
    },
  });
  box.egress?.on('denied', (refusal) => show('refused', `${nameOf(refusal)}: ${refusal.reason}`));
  box.egress?.on('close', ({ connection, to, sent, received }) =>
    show('connection', `${connection.name} at ${to}: ${sent} bytes out, ${received} in`),
  );
  const argv = ['python3', '-c', script, ...Object.entries(urls).flat()] as const;
  show('inside', (await box.exec(argv)).stdout.trim().replaceAll('\n', '; '));

  // From now on a function decides, and serves one of the names itself.
  box.egress?.update(({ name }) =>
    name === 'api.example.com'
      ? { connect: (stream) => stream.once('data', () => stream.end('HTTP/1.0 200 OK\r\n\r\nmocked')) }
      : 'deny',
  );
  show('with a function', (await box.exec(argv)).stdout.trim().split('\n')[0] ?? '');
  const { connections, denied } = box.egress?.stats() ?? {};
  show('in all', `${connections} connections, ${denied} refusals`);
  server.close();
});
