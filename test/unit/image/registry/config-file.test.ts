import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { credentialsFromFile, findCredentials } from '../../../../lib/image/registry/config-file.js';

const auth = (text: string) => ({ auth: Buffer.from(text).toString('base64') });
const find = (auths: unknown, host: string, repository = 'a/b') =>
  findCredentials(Buffer.from(JSON.stringify({ auths })), '/config.json', host, repository);

describe('a file of credentials', () => {
  it('has them by host, as Docker writes it', () => {
    const auths = { 'https://index.docker.io/v1/': auth('me:p:w'), 'r.example:5000': auth('you:pw') };
    expect(find(auths, 'docker.io')).toEqual({ username: 'me', password: 'p:w' });
    expect(find(auths, 'r.example:5000')).toEqual({ username: 'you', password: 'pw' });
    for (const other of ['r.example', 'x.r.example:5000', 'r.example:50', 'docker.io.example']) {
      expect(find(auths, other), other).toBeUndefined();
    }
  });

  it('has them for a namespace, as Podman writes it', () => {
    const auths = { 'r.example': auth('all:x'), 'r.example/a': auth('a:x'), 'r.example/a/b/c': auth('abc:x') };
    expect(find(auths, 'r.example', 'a/b')).toMatchObject({ username: 'a' });
    expect(find(auths, 'r.example', 'a/b/c')).toMatchObject({ username: 'abc' });
    expect(find(auths, 'r.example', 'ab')).toMatchObject({ username: 'all' });
  });

  it('may have tokens, and entries whose content is elsewhere', () => {
    expect(find({ x: { identitytoken: 't', ...auth('u:') } }, 'x')).toEqual({ identityToken: 't' });
    expect(find({ x: { registrytoken: 't' } }, 'x')).toEqual({ token: 't' });
    expect(find({ x: {} }, 'x')).toBeUndefined();
    expect(findCredentials(Buffer.from('{"credsStore":"desktop"}'), '/c', 'x', 'a')).toBeUndefined();
  });

  it('that is malformed is an error that shows none of it', () => {
    for (const text of ['hidden', '[]', '{"auths":"hidden"}', '{"auths":{"x":{"auth":"aGlkZGVu"}}}']) {
      const refused = () => findCredentials(Buffer.from(text), '/c', 'x', 'a');
      expect(refused, text).toThrow(expect.objectContaining({ code: 'ERR_CONFIG', path: '/c' }));
      expect(refused).not.toThrow(/hidden|aGlkZGVu/);
    }
  });

  it('is found where Docker or Podman have it, and need not be there unless it was named', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tscontain-test-'));
    const path = join(directory, 'config.json');
    writeFileSync(path, JSON.stringify({ auths: { x: auth('u:p') } }));
    const found = { username: 'u', password: 'p' };
    expect(await credentialsFromFile(undefined, 'x', 'a', { DOCKER_CONFIG: directory })).toEqual(found);
    expect(await credentialsFromFile(undefined, 'x', 'a', { REGISTRY_AUTH_FILE: path })).toEqual(found);
    expect(await credentialsFromFile(undefined, 'x', 'a', { DOCKER_CONFIG: '/nowhere' })).toBeUndefined();
    await expect(credentialsFromFile('/nowhere', 'x', 'a', {})).rejects.toMatchObject({ code: 'ERR_CONFIG' });
    rmSync(directory, { recursive: true });
  });
});
