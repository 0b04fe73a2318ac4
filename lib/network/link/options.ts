/** What a link is, what can be set of one, and what a new one is made of. */

import type { Duration } from '../../units.js';
import type { NetworkTarget } from '../target.js';

/** Kinds of links that can be made here. */
export type LinkKind = 'bridge' | 'dummy' | 'ipvlan' | 'macvlan' | 'veth' | 'vlan';

/** A link by its index in the namespace, or by its name. */
export type LinkReference = number | string;

/** Settings of a bridge. Times are milliseconds where they are read. */
export interface BridgeSettings {
  /** The spanning tree protocol. */
  readonly stp?: boolean;
  readonly priority?: number;
  readonly forwardDelay?: Duration;
  readonly helloTime?: Duration;
  readonly maxAge?: Duration;
  /** How long an address that was learnt is kept. */
  readonly ageingTime?: Duration;
  readonly vlanFiltering?: boolean;
  /** The VLAN of ports that have none; 0 for none. */
  readonly defaultPvid?: number;
  readonly multicastSnooping?: boolean;
  readonly multicastQuerier?: boolean;
  /** Which link-local groups (01:80:c2:00:00:0X) are forwarded, a bit for each. */
  readonly groupForwardMask?: number;
  /** Whether what is bridged passes the netfilter hooks of IP as well (br_netfilter). */
  readonly nfCallIptables?: boolean;
  readonly nfCallIp6tables?: boolean;
  readonly nfCallArptables?: boolean;
}

export type BridgePortState = 'disabled' | 'listening' | 'learning' | 'forwarding' | 'blocking';

/** Settings of a link as a port of its bridge. */
export interface BridgePortSettings {
  readonly state?: BridgePortState;
  readonly priority?: number;
  readonly cost?: number;
  /** Frames may leave by the port that they came from. */
  readonly hairpin?: boolean;
  /** The port goes down where it hears another bridge (BPDU). */
  readonly guard?: boolean;
  /** The port never leads to the root of the spanning tree. */
  readonly rootBlock?: boolean;
  readonly fastLeave?: boolean;
  /** Whether addresses are learnt from what comes in. */
  readonly learning?: boolean;
  /** Whether frames to addresses that are not known go out here; of multicast; of broadcast. */
  readonly unicastFlood?: boolean;
  readonly multicastFlood?: boolean;
  readonly broadcastFlood?: boolean;
  readonly proxyArp?: boolean;
  /** ARP and neighbour discovery are answered by the bridge, from what it knows. */
  readonly neighbourSuppress?: boolean;
  /** Isolated ports reach only those that are not. */
  readonly isolated?: boolean;
  /** Only addresses that are in the bridge's table for this port get in (Linux 5.18). */
  readonly locked?: boolean;
}

export interface VlanSettings {
  /** 1 to 4094. */
  readonly id: number;
  /** Default `'802.1Q'`. */
  readonly protocol?: '802.1Q' | '802.1ad';
}

export interface MacvlanSettings {
  /** Default `'vepa'`, as the kernel's. */
  readonly mode?: 'private' | 'vepa' | 'bridge' | 'passthru' | 'source';
}

export interface IpvlanSettings {
  /** Default `'l3'`, as the kernel's. */
  readonly mode?: 'l2' | 'l3' | 'l3s';
  readonly flag?: 'bridge' | 'private' | 'vepa';
}

/** What can be set of every link. */
export interface LinkSettings {
  readonly up?: boolean;
  readonly mtu?: number;
  /** The hardware address: `'02:42:ac:11:00:02'`. */
  readonly address?: string;
  /** The bridge, or another link, that it is part of; null for none. */
  readonly master?: LinkReference | null;
  /** Packets that may wait to be sent. */
  readonly txQueueLength?: number;
  /** A text about it, of at most 255 bytes; `''` for none. */
  readonly alias?: string;
  readonly group?: number;
  readonly promiscuous?: boolean;
  readonly allMulticast?: boolean;
  readonly multicast?: boolean;
  readonly arp?: boolean;
}

/** The other end of a pair. */
export interface VethPeerOptions {
  readonly name: string;
  /** Where it is made. Default the same namespace. */
  readonly namespace?: NetworkTarget;
  readonly up?: boolean;
  readonly mtu?: number;
  readonly address?: string;
}

