import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Image, ImageStore } from '../../lib/index.js';
import { buildOnce, packageRoot } from '../support/build.js';
import { DockerRegistry } from '../support/docker-registry.js';
import { LayoutWriter, TemporaryDirectory } from '../support/layout.js';
import { needsPrograms, needsRoot } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';

/** A line that each example prints where it works. Each file of primitives must have one, and what is beside that folder. */
const telling: Readonly<Record<string, RegExp>> = {
  apparmor: /^as root +.*Permission denied /m,
  attributes: /^processor time +SIGXCPU /m,
  capabilities: /^user 1000 with +port 80 is mine$/m,
  cgroup: /^memory +a hog was ended by SIGKILL .* [1-9] killed/m,
  egress: /^with a function +api got mocked$/m,
  'id-map': /^nested +0 \d+ 10 /m,
  images: /^in a container +hello from the second layer; motd; 0; root /m,
  landlock: /^write nowhere +.*Permission denied$/m,
  links: /^from there +hello 10\.9\.0\.2$/m,
  netfilter: /^a friend +port 80: an answer/m,
  namespace: /^host name +inside /m,
  overlay: /^idmapped +motd belongs to 1000 /m,
  seccomp: /^uname +Node /m,
  'time-and-sysctl': /^up for +36\d\.\d+ days /m,
};

const primitives = readdirSync(`${packageRoot}examples/primitives`).map((file) => file.replace(/\.ts$/, ''));
const examples = [...primitives, 'egress', 'images'];

describe('the examples', () => {
  checkResidue();

  it('are all expected to print something, and compile', { timeout: 120_000 }, () => {
    expect(examples.sort()).toEqual(Object.keys(telling).sort());
    // They import the package as it is shipped. Other tests do so at the same time, so it is not built anew.
    buildOnce();
    execFileSync('npm', ['run', '--silent', 'build:examples'], { cwd: packageRoot, stdio: 'inherit' });
  });

  it.for(examples)('%s shows what it says', { timeout: 60_000 }, (name, context) => {
    needsRoot(context);
    const file = `${packageRoot}build/examples/example.js`;
    const { stdout, stderr, status } = spawnSync(process.execPath, [file, name], { encoding: 'utf8' });
    expect(stderr).toBe('');
    expect(status).toBe(0);
    const line = telling[name] ?? /nothing is expected of it/;
    const reason = /^not here +(.*)$/m.exec(stdout)?.[1];
    context.skip(reason !== undefined && !line.test(stdout), reason);
    expect(stdout).toMatch(line);
  });

  it('images fetches what it is given the name of', { timeout: 60_000 }, async (context) => {
    needsPrograms(context, 'docker-registry');
    const temporary = new TemporaryDirectory();
    const registry = await DockerRegistry.start();
    try {
      await using store = await ImageStore.open({ path: temporary.at('store') });
      const layout = new LayoutWriter(temporary);
      layout.image({});
      const image = await Image.open(layout.path, undefined, { store, platform: 'linux/amd64' });
      const name = `${registry.host}/example:1`;
      await image.push(name, { insecure: [registry.host], configFile: false });
      const file = `${packageRoot}build/examples/example.js`;
      const { stdout, stderr } = spawnSync(process.execPath, [file, 'images', name], { encoding: 'utf8' });
      expect(stderr).toBe('');
      expect(stdout).toMatch(`image             ${name} for linux/amd64`);
    } finally {
      await registry.stop();
      temporary.dispose();
    }
  });
});
