/** Names of cgroups that a caller gives: beneath the library's base, or an absolute path of any cgroup to open. */

import { OptionError } from '../../errors.js';
import { cgroupName } from './name.js';

/** Files of the kernel are called CONTROLLER.SOMETHING, in one directory with the children, on v1 also these. */
const kernelName =
  /^(cgroup|cpu|cpuacct|cpuset|io|blkio|memory|pids|hugetlb|rdma|misc|dmem|devices|freezer|net_cls|net_prio|perf_event|debug|irq)\.|^(tasks|notify_on_release|release_agent)$/;
/** What containers are called, so that cgroups of a dead program's are known and removed. */
const containerName = /^[0-9a-f]{8}-/;
const maxDepth = 16;

/**
 * The components of a path beneath the base, such as `'jobs/one'`.
 * @throws OptionError naming `option`
 */
export function cgroupPath(value: unknown, option: string): string[] {
  if (typeof value !== 'string')
    throw new OptionError(option, "a path beneath the library's base, such as 'jobs/one'", value);
  const components = value.split('/');
  if (components.length > maxDepth) throw new OptionError(option, `at most ${maxDepth} components`, value);
  components.forEach((component, index) => {
    cgroupName(component, option);
    if (kernelName.test(component)) {
      throw new OptionError(option, 'names that no file of a cgroup has', value, {
        hint: `put an underscore before it: '${value.replace(component, `x_${component}`)}'`,
      });
    }
    if (index === 0 && containerName.test(component)) {
      throw new OptionError(
        option,
        'a name that is not like those of containers (eight hexadecimal digits and -)',
        value,
      );
    }
  });
  return components;
}

/**
 * An absolute path, unchanged, of components that are plain names.
 * @throws OptionError naming `option`
 */
export function absolutePath(value: string, option: string): string {
  const plain = value
    .slice(1)
    .split('/')
    .every((part) => part !== '' && part !== '.' && part !== '..' && !/[\p{Cc}\p{Cs}]/u.test(part));
  if (plain && Buffer.byteLength(value) < 4096) return value;
  throw new OptionError(option, "an absolute path without '.', '..', empty components and control characters", value);
}
