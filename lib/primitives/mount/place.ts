/**
 * Where mounts are made and unmade: in the namespaces of this process, or in a user and a mount namespace of their own, in
 * which an ordinary user may mount. Each task is a short-lived agent's.
 */

import { isRoot } from '../../host/configuration.js';
import { Agent } from '../../launcher/agent.js';
import type { Descriptor } from '../../launcher/native.js';
import { openFlag, type Step } from '../../plan/step.js';
import type { IdMap, IdMaps } from '../id-map.js';
import type { NamespaceKind } from '../namespace/kind.js';

const own = ['user', 'mnt'] as const;

export class Place {
  /** The namespaces that this process is in. */
  static readonly here = new Place(new Map());

  readonly #namespaces: ReadonlyMap<NamespaceKind, Descriptor>;
  /** Holds the range of ids, which is no one else's for as long as it lives. */
  readonly #keeper: Agent | undefined;
  /** To be someone whom the user namespace knows, and who may make files there. */
  readonly #become: readonly Step[];

  private constructor(
    namespaces: ReadonlyMap<NamespaceKind, Descriptor>,
    keeper?: Agent,
    become: readonly Step[] = [],
  ) {
    this.#namespaces = namespaces;
    this.#keeper = keeper;
    this.#become = become;
  }

  /** A new user namespace, and a mount namespace that belongs to it; they live as long as the place is open. */
  static async make(ids: IdMaps | undefined): Promise<Place> {
    const keeper = await Agent.start({ create: [...own], ...(ids && { ids }) });
    try {
      const doing = 'making namespaces to mount in';
      const descriptors = await keeper.run(own.map(openNamespace), { take: [...own], doing });
      const namespaces = own.flatMap((kind, index) =>
        descriptors[index] ? [[kind, descriptors[index]] as const] : [],
      );
      const first = (maps: IdMap | undefined) => maps?.ranges[0]?.inside ?? 0;
      return new Place(new Map(namespaces), keeper, [
        ...(isRoot() ? [{ kind: 'setGroups', groups: [] } as const] : []),
        { kind: 'setGid', gid: first(ids?.gid) },
        { kind: 'setUid', uid: first(ids?.uid) },
      ]);
    } catch (error) {
      await keeper.close();
      throw error;
    }
  }

  get isHere(): boolean {
    return this.#keeper === undefined;
  }

  /** An agent there, whose mounts are private to it if `aside`. */
  async start({ aside = false }: { readonly aside?: boolean } = {}): Promise<Agent> {
    const agent = await Agent.start({
      ...(!this.isHere && { join: this.#namespaces }),
      ...(aside && { create: ['mnt'] }),
    });
    if (this.isHere) return agent;
    try {
      await agent.run(this.#become, { doing: 'becoming root of the user namespace' });
      return agent;
    } catch (error) {
      await agent.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    for (const descriptor of this.#namespaces.values()) if (descriptor.open) descriptor.close();
    await this.#keeper?.close();
  }
}

/** A new user namespace that has these maps, and no process: what an idmapped mount shifts ids by. */
export async function userNamespace(ids: IdMaps): Promise<Descriptor> {
  await using agent = await Agent.start({ create: ['user'], ids });
  const [descriptor] = await agent.run([openNamespace('user')], { take: ['user'], doing: 'making an id map' });
  if (!descriptor) throw new Error('no descriptor of the user namespace');
  return descriptor;
}

function openNamespace(kind: 'user' | 'mnt'): Step {
  return { kind: 'open', to: kind, from: null, path: `/proc/self/ns/${kind}`, flags: openFlag.RDONLY, resolve: 0 };
}
