/**
 * File systems through which the kernel is steered or read. A bind of one would bring back into a container what its own
 * /proc, /sys and /dev leave out or mask (CVE-2015-3631).
 */

/** By their statfs(2) type (`linux/magic.h`). devtmpfs is not here: it says that it is a tmpfs. */
const byMagic: ReadonlyMap<number, string> = new Map([
  [0x9fa0, 'proc'],
  [0x62656572, 'sysfs'],
  [0x27e0eb, 'cgroup'],
  [0x63677270, 'cgroup2'],
  [0x1cd1, 'devpts'],
  [0x64626720, 'debugfs'],
  [0x74726163, 'tracefs'],
  [0x73636673, 'securityfs'],
  [0x62656570, 'configfs'],
  [0xcafe4a11, 'bpf'],
  [0xde5e81e4, 'efivarfs'],
  [0x6165676c, 'pstore'],
  [0x42494e4d, 'binfmt_misc'],
  [0xf97cff8c, 'selinuxfs'],
  [0x65735543, 'fusectl'],
  [0x6e736673, 'nsfs'],
  [0x50494446, 'pidfs'],
  [0x19800202, 'mqueue'],
]);

const names: ReadonlySet<string> = new Set([...byMagic.values(), 'devtmpfs', 'rpc_pipefs']);

/** The name of a file system of the kernel; undefined for one that holds files. */
export function kernelFileSystem(magic: number): string | undefined {
  return byMagic.get(magic);
}

/**
 * The first file system of the kernel that is mounted on `directory` or below it, as text for people.
 * @param mountinfo the text of `/proc/self/mountinfo`
 * @param directory absolute, without links
 */
export function kernelMountBelow(mountinfo: string, directory: string): string | undefined {
  const prefix = directory === '/' ? '/' : `${directory}/`;
  for (const line of mountinfo.split('\n')) {
    // proc_pid_mountinfo(5): id parent major:minor root MOUNT-POINT options [fields…] - TYPE source options
    const [place = '', type = ''] = [line.split(' ', 5)[4], line.slice(line.indexOf(' - ') + 3).split(' ', 1)[0]];
    if (!names.has(type)) continue;
    const path = unescapeOctal(place);
    if (path === directory || path.startsWith(prefix)) return `${type} on ${path}`;
  }
  return undefined;
}

/** mountinfo writes blanks and backslashes as three octal digits. */
function unescapeOctal(path: string): string {
  return path.replace(/\\(\d{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
