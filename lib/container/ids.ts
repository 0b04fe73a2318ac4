/** What there is to say of a container's ids. */

import { containerIds } from '../host/ids.js';
import type { IdMaps } from '../primitives/id-map.js';

export interface ContainerIdsInspection {
  /** The host's id of the container's root; undefined until it is made. */
  readonly first: number | undefined;
  /** How many users it has. */
  readonly count: number;
  /**
   * `'range'`, 65,536 ids that no other container has (root); `'subordinate'`, this user's id and those granted in
   * /etc/subuid and /etc/subgid, which all of the user's containers have; `'single'`, this user's id.
   */
  readonly kind: 'range' | 'subordinate' | 'single';
  /** The maps, where they are of granted ids. */
  readonly maps?: IdMaps;
}

export function inspectIds(first: number | undefined): ContainerIdsInspection {
  const ids = containerIds();
  if (ids.kind !== 'subordinate') return { first, count: ids.kind === 'range' ? 65536 : 1, kind: ids.kind };
  return { first, count: ids.maps.uid.size, kind: ids.kind, maps: ids.maps };
}

/** What is less than with a range of the container's own. */
export function idRelaxations(): string[] {
  const ids = containerIds();
  switch (ids.kind) {
    case 'range':
      return [];
    case 'subordinate':
      return [
        "ids: root inside is this user on the host, and all containers of this user have the same ids: one that escapes may reach this user's files and those of the others",
      ];
    case 'single': {
      const hint = ids.hint === undefined ? '' : `; ${ids.hint}`;
      return [
        `ids: only one is mapped, as this process is not root: root inside is this user on the host, and there is no other (${ids.reason}${hint})`,
      ];
    }
  }
}
