/**
 * Which host ids the containers of this process have. Root gives each a range of its own. An ordinary user has the ids that
 * /etc/subuid and /etc/subgid grant, which newuidmap(1) and newgidmap(1) map; or, where these are not to be had, one: his own.
 *
 * All containers of a user have the same map: root inside is the user, and the ids from 1 on are the granted ones. Layers are
 * on disk with these ids, and a user cannot have them shown with others (idmapped mounts take root), so each other map would
 * be another copy of every image.
 */

import { lstatSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { TscontainError } from '../errors.js';
import { Capabilities } from '../primitives/capabilities.js';
import { IdMap, type IdMaps } from '../primitives/id-map.js';
import { isRoot } from './configuration.js';

/** The programs that write maps which this process may not write, by absolute path. */
export interface MapHelpers {
  readonly uid: string;
  readonly gid: string;
}

export type ContainerIds =
  | { readonly kind: 'range' }
  | { readonly kind: 'subordinate'; readonly maps: IdMaps; readonly helpers: MapHelpers }
  /** Why there is only one, and what to do. */
  | { readonly kind: 'single'; readonly reason: string; readonly hint: string | undefined };

/** As many as a container of root's has. */
const mostIds = 65536;
/** Fewer are of no use: the accounts of a distribution go up to 999, and a terminal's group is 5. */
const fewestIds = 1000;

/** Where distributions put them. PATH is never asked. */
const directories = ['/usr/bin', '/bin', '/usr/sbin', '/sbin', '/usr/local/bin', '/run/wrappers/bin'];

let found: ContainerIds | undefined;

/** Found out once: what is granted later is for the next process. */
export function containerIds(): ContainerIds {
  found ??= isRoot() ? { kind: 'range' } : idsOfUser();
  return found;
}

/** What is known of an ordinary user's process; for tests it is given. */
export interface UserFacts {
  readonly ids: () => IdMaps;
  readonly helper: (name: string) => string | undefined;
  readonly uids: readonly [real: number, effective: number];
  readonly gids: readonly [real: number, effective: number];
  readonly noNewPrivileges: boolean;
}

export function idsOfUser(facts: UserFacts = ownFacts()): ContainerIds {
  const single = (reason: string, hint?: string): ContainerIds => ({ kind: 'single', reason, hint });
  const { uids, gids } = facts;
  if (uids[0] !== uids[1] || gids[0] !== gids[1])
    return single('the real and the effective ids of this process differ');
  let maps: IdMaps;
  try {
    const { uid, gid } = facts.ids();
    maps = { uid: atMost(uid, mostIds), gid: atMost(gid, mostIds) };
  } catch (error) {
    if (!(error instanceof TscontainError)) throw error;
    return single(error.message.split(' (hint: ')[0] ?? '', error.hint);
  }
  const count = Math.min(maps.uid.size, maps.gid.size);
  if (count < fewestIds) return single(`/etc/subuid or /etc/subgid grant fewer than ${fewestIds} ids (${count - 1})`);
  // newgidmap refuses whose group is not the one of the account.
  if (maps.gid.toOutside(0) !== gids[0]) return single(`this process has another group (${gids[0]}) than the account`);
  const [uid, gid] = [facts.helper('newuidmap'), facts.helper('newgidmap')];
  if (uid === undefined || gid === undefined) {
    const missing = uid === undefined ? 'newuidmap' : 'newgidmap';
    return single(`there is no ${missing} that may be trusted`, 'install newuidmap and newgidmap (package uidmap)');
  }
  if (facts.noNewPrivileges) {
    return single('this process may not gain privileges (no_new_privs), so newuidmap has none', 'see prctl(2)');
  }
  return { kind: 'subordinate', maps: Object.freeze(maps), helpers: Object.freeze({ uid, gid }) };
}

function ownFacts(): UserFacts {
  return {
    ids: () => IdMap.subordinate(process.getuid?.()),
    helper: findMapHelper,
    uids: [process.getuid?.() ?? 0, process.geteuid?.() ?? 0],
    gids: [process.getgid?.() ?? 0, process.getegid?.() ?? 0],
    noNewPrivileges: /^NoNewPrivs:\s*1$/m.test(readFileSync('/proc/self/status', 'utf8')),
  };
}

/** Both programs, or undefined where one is missing. */
export function mapHelpers(): MapHelpers | undefined {
  const [uid, gid] = [findMapHelper('newuidmap'), findMapHelper('newgidmap')];
  return uid === undefined || gid === undefined ? undefined : { uid, gid };
}

/**
 * The first that only root can have put there, and that has the privilege. The launcher verifies it again, on the descriptor
 * that it executes.
 */
export function findMapHelper(name: string, places: readonly string[] = directories): string | undefined {
  const capability = name === 'newuidmap' ? 'CAP_SETUID' : 'CAP_SETGID';
  return places
    .map((directory) => join(directory, name))
    .find((path) => {
      const file = lstatSync(path, { throwIfNoEntry: false });
      if (!file?.isFile() || file.uid !== 0 || (file.mode & 0o022) !== 0) return false;
      const folder = lstatSync(`${dirname(path)}/.`);
      if (folder.uid !== 0 || (folder.mode & 0o022) !== 0) return false;
      if ((file.mode & 0o4000) !== 0) return true;
      const capabilities = Capabilities.ofFile(path);
      return capabilities?.effective === true && capabilities.permitted.has(capability);
    });
}

/** The first ids of a map. */
function atMost(map: IdMap, most: number): IdMap {
  return IdMap.of(
    ...map.ranges
      .filter(({ inside }) => inside < most)
      .map(({ inside, outside, count }) => ({ inside, outside, count: Math.min(count, most - inside) })),
  );
}
