/** What of the network a container has: nothing, or one of several kinds, each with a key of its own. */

import { OptionError } from '../../errors.js';
import { parseIp } from '../../network/address.js';
import { Network } from '../../network/bridge/network.js';
import { type PublishSettings, readPublish } from '../../network/bridge/publish.js';
import { type EgressSettings, readEgress } from '../../network/egress/settings.js';
import { defineSchema, readChoice, readList, readObject } from './schema.js';

interface BridgeSettings {
  readonly kind: 'bridge';
  readonly network: Network;
  readonly address: number | undefined;
  readonly publish: readonly PublishSettings[];
}

export type NetworkSettings =
  | { readonly kind: 'none' }
  | { readonly kind: 'egress'; readonly egress: EgressSettings }
  | BridgeSettings;

export const noNetwork: NetworkSettings = Object.freeze({ kind: 'none' });

const schema = defineSchema(['egress', 'bridge', 'address', 'publish']);
const kinds = "'none', { egress: … }, or { bridge: … }";
const mostPublished = 256;

/** @throws OptionError */
export function readNetworkOption(value: unknown, option: string): NetworkSettings {
  if (typeof value !== 'object') {
    readChoice(value, option, ['none'], { also: '{ egress: … }, { bridge: … }' });
    return noNetwork;
  }
  const { egress, bridge, address, publish } = readObject(value, option, schema);
  if (bridge !== undefined) {
    if (egress !== undefined) throw new OptionError(option, 'either egress or bridge', value);
    return readBridge(bridge, address, publish, option);
  }
  if (egress === undefined) throw new OptionError(option, kinds, value);
  if (address !== undefined) throw new OptionError(`${option}.address`, 'nothing without bridge', address);
  if (publish !== undefined) throw new OptionError(`${option}.publish`, 'nothing without bridge', publish);
  return Object.freeze({ kind: 'egress', egress: readEgress(egress, `${option}.egress`) });
}

function readBridge(network: unknown, address: unknown, publish: unknown, option: string): BridgeSettings {
  if (!(network instanceof Network)) throw new OptionError(`${option}.bridge`, 'a Network', network);
  const list = publish === undefined ? [] : readList(publish, `${option}.publish`, 'a list of ports', mostPublished);
  if (network.internal && list.length > 0) {
    throw new OptionError(`${option}.publish`, 'nothing, as the network is internal', publish);
  }
  return {
    kind: 'bridge',
    network,
    address: address === undefined ? undefined : readAddress(address, `${option}.address`),
    publish: list.map((one, index) => readPublish(one, `${option}.publish[${index}]`, network.ipv6)),
  };
}

function readAddress(value: unknown, option: string): number {
  const address = typeof value === 'string' ? parseIp(value) : undefined;
  if (address?.family === 'ipv4') return address.bytes.readUInt32BE(0);
  throw new OptionError(option, "an IPv4 address of the network, such as '10.0.0.2'", value);
}
