/** Credential helpers: programs that are asked only where the caller has said so. */

import { chmodSync, existsSync, readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { pullImage } from '../../../lib/image/registry/pull.js';
import { readRegistryOptions } from '../../../lib/image/registry/settings.js';
import { parseReference, type RegistryOptions } from '../../../lib/index.js';
import { TemporaryDirectory } from '../../support/layout.js';
import { MemoryStore, makeImage, serveImage, TestServer } from '../../support/registry.js';
import { checkResidue } from '../../support/residue.js';

checkResidue();

const image = makeImage([Buffer.alloc(1000, 'layer')]);
const basic = `Basic ${Buffer.from('me:hidden-word').toString('base64')}`;

let temporary: TemporaryDirectory;
let server: TestServer;
let path: string | undefined;

beforeEach(async () => {
  temporary = new TemporaryDirectory();
  path = process.env.PATH;
  process.env.PATH = `${temporary.at('bin')}:${path}`;
  server = await TestServer.start((request, response, body) => {
    if (request.headers.authorization === basic) return serveImage(image)(request, response, body);
    response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
  });
});
afterEach(async () => {
  process.env.PATH = path;
  await server.close();
  temporary.dispose();
});

/** Writes a helper, and a configuration that names it. */
function configure(script: string, configuration: (host: string) => object): string {
  chmodSync(temporary.write('bin/docker-credential-test', `#!/bin/sh\n${script}\n`), 0o755);
  return temporary.write('config.json', JSON.stringify(configuration(server.host)));
}

async function pull(configFile: string, options: RegistryOptions = {}, signal?: AbortSignal) {
  const registry = readRegistryOptions({ configFile, proxy: false, insecure: [server.host], retries: 0, ...options });
  const platform = { os: 'linux', architecture: 'amd64' };
  const store = new MemoryStore();
  const settings = { platform, registry, signal, onProgress: undefined };
  await pullImage(parseReference(`${server.host}/a:1`), store, settings);
  return store;
}

const store = () => ({ credsStore: 'test' });
const answering = (answer: object) => `cat > "$(dirname "$0")/asked"; echo "$1" >> "$(dirname "$0")/asked"
cat <<'END'
${JSON.stringify(answer)}
END`;
const good = answering({ ServerURL: 'x', Username: 'me', Secret: 'hidden-word' });

describe('a credential helper', () => {
  it.each([
    ['of one registry', (host: string) => ({ credHelpers: { [host]: 'test' }, credsStore: 'none-of-this-name' })],
    ['of all', store],
  ])('%s is asked once for the host, where that is allowed', async (_which, configuration) => {
    const file = configure(good, configuration);
    expect((await pull(file, { credentialHelpers: true })).blobs.size).toBe(3);
    expect(readFileSync(temporary.at('bin/asked'), 'utf8')).toBe(`${server.host}\nget\n`);
  });

  it('is not run where nobody has said so', async () => {
    const file = configure(good, store);
    for (const options of [{}, { credentialHelpers: false }]) {
      await expect(pull(file, options)).rejects.toMatchObject({ code: 'ERR_UNAUTHORIZED' });
    }
    expect(existsSync(temporary.at('bin/asked'))).toBe(false);
    expect(() => readRegistryOptions({ credentialHelpers: 'yes' })).toThrow(/credentialHelpers/);
  });

  it('that has none leaves it to the file', async () => {
    const auth = Buffer.from('me:hidden-word').toString('base64');
    const script = 'echo "credentials not found in native keychain"; exit 1';
    const file = configure(script, (host) => ({ credsStore: 'test', auths: { [host]: { auth } } }));
    expect((await pull(file, { credentialHelpers: true })).blobs.size).toBe(3);
  });

  it.each([
    ['fails', 'echo hidden-word; echo hidden-word >&2; exit 3', /ended with status 3/],
    ['writes something else', 'echo hidden-word', /no name and secret/],
    ['writes without end', 'yes hidden-word', /output-limit/],
    ['names nobody', answering({ Username: 'a:b', Secret: 'hidden-word' }), /no name and secret/],
  ])('that %s is an error, which shows none of it', async (_what, script, message) => {
    const failure: unknown = await pull(configure(script, store), { credentialHelpers: true }).catch((error) => error);
    expect(failure).toMatchObject({ code: 'ERR_CONFIG', message: expect.stringMatching(message) });
    expect(`${JSON.stringify(failure)} ${failure}`).not.toContain('hidden-word');
  });

  it('that is not there, or has no name of one, is an error', async () => {
    const missing = configure(good, () => ({ credsStore: 'none-of-this-name' }));
    await expect(pull(missing, { credentialHelpers: true })).rejects.toMatchObject({
      code: 'ERR_CONFIG',
      message: expect.stringMatching(/docker-credential-none-of-this-name could not be run/),
    });
    for (const name of ['../../bin/sh', 'a b', '-x']) {
      const file = configure(good, () => ({ credsStore: name }));
      await expect(pull(file, { credentialHelpers: true })).rejects.toThrow(/no name of a credential helper/);
    }
    const wrong = configure(good, () => ({ credsStore: 5 }));
    await expect(pull(wrong, { credentialHelpers: true })).rejects.toMatchObject({ code: 'ERR_CONFIG' });
  });

  it('that takes long ends with the signal', async () => {
    const file = configure('sleep 100', store);
    const failing = pull(file, { credentialHelpers: true }, AbortSignal.timeout(500));
    await expect(failing).rejects.toMatchObject({ code: 'ERR_ABORTED' });
  });
});
