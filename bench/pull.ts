/** Pulling an image of ten layers from a registry on this machine into an empty store, against skopeo into an empty layout. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Image, ImageStore } from 'tscontain';
import { DockerRegistry } from '../test/support/docker-registry.js';
import { installed, makeLayout, settle } from './images.js';
import { type Contender, duration } from './measure.js';
import { spawned } from './programs.js';
import { compare, type Options, type Section, type Table } from './table.js';
import { Watch } from './watch.js';

const layers = 10;
const bytes = 30_000_000;

export const pull: Table = {
  name: 'pull',
  ballasts: [0],
  async measure({ rounds }: Options): Promise<Section[]> {
    const absent = ['docker-registry', 'skopeo'].filter((program) => !installed(program));
    const title = `pull, ${layers} layers of ${bytes / 1e6} MB, gzip`;
    if (absent.length > 0) {
      return [{ title, unit: 'ms', rounds: 0, rows: [], notes: [`not installed: ${absent.join(', ')}`] }];
    }
    const directory = mkdtempSync(join(tmpdir(), 'tscontain-bench-'));
    const registry = await DockerRegistry.start();
    try {
      const layout = join(directory, 'layout');
      makeLayout(layout, { layers, bytes, compression: ['gzip', '-1'] });
      const name = `${registry.host}/usr:latest`;
      const plain = ['--insecure-policy', 'copy', '--quiet', '--preserve-digests'];
      await spawned('skopeo', [...plain, '--dest-tls-verify=false', `oci:${layout}:usr`, `docker://${name}`]);
      return [await measureIn(directory, registry.host, { title, rounds: rounds ?? 5 })];
    } finally {
      await registry.stop();
      rmSync(directory, { recursive: true, force: true });
    }
  },
};

async function measureIn(
  directory: string,
  host: string,
  { title, rounds }: { readonly title: string; readonly rounds: number },
): Promise<Section> {
  const name = `${host}/usr:latest`;
  const watch = new Watch();
  let count = 0;
  const fresh = (): string => {
    settle(directory);
    return join(directory, String(++count));
  };
  const skopeo = async () => {
    const target = fresh();
    const plain = ['--insecure-policy', 'copy', '--quiet', '--src-tls-verify=false'];
    return await duration(() => spawned('skopeo', [...plain, `docker://${name}`, `oci:${target}:usr`]));
  };
  const ours = (unpacked: boolean) => async () => {
    await using store = await ImageStore.open({ path: fresh() });
    const work = async () => {
      const image = await Image.pull(name, { store, insecure: [host] });
      if (unpacked) (await image.unpack()).release();
    };
    return await watch.during(() => duration(work));
  };
  const contenders: Contender[] = [
    { name: 'skopeo copy docker:// oci:', sample: skopeo },
    { name: 'Image.pull', sample: ours(false) },
    { name: 'Image.pull and image.unpack', sample: ours(true) },
  ];
  const result = await compare({ title, unit: 'ms', rounds, warmUp: 1, contenders });
  return { ...result, notes: [watch.report()] };
}