/** What every new link has. */
export interface NewLinkOptions extends LinkSettings {
  /** 1 to 15 bytes without `/`, `:`, `%` and space. */
  readonly name: string;
}

/** A new link: what every kind has, and what only its own. */
export type LinkOptions =
  | (NewLinkOptions & { readonly kind: 'bridge'; readonly bridge?: BridgeSettings })
  | (NewLinkOptions & { readonly kind: 'dummy' })
  | (NewLinkOptions & { readonly kind: 'veth'; readonly peer: VethPeerOptions })
  | (NewLinkOptions & { readonly kind: 'vlan'; readonly link: LinkReference; readonly vlan: VlanSettings })
  | (NewLinkOptions & { readonly kind: 'macvlan'; readonly link: LinkReference; readonly macvlan?: MacvlanSettings })
  | (NewLinkOptions & { readonly kind: 'ipvlan'; readonly link: LinkReference; readonly ipvlan?: IpvlanSettings });

/** Changes to a link. */
export interface LinkChanges extends LinkSettings {
  /** A new name, which takes effect in the namespace that it is moved to, where it is. A link that is up can be renamed since Linux 6.2. */
  readonly name?: string;
  /** Where to move it. It is down there, without addresses, and may have another index. */
  readonly namespace?: NetworkTarget;
  /** Of a bridge. */
  readonly bridge?: BridgeSettings;
  /** Of a port of a bridge: of the one in `master`, where that is given too. */
  readonly port?: BridgePortSettings;
}

/** The state of RFC 2863. */
export type LinkState = 'unknown' | 'not-present' | 'down' | 'lower-layer-down' | 'testing' | 'dormant' | 'up';

/** Settings of a bridge, as the kernel has them: times in milliseconds. What it does not know is left out. */
export interface BridgeValues extends Omit<BridgeSettings, 'forwardDelay' | 'helloTime' | 'maxAge' | 'ageingTime'> {
  readonly forwardDelay?: number;
  readonly helloTime?: number;
  readonly maxAge?: number;
  readonly ageingTime?: number;
}
/** Settings of a port, as the kernel has them. What it does not know is left out. */
export type BridgePortValues = BridgePortSettings;

/** Counters since the link was made. */
export interface LinkStatistics {
  readonly rx: {
    readonly bytes: number;
    readonly packets: number;
    readonly errors: number;
    readonly dropped: number;
    readonly multicast: number;
  };
  readonly tx: {
    readonly bytes: number;
    readonly packets: number;
    readonly errors: number;
    readonly dropped: number;
    readonly collisions: number;
  };
}

/** A link as it is. */
export interface Link {
  readonly index: number;
  readonly name: string;
  readonly alternativeNames: readonly string[];
  /** What made it, such as `'veth'`; undefined for hardware and the loopback. */
  readonly kind: string | undefined;
  /** What frames look like: `'ether'`, `'loopback'`, or a number (ARPHRD_…). */
  readonly type: 'ether' | 'loopback' | number;
  /** Whether it is switched on. */
  readonly up: boolean;
  /** Whether it has a peer, or a cable. */
  readonly carrier: boolean;
  readonly state: LinkState;
  readonly mtu: number;
  readonly address: string | undefined;
  readonly broadcast: string | undefined;
  readonly txQueueLength: number;
  readonly alias: string | undefined;
  readonly group: number;
  readonly promiscuous: boolean;
  readonly allMulticast: boolean;
  readonly multicast: boolean;
  readonly arp: boolean;
  /** The index of the bridge, or another link, that it is part of. */
  readonly master: number | undefined;
  /** The index of the link that it is over, or of its peer: in that one's namespace. */
  readonly link: number | undefined;
  /** That other is in another namespace, by the number that this one has for it (ip-netns(8)); undefined for this one. */
  readonly linkNamespaceId: number | undefined;
  readonly statistics: LinkStatistics | undefined;
  readonly bridge?: BridgeValues;
  /** Where its master is a bridge. */
  readonly port?: BridgePortValues;
  readonly vlan?: VlanSettings;
  readonly macvlan?: MacvlanSettings;
  readonly ipvlan?: IpvlanSettings;
}
