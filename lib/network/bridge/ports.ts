/** The ports of a bridge: put to it, and heard of when they go. */

import { AttributeWriter } from '../../netlink/attributes.js';
import { messageFlag } from '../../netlink/message.js';
import { NetlinkSocket } from '../../netlink/socket.js';
import type { Namespace } from '../../primitives/namespace/namespace.js';
import { writeFields } from '../link/fields.js';
import { portFields } from '../link/kinds.js';
import { linkFlag, readLink } from '../link/read.js';
import { ifinfo } from '../link/settings.js';
import type { Links } from '../links.js';
import { ifla, iflaInfo, linkNames, routeMessage } from '../rtnetlink.js';

/** RTNLGRP_LINK. */
const linkGroup = 1;

export class BridgePorts {
  readonly #links: Links;
  readonly #socket: NetlinkSocket;
  readonly #bridge: number;
  readonly #isolation: boolean;
  /** By the names of those that are waited for. */
  readonly #going = new Map<string, () => void>();
  #closed = false;

  private constructor(links: Links, socket: NetlinkSocket, bridge: number, isolation: boolean) {
    this.#links = links;
    this.#socket = socket;
    this.#bridge = bridge;
    this.#isolation = isolation;
    socket.subscribe([linkGroup], {
      message: ({ type, body }) => {
        // A bridge tells of its ports too, in a family of its own.
        if (type === routeMessage.DELLINK && body[0] === 0) this.#going.get(readLink(body).name)?.();
      },
      overrun: () => {
        for (const name of this.#going.keys()) void this.#look(name);
      },
    });
  }

  /** @param bridge the index of the bridge in that namespace */
  static async open(namespace: Namespace, links: Links, bridge: number, isolation: boolean): Promise<BridgePorts> {
    return new BridgePorts(links, await NetlinkSocket.open('route', namespace.descriptor('net')), bridge, isolation);
  }

  /** Makes a link a port, and switches it on. */
  async add(name: string): Promise<void> {
    const attributes = () => new AttributeWriter().string(ifla.IFNAME, name);
    const request = (header: Buffer, doing: string, write: AttributeWriter) => ({
      type: routeMessage.NEWLINK,
      flags: messageFlag.ACK,
      header,
      attributes: write.bytes(),
      doing: `making ${name} a port of the bridge: ${doing}`,
      names: linkNames(),
    });
    const isolated = attributes().nested(ifla.LINKINFO, (info) => {
      info.string(iflaInfo.SLAVE_KIND, 'bridge');
      info.nested(iflaInfo.SLAVE_DATA, (data) => void writeFields(new Map([[portFields.isolated, 1]]), data));
    });
    await this.#socket.batch([
      request(ifinfo(), 'its master', attributes().u32(ifla.MASTER, this.#bridge)),
      ...(this.#isolation ? [request(ifinfo(), 'its isolation', isolated)] : []),
      request(ifinfo(0, linkFlag.UP, linkFlag.UP), 'going up', attributes()),
    ]);
  }

  /** Settles when the link is no more: its namespace has been taken apart, or somebody has removed it. */
  async gone(name: string): Promise<void> {
    if (this.#closed) return;
    const gone = new Promise<void>((resolve) => this.#going.set(name, resolve));
    await this.#look(name);
    await gone;
    this.#going.delete(name);
  }

  async #look(name: string): Promise<void> {
    const link = await this.#links.get(name).catch(() => undefined);
    if (link === undefined) this.#going.get(name)?.();
  }

  /** Nobody waits any more. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#socket.close();
    for (const resolve of this.#going.values()) resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
