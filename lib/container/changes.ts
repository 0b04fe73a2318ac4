/** What has changed in a container since it was made, without what we put there ourselves. */

import { constants, fstatSync, readSync } from 'node:fs';
import { Agent } from '../launcher/agent.js';
import { openFlag, resolveFlag, type Step } from '../plan/step.js';
import { layerChanges, type OverlayChange } from '../primitives/mount/changes.js';
import { accountFiles } from './plan/system-files.js';
import type { ChangedView } from './views.js';

/** Files that are the container's, whatever an image has in their place (K8). */
export const ownFiles: readonly string[] = ['etc/hosts', 'etc/hostname', 'etc/resolv.conf'];

/**
 * Differences to the lower layers, a directory before what is in it.
 * @param setUp the steps that made the container
 */
export async function* containerChanges(
  view: ChangedView,
  setUp: readonly Step[],
): AsyncGenerator<OverlayChange, void, undefined> {
  const { places, files } = placesOf(setUp);
  for await (const change of layerChanges(view.layers)) {
    const path = change.path.slice(1);
    if (ownFiles.includes(path)) continue;
    if (change.kind === 'added' && places.has(path) && (change.type === 'directory' || files.has(path))) continue;
    const account = accounts.get(path);
    if (account !== undefined && change.kind === 'added' && change.type === 'file') {
      if (await isText(view, path, account)) continue;
    }
    yield change;
  }
}

/** Where our mounts are, and the directories on the way there; which of them are files. */
function placesOf(setUp: readonly Step[]): { places: ReadonlySet<string>; files: ReadonlySet<string> } {
  const places = new Set<string>();
  const files = new Set<string>();
  for (const step of setUp) {
    const isPlace = step.kind === 'makeDirectory' || step.kind === 'moveMount' || step.kind === 'writeFile';
    // Where such a directory is behind a link, what was made for it there is told of.
    if (step.kind !== 'directoryInside' && !(isPlace && step.under === 'root')) continue;
    const parts = step.path.split('/').filter((part) => part !== '');
    const whole = parts.join('/');
    if (step.kind === 'moveMount' && !step.directory) files.add(whole);
    const last = step.kind === 'writeFile' ? parts.length - 1 : parts.length;
    for (let length = 1; length <= last; length++) places.add(parts.slice(0, length).join('/'));
  }
  return { places, files };
}

const accounts: ReadonlyMap<string, string> = new Map(
  accountFiles.flatMap((step) => (step.kind === 'writeFile' ? [[step.path, step.content] as const] : [])),
);

/** Whether a file has this content. Opened beneath the root, through no link; a FIFO in its place is not waited for. */
async function isText({ root }: ChangedView, path: string, text: string): Promise<boolean> {
  const resolve = resolveFlag.BENEATH | resolveFlag.NO_SYMLINKS | resolveFlag.NO_MAGICLINKS;
  const flags = openFlag.RDONLY | openFlag.NOFOLLOW | constants.O_NONBLOCK;
  await using agent = await Agent.start();
  const steps: readonly Step[] = [{ kind: 'open', to: 'file', from: '0', path, flags, resolve }];
  const opened = await agent.run(steps, { descriptors: [root], take: ['file'] }).catch(() => []);
  try {
    const [file] = opened;
    const expected = Buffer.from(text);
    if (!file) return false;
    const facts = fstatSync(file.number);
    if (!facts.isFile() || facts.size !== expected.length) return false;
    const content = Buffer.alloc(expected.length);
    return readSync(file.number, content, 0, content.length, 0) === content.length && content.equals(expected);
  } finally {
    for (const descriptor of opened) descriptor.close();
  }
}
