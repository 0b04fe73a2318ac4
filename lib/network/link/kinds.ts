/** The settings of each kind of link, and of ports of bridges: their attributes (linux/if_link.h). */

import { boolean, choice, type Fields, field, number, time } from './fields.js';
import type {
  BridgePortSettings,
  BridgeSettings,
  IpvlanSettings,
  LinkKind,
  MacvlanSettings,
  VlanSettings,
} from './options.js';

type FieldsOf<Settings> = Fields & Readonly<Record<keyof Settings, Fields[string]>>;

export const bridgeFields: FieldsOf<BridgeSettings> = {
  stp: field(5, 'IFLA_BR_STP_STATE', boolean('u32')),
  priority: field(6, 'IFLA_BR_PRIORITY', number('u16', 0, 65535)),
  forwardDelay: field(1, 'IFLA_BR_FORWARD_DELAY', time(0, 30_000)),
  helloTime: field(2, 'IFLA_BR_HELLO_TIME', time(1000, 10_000)),
  maxAge: field(3, 'IFLA_BR_MAX_AGE', time(6000, 40_000)),
  ageingTime: field(4, 'IFLA_BR_AGEING_TIME', time(0, 2 ** 31 - 1)),
  vlanFiltering: field(7, 'IFLA_BR_VLAN_FILTERING', boolean()),
  defaultPvid: field(39, 'IFLA_BR_VLAN_DEFAULT_PVID', number('u16', 0, 4094)),
  multicastSnooping: field(23, 'IFLA_BR_MCAST_SNOOPING', boolean()),
  multicastQuerier: field(25, 'IFLA_BR_MCAST_QUERIER', boolean()),
  groupForwardMask: field(9, 'IFLA_BR_GROUP_FWD_MASK', number('u16', 0, 65535)),
  nfCallIptables: field(36, 'IFLA_BR_NF_CALL_IPTABLES', boolean()),
  nfCallIp6tables: field(37, 'IFLA_BR_NF_CALL_IP6TABLES', boolean()),
  nfCallArptables: field(38, 'IFLA_BR_NF_CALL_ARPTABLES', boolean()),
};

const portStates = { disabled: 0, listening: 1, learning: 2, forwarding: 3, blocking: 4 } as const;

export const portFields: FieldsOf<BridgePortSettings> = {
  state: field(1, 'IFLA_BRPORT_STATE', choice('u8', portStates)),
  priority: field(2, 'IFLA_BRPORT_PRIORITY', number('u16', 0, 63)),
  cost: field(3, 'IFLA_BRPORT_COST', number('u32', 1, 65535)),
  hairpin: field(4, 'IFLA_BRPORT_MODE', boolean()),
  guard: field(5, 'IFLA_BRPORT_GUARD', boolean()),
  rootBlock: field(6, 'IFLA_BRPORT_PROTECT', boolean()),
  fastLeave: field(7, 'IFLA_BRPORT_FAST_LEAVE', boolean()),
  learning: field(8, 'IFLA_BRPORT_LEARNING', boolean()),
  unicastFlood: field(9, 'IFLA_BRPORT_UNICAST_FLOOD', boolean()),
  multicastFlood: field(27, 'IFLA_BRPORT_MCAST_FLOOD', boolean()),
  broadcastFlood: field(30, 'IFLA_BRPORT_BCAST_FLOOD', boolean()),
  proxyArp: field(10, 'IFLA_BRPORT_PROXYARP', boolean()),
  neighbourSuppress: field(32, 'IFLA_BRPORT_NEIGH_SUPPRESS', boolean()),
  isolated: field(33, 'IFLA_BRPORT_ISOLATED', boolean()),
  locked: field(39, 'IFLA_BRPORT_LOCKED', boolean()),
};

/** ETH_P_8021Q, ETH_P_8021AD. */
const vlanProtocols = { '802.1Q': 0x8100, '802.1ad': 0x88a8 } as const;

const vlanFields: FieldsOf<VlanSettings> = {
  id: field(1, 'IFLA_VLAN_ID', number('u16', 1, 4094)),
  protocol: field(5, 'IFLA_VLAN_PROTOCOL', choice('u16be', vlanProtocols)),
};

const macvlanModes = { private: 1, vepa: 2, bridge: 4, passthru: 8, source: 16 } as const;

const macvlanFields: FieldsOf<MacvlanSettings> = {
  mode: field(1, 'IFLA_MACVLAN_MODE', choice('u32', macvlanModes)),
};

const ipvlanFields: FieldsOf<IpvlanSettings> = {
  mode: field(1, 'IFLA_IPVLAN_MODE', choice('u16', { l2: 0, l3: 1, l3s: 2 })),
  flag: field(2, 'IFLA_IPVLAN_FLAGS', choice('u16', { bridge: 0, private: 1, vepa: 2 })),
};

/** What the settings of a kind are called among the options, their fields, and which of them there must be. */
interface KindSettings {
  readonly key: 'bridge' | 'vlan' | 'macvlan' | 'ipvlan';
  readonly fields: Fields;
  readonly needed: readonly string[];
}

export const kindSettings: Readonly<Partial<Record<LinkKind, KindSettings>>> = {
  bridge: { key: 'bridge', fields: bridgeFields, needed: [] },
  vlan: { key: 'vlan', fields: vlanFields, needed: ['id'] },
  macvlan: { key: 'macvlan', fields: macvlanFields, needed: [] },
  ipvlan: { key: 'ipvlan', fields: ipvlanFields, needed: [] },
};

export const linkKinds: readonly LinkKind[] = ['bridge', 'dummy', 'ipvlan', 'macvlan', 'veth', 'vlan'];
