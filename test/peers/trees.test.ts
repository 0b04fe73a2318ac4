/**
 * The tree of an image as a container sees it, our layers under an overlay, against the tree that umoci unpacks. The images
 * are those of build.sh; `npm run test:peers`.
 */

import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Image } from '../../lib/image/image.js';
import { ImageStore } from '../../lib/image/index.js';
import { differences, images, lacking, make, Scratch } from './peers.js';

const reason = lacking('dpkg-query', 'umoci', 'skopeo', 'setcap', 'setfattr', 'zstd');

/** That a listing shows what it is to compare: a line is path, mode, owner, group, size, time, content, first link, attributes. */
function expectAllKinds(lines: readonly string[]): void {
  const line = (path: string) => lines.find((one) => one.startsWith(`./srv/${path} `)) ?? '';
  expect(line('setuid')).toMatch(/^\S+ 106755 1000 2000 /);
  expect(line('sticky')).toMatch(/^\S+ 40700 0 0 /);
  expect(line('fifo')).toMatch(/^\S+ 10644 /);
  expect(line('a/dangling')).toContain(' ../nowhere ');
  expect(line('last-name')).toContain(' ./srv/a/name');
  expect(line('capable')).toContain(' security.capability=');
  expect(line('attributes')).toMatch(/ 981173107000000000 .* user\.note=612076616c7565$/);
  expect(line('latin-\xe9-\xff')).not.toBe('');
  expect(line('many/only')).toContain(' 981173106789000000 ');
  expect(line('becomes-directory/file')).not.toBe('');
  expect(line('inserted/only')).not.toBe('');
  for (const gone of ['many/file-1', 'inserted/old', 'gone', 'opaque/old', 'a/b/other-name'])
    expect(line(gone)).toBe('');
}

describe.skipIf(reason)(`trees of images that others unpack too${reason ? ` (${reason})` : ''}`, () => {
  const scratch = new Scratch();
  beforeAll(() => void make('build.sh'), 600_000);
  afterAll(() => scratch.dispose(), 60_000);

  /** What a container would see of an image. Each layout has a store of its own, as they have the same layers. */
  async function ours(layout: string, tag: string): Promise<string[]> {
    await using store = await ImageStore.open({ path: scratch.at(layout) });
    const image = await Image.open(join(images, layout), tag, { store });
    using lease = await image.unpack({ fileCapabilities: true });
    return scratch.merged(lease.paths);
  }

  it.each(['one', 'many'])(
    'the image "%s" has the files of umoci’s tree: types, modes, owners, sizes, contents, targets, hard links, attributes, times',
    async (tag) => {
      const theirs = scratch.umoci(`${images}/layout:${tag}`);
      const gzip = await ours('layout', tag);
      expect(theirs.length).toBeGreaterThan(2000);
      if (tag === 'many') expectAllKinds(theirs);
      expect(differences(gzip, theirs)).toEqual([]);
      expect(await ours('layout-zstd', tag)).toEqual(gzip);
    },
    300_000,
  );
});
