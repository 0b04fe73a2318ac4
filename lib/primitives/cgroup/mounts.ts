/**
 * Where the kernel says the cgroup hierarchies are mounted (`/proc/self/mountinfo`) and where this process is in each
 * (`/proc/self/cgroup`). Text in, data out; see proc_pid_mountinfo(5) and cgroups(7).
 */

/** One visible mount of a cgroup file system. */
export interface CgroupMount {
  readonly version: 1 | 2;
  /** The mount point, unescaped. */
  readonly point: string;
  /** The cgroup that the mount shows as its top; not `/` for a bind mount, or in a container without a cgroup namespace. */
  readonly root: string;
  readonly readOnly: boolean;
  /** v1: the controllers of the hierarchy by their v1 names, none for a named one. v2: always empty. */
  readonly controllers: readonly string[];
}

/** One line of `/proc/self/cgroup`: the v2 line has no controllers. */
export interface Membership {
  readonly controllers: readonly string[];
  readonly path: string;
}

interface MountLine {
  readonly id: string;
  readonly parent: string;
  readonly root: string;
  readonly point: string;
  readonly options: readonly string[];
  readonly type: string;
  readonly superOptions: readonly string[];
}

/** The cgroup mounts that a path can reach: one that another mount covers is left out. */
export function parseCgroupMounts(mountinfo: string): CgroupMount[] {
  const lines = mountinfo.split('\n').flatMap((line) => parseMountLine(line) ?? []);
  // A covering mount is a child of what it covers, at the very same path.
  const covered = new Set(lines.map((line) => `${line.parent} ${line.point}`));
  return lines.flatMap((line) => {
    const version = line.type === 'cgroup2' ? 2 : line.type === 'cgroup' ? 1 : undefined;
    if (version === undefined || covered.has(`${line.id} ${line.point}`)) return [];
    const readOnly = line.options.includes('ro') || line.superOptions.includes('ro');
    const controllers = version === 2 || line.superOptions.some((o) => o.startsWith('name=')) ? [] : line.superOptions;
    return [{ version, point: line.point, root: line.root, readOnly, controllers }];
  });
}

/** The cgroup of this process in each hierarchy. Lines that are none are skipped. */
export function parseSelfCgroup(text: string): Membership[] {
  return text.split('\n').flatMap((line) => {
    // The path is the last field, and may have colons of its own.
    const match = /^(\d+):([^:]*):(\/.*)$/.exec(line);
    if (!match) return [];
    const [, id, controllers = '', path = '/'] = match;
    // `name=systemd` is a hierarchy without controllers; so is the v2 line, which alone is number 0.
    if (id !== '0' && (controllers === '' || controllers.includes('='))) return [];
    return [{ controllers: id === '0' ? [] : controllers.split(','), path }];
  });
}

/**
 * The file system path of a cgroup below a mount, or undefined when the mount does not show it. Both paths are seen from
 * this process's cgroup namespace, in which what lies outside begins with `/..`.
 */
export function locate(mount: CgroupMount, cgroup: string): string | undefined {
  const root = mount.root === '/' ? '' : mount.root;
  if (cgroup !== root && !cgroup.startsWith(`${root}/`)) return undefined;
  const inside = cgroup.slice(root.length);
  if (inside.split('/').includes('..')) return undefined;
  return inside === '' || inside === '/' ? mount.point : `${mount.point === '/' ? '' : mount.point}${inside}`;
}

function parseMountLine(line: string): MountLine | undefined {
  // 40 30 0:37 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
  const [before, after] = splitOnce(line, ' - ');
  if (after === undefined) return undefined;
  const [id, parent, , root, point, options] = before.split(' ');
  const [type, , superOptions = ''] = after.split(' ');
  if (!id || !parent || !root || !point || !options || !type) return undefined;
  return {
    id,
    parent,
    root: unescapeOctal(root),
    point: unescapeOctal(point),
    options: options.split(','),
    type,
    superOptions: superOptions.split(','),
  };
}

function splitOnce(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + separator.length)];
}

/** The kernel writes space, tab, newline, `#` and backslash as three octal digits. */
function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
