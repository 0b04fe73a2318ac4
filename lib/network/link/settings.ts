/** Options of links, checked and made into attributes. */

import {
  byteLength,
  defineSchema,
  optionName,
  readBoolean,
  readChoice,
  readInteger,
  readObject,
  readText,
} from '../../container/settings/schema.js';
import { OptionError } from '../../errors.js';
import { AttributeWriter } from '../../netlink/attributes.js';
import { native } from '../../netlink/message.js';
import { readMac } from '../address.js';
import { ifla, iflaInfo } from '../rtnetlink.js';
import { readFields, type Written, writeFields } from './fields.js';
import { bridgeFields, kindSettings, linkKinds, portFields } from './kinds.js';
import type { LinkKind, LinkReference } from './options.js';
import { ifinfoLength, linkFlag } from './read.js';

/** IFNAMSIZ, with the NUL. */
const longestName = 15;
const longestAlias = 255;

const general = [
  'up',
  'mtu',
  'address',
  'master',
  'txQueueLength',
  'alias',
  'group',
  'promiscuous',
  'allMulticast',
  'multicast',
  'arp',
] as const;
const hints = new Map([['port', 'a port has settings once it is one: use set']]);
const kindKeys: Readonly<Record<LinkKind, readonly string[]>> = {
  bridge: ['bridge'],
  dummy: [],
  veth: ['peer'],
  vlan: ['link', 'vlan'],
  macvlan: ['link', 'macvlan'],
  ipvlan: ['link', 'ipvlan'],
};
const peerSchema = defineSchema(['name', 'namespace', 'up', 'mtu', 'address']);
const changesSchema = defineSchema([...general, 'name', 'namespace', 'bridge', 'port']);

/** What every link has, checked. */
interface General {
  readonly flags: number;
  readonly change: number;
  readonly attributes: Buffer;
  readonly master: LinkReference | null | undefined;
  /** Apart from the others: a link that is being made takes none. */
  readonly alias: Buffer | undefined;
}

/** A new link, checked. References to others are not resolved yet. */
export interface NewLinkSettings extends General {
  readonly kind: LinkKind;
  readonly name: string;
  readonly link: LinkReference | undefined;
  /** Of the kind's own. */
  readonly own: Written;
  readonly peer: (General & { readonly name: string; readonly namespace: unknown }) | undefined;
}

/** Changes, checked. */
export interface ChangeSettings extends General {
  readonly name: string | undefined;
  readonly namespace: unknown;
  readonly bridge: Written | undefined;
  readonly port: Written | undefined;
}

/** @throws OptionError */
export function readNewLink(options: unknown): NewLinkSettings {
  const all = defineSchema(['kind', 'name', ...general, ...Object.values(kindKeys).flat()], hints);
  const { kind: given } = readObject(options, '', all);
  const kind = readChoice(given, 'kind', linkKinds);
  const fields = readObject(
    options,
    '',
    defineSchema(['kind', 'name', ...general, ...kindKeys[kind]] as string[], hints),
  );
  const own = kindSettings[kind];
  const written =
    own === undefined
      ? new Map()
      : readFields(own.needed.length > 0 ? fields[own.key] : (fields[own.key] ?? {}), own.key, own.fields, own.needed);
  return {
    ...readGeneral(fields, ''),
    kind,
    name: readLinkName(fields.name, 'name'),
    link: kindKeys[kind].includes('link') ? readReference(fields.link, 'link') : undefined,
    own: written,
    peer: kind === 'veth' ? readPeer(fields.peer) : undefined,
  };
}

function readPeer(value: unknown): NewLinkSettings['peer'] {
  const fields = readObject(value, 'peer', peerSchema);
  return { ...readGeneral(fields, 'peer'), name: readLinkName(fields.name, 'peer.name'), namespace: fields.namespace };
}

/** @throws OptionError */
export function readChanges(options: unknown): ChangeSettings {
  const fields = readObject(options, '', changesSchema);
  for (const key of ['bridge', 'port'] as const) {
    if (fields.namespace === undefined || fields[key] === undefined) continue;
    throw new OptionError(key, `no ${key} beside namespace`, fields[key], { hint: 'set it where the link is then' });
  }
  return {
    ...readGeneral(fields, ''),
    name: fields.name === undefined ? undefined : readLinkName(fields.name, 'name'),
    namespace: fields.namespace,
    bridge: fields.bridge === undefined ? undefined : readFields(fields.bridge, 'bridge', bridgeFields),
    port: fields.port === undefined ? undefined : readFields(fields.port, 'port', portFields),
  };
}

