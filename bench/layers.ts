/** What a layer costs a container: the same root as one layer, and as twenty. */

import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Container } from 'tscontain';
import { duration } from './measure.js';
import { compare, type Options, type Section, type Table } from './table.js';

const most = 20;

export const layers: Table = {
  name: 'layers',
  ballasts: [0],
  async measure({ rounds }: Options): Promise<Section[]> {
    const directory = mkdtempSync(join(tmpdir(), 'tscontain-bench-'));
    try {
      const names = makeLayers(directory);
      const contender = (name: string, stack: readonly string[]) => ({
        name,
        sample: () => duration(() => start(directory, stack)),
      });
      return [
        await compare({
          title: 'run /bin/true in a root of layers',
          unit: 'ms',
          rounds: rounds ?? 200,
          contenders: [contender('1 layer', names.slice(-1)), contender(`${most} layers`, names)],
        }),
      ];
    } finally {
      rmSync(directory, { recursive: true });
    }
  },
};

/** Topmost first. The last is a whole system but for /usr, which is the host's; each of the others adds a file. */
function makeLayers(directory: string): readonly string[] {
  const names = Array.from({ length: most }, (_, index) => `layer${index}`);
  const base = join(directory, names.at(-1) ?? '');
  for (const name of ['usr', 'etc', 'tmp']) mkdirSync(join(base, name), { recursive: true });
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) symlinkSync(`usr/${name}`, join(base, name));
  for (const name of names) {
    mkdirSync(join(directory, name, 'srv/app'), { recursive: true });
    writeFileSync(join(directory, name, 'srv/app', name), name);
  }
  return names;
}

async function start(directory: string, names: readonly string[]): Promise<void> {
  const { exitCode } = await Container.run(['/bin/true'], {
    image: { layers: { directory, names } },
    mounts: [{ type: 'bind', source: '/usr', target: '/usr' }],
  });
  if (exitCode !== 0) throw new Error(`/bin/true ended with ${exitCode}`);
}
