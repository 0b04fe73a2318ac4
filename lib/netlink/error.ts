/** What the kernel refuses over netlink, and what cannot be understood: the one error of this folder. */

import { type ErrorDetails, TscontainError } from '../errors.js';

/** What is known about a refusal besides its sentence. */
export interface NetlinkErrorDetails extends ErrorDetails {
  /** The kernel's own words (NLMSGERR_ATTR_MSG), where it gave some. */
  readonly kernel?: string | undefined;
  /** The attribute of the request that the kernel objects to, with those around it: `IFLA_LINKINFO.IFLA_INFO_KIND`. */
  readonly attribute?: string | undefined;
  /** The attribute that the kernel misses. */
  readonly missing?: string | undefined;
  /** Which request of a batch, from 0. */
  readonly index?: number | undefined;
  /** All that was refused of a batch, in its order; this error is the first. */
  readonly errors?: readonly NetlinkError[] | undefined;
}

/**
 * A request that the kernel refused, or an answer that was lost or makes no sense. `code` says which:
 * `ERR_NETLINK` (refused; `errno` has the kernel's error), `ERR_NETLINK_MESSAGE` (malformed), `ERR_NETLINK_OVERRUN` (an answer
 * was lost, and whether the request was carried out is not known), `ERR_NETLINK_INTERRUPTED` (a list kept changing while it
 * was read).
 *
 * @see https://docs.kernel.org/userspace-api/netlink/intro.html
 */
export class NetlinkError extends TscontainError {
  override name = 'NetlinkError';
  readonly kernel: string | undefined;
  readonly attribute: string | undefined;
  readonly missing: string | undefined;
  readonly index: number | undefined;
  readonly errors: readonly NetlinkError[];

  constructor(code: `ERR_NETLINK${string}`, message: string, details: NetlinkErrorDetails = {}) {
    super(code, message, details);
    this.kernel = details.kernel;
    this.attribute = details.attribute;
    this.missing = details.missing;
    this.index = details.index;
    this.errors = details.errors ?? [];
  }
}

/** @throws NetlinkError always */
export function malformed(what: string): never {
  throw new NetlinkError('ERR_NETLINK_MESSAGE', `a netlink message is malformed: ${what}`);
}