/** Names that mean something else: a directory, and, among settings of the kernel, every link and those to come. */
const otherNames = ['.', '..', 'all', 'default'];

/** A name that the kernel takes as it is: with a `%` in it, it would choose another. */
export function readLinkName(value: unknown, option: string): string {
  const expected = `a name of a link, of at most ${longestName} bytes without /, :, % and space`;
  const name = readText(value, option, expected);
  if (name === '' || otherNames.includes(name) || byteLength(name) > longestName || /[/:%\s]/.test(name)) {
    throw new OptionError(option, expected, value);
  }
  return name;
}

/** @throws OptionError */
export function readReference(value: unknown, option: string): LinkReference {
  if (typeof value === 'number') return readInteger(value, option, 1, 2 ** 31 - 1);
  if (typeof value === 'string') return readLinkName(value, option);
  throw new OptionError(option, 'the index of a link, or its name', value);
}

function readGeneral(fields: { readonly [key: string]: unknown }, parent: string): General {
  const name = (key: string) => optionName(parent, key);
  const { flags, change } = readFlags(fields, name);
  const attributes = new AttributeWriter();
  if (fields.mtu !== undefined) attributes.u32(ifla.MTU, readInteger(fields.mtu, name('mtu'), 68, 2 ** 31 - 1));
  if (fields.address !== undefined) attributes.binary(ifla.ADDRESS, readMac(fields.address, name('address')));
  if (fields.txQueueLength !== undefined) {
    attributes.u32(ifla.TXQLEN, readInteger(fields.txQueueLength, name('txQueueLength'), 0, 2 ** 31 - 1));
  }
  if (fields.group !== undefined) attributes.u32(ifla.GROUP, readInteger(fields.group, name('group'), 0, 2 ** 31 - 1));
  const { master } = fields;
  return {
    flags,
    change,
    attributes: attributes.bytes(),
    alias: fields.alias === undefined ? undefined : readAlias(fields.alias, name('alias')),
    master: master === undefined || master === null ? master : readReference(master, name('master')),
  };
}

function readAlias(value: unknown, option: string): Buffer {
  const expected = `a text of at most ${longestAlias} bytes`;
  const bytes = Buffer.from(readText(value, option, expected));
  if (bytes.length > longestAlias) throw new OptionError(option, expected, value);
  return bytes;
}

const flagOptions = {
  up: [linkFlag.UP, true],
  promiscuous: [linkFlag.PROMISC, true],
  allMulticast: [linkFlag.ALLMULTI, true],
  multicast: [linkFlag.MULTICAST, true],
  arp: [linkFlag.NOARP, false],
} as const;

function readFlags(fields: { readonly [key: string]: unknown }, name: (key: string) => string) {
  let flags = 0;
  let change = 0;
  for (const [key, [flag, when]] of Object.entries(flagOptions)) {
    if (fields[key] === undefined) continue;
    change |= flag;
    if (readBoolean(fields[key], name(key), false) === when) flags |= flag;
  }
  return { flags, change };
}

/** `struct ifinfomsg`. */
export function ifinfo(index = 0, flags = 0, change = 0, family = 0): Buffer {
  const bytes = Buffer.alloc(ifinfoLength);
  bytes.writeUInt8(family, 0);
  native.writeI32(bytes, index, 4);
  native.writeU32(bytes, flags, 8);
  native.writeU32(bytes, change, 12);
  return bytes;
}

/** VETH_INFO_PEER: the other end as a link of its own. */
export const vethPeer = 1;

/** What there is to say of the kind, inside IFLA_LINKINFO. */
export function writeKind(to: AttributeWriter, { kind, own, peer }: NewLinkSettings, peerNamespace?: number): void {
  to.nested(ifla.LINKINFO, (info) => {
    info.string(iflaInfo.KIND, kind);
    if (own.size > 0) info.nested(iflaInfo.DATA, (data) => void writeFields(own, data));
    if (peer === undefined) return;
    const other = new AttributeWriter().string(ifla.IFNAME, peer.name).append(peer.attributes);
    if (peerNamespace !== undefined) other.u32(ifla.NET_NS_FD, peerNamespace);
    // Not up yet: it is configured before it is one end of a pair, when veth has it fail (ENOTCONN).
    const bytes = Buffer.concat([ifinfo(), other.bytes()]);
    info.nested(iflaInfo.DATA, (data) => void data.binary(vethPeer, bytes));
  });
}
