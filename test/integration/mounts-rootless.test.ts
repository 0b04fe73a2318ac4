/** Mounts of an ordinary user: in a user namespace of their own, detached. The library runs from a copy that anyone may read. */

import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { TmpfsMount } from '../../lib/index.js';
import { copyLibrary } from '../support/ordinary-user.js';
import { needsRoot } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

const program = (module: string) => `
import { mkdirSync, readdirSync, rmSync, writeFileSync, chmodSync } from 'node:fs';
import { BindMount, OverlayMount } from ${module};
const at = (name) => process.cwd() + '/' + name;
for (const name of ['l', 'upper', 'work']) mkdirSync(at(name));
for (const name of ['gone', 'kept']) writeFileSync(at('l/' + name), name);
const failure = (promise) => promise.then(() => 'none', (error) => error.name);
const changes = async () => {
  const list = [];
  for await (const { kind, path, metadataOnly } of overlay.changes()) list.push([kind, path, metadataOnly].join(' '));
  return list.sort();
};
const layers = { lower: [at('l')], upper: at('upper'), work: at('work') };
const overlay = await OverlayMount.create(layers);
writeFileSync(overlay.path + '/new', '');
rmSync(overlay.path + '/gone');
chmodSync(overlay.path + '/kept', 0o600);
const mounted = await changes();
await overlay.unmount();
const unmounted = await changes();
await overlay.discard();
const left = [readdirSync(at('upper')), readdirSync(at('work'))];
await overlay[Symbol.asyncDispose]();
console.log(JSON.stringify({
  mounted, unmounted, left,
  attached: await failure(OverlayMount.create({ ...layers, target: at('l') })),
  host: await failure(OverlayMount.create({ ...layers, userNamespace: false })),
  bind: await failure(BindMount.create({ source: at('l') })),
}));`;

it('an ordinary user mounts overlays in a user namespace, and is told what else needs root', async (context) => {
  needsRoot(context);
  const folder = mkdtempSync('/tmp/tscontain-rootless-');
  try {
    chmodSync(folder, 0o755);
    copyLibrary(folder);
    const module = JSON.stringify(join(folder, 'dist', 'primitives', 'mount', 'index.js'));
    const target = join(folder, 'home');
    mkdirSync(target);
    await using home = await TmpfsMount.create({ target, size: '4MiB', uid: 1234, gid: 1234, mode: 0o755 });
    const argv = ['--input-type=module', '-e', program(module)];
    const ids = { uid: 1234, gid: 1234 };
    const run = spawnSync(process.execPath, argv, { ...ids, cwd: home.path, env: { HOME: target }, encoding: 'utf8' });
    context.skip(/user namespaces/.test(run.stderr), 'this host gives ordinary users no user namespaces');
    expect(run.stderr).toBe('');
    const told = ['added /new false', 'deleted /gone false', 'modified /kept true'];
    expect(JSON.parse(run.stdout)).toEqual({
      mounted: told,
      unmounted: told,
      left: [[], []],
      attached: 'OptionError',
      host: 'PermissionError',
      bind: 'PermissionError',
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
