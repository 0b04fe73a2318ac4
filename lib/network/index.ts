/** What there is to see of networks. */

export type { IpFamily } from './address.js';
export type { ContainerNetwork } from './bridge/container-network.js';
export { Network, type NetworkInspection, type NetworkStatistics } from './bridge/network.js';
export type { PublishedPort, PublishOptions } from './bridge/publish.js';
export type { NetworkOptions } from './bridge/settings.js';
export { ContainerEgress, type EgressEvents } from './egress/egress.js';
export type * from './egress/options.js';
export {
  type InterfaceAddress,
  InterfaceAddresses,
  type InterfaceAddressOptions,
  type NetworkListOptions,
} from './interface-addresses.js';
export type * from './link/options.js';
export { Links, type LinksOptions } from './links.js';
export { type Neighbour, type NeighbourOptions, type NeighbourState, Neighbours } from './neighbours.js';
export {
  type NextHop,
  type Route,
  type RouteHop,
  type RouteListOptions,
  type RouteOptions,
  Routes,
} from './routes.js';
export { type RoutingRule, type RoutingRuleAction, type RoutingRuleOptions, RoutingRules } from './rules.js';
export type { RouteProtocol, RouteScope, RouteTable, RouteType } from './scope.js';
export { NetworkSysctl } from './sysctl.js';
export type { NetworkTarget } from './target.js';
export { type NetworkEvent, NetworkEvents, type NetworkEventType, type WatchOptions } from './watch.js';
