/** Group B of the catalogue: procfs, sysfs, cgroupfs, devices. */

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { isRoot } from '../../lib/host/configuration.js';
import { Container, type ContainerOptions, OptionError } from '../../lib/index.js';
import { injectFault } from '../../lib/plan/fault.js';
import type { Step } from '../../lib/plan/step.js';
import { checkSysctl } from '../../lib/primitives/sysctl.js';
import { needsRoot } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';
import { inside, insideOf, outside, probeArgv } from './probe.js';

checkResidue();

const golden = (name: string): string[] =>
  readFileSync(`${import.meta.dirname}/golden/${name}`, 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));

/** Everything below `roots` that opens for writing; nothing is written. */
const writable = (...roots: string[]) => `
found = []
for top in ${JSON.stringify(roots)}:
    for directory, names, files in os.walk(top):
        if top == '/proc' and directory == '/proc':
            names[:] = [n for n in names if not n.isdigit() and n not in ('self', 'thread-self')]
        if directory.startswith('/proc/self'):
            names[:] = [n for n in names if n not in ('task', 'fd', 'fdinfo', 'map_files', 'cwd', 'root')]
        for name in files:
            path = os.path.join(directory, name)
            if os.path.lexists(path) and stat.S_ISREG(os.lstat(path).st_mode) and opens(path, os.O_WRONLY) == 'OK':
                found.append(path)
answer(sorted(found))`;

describe('B: kernel file systems and devices', () => {
  it('B2, H11: no cgroup v1 tree is to be seen, and no file of the v2 one opens for writing', async () => {
    const mounts = await inside<string>(`answer(open('/proc/self/mountinfo').read())`);
    expect(mounts).not.toMatch(/ - cgroup /);
    expect(mounts.match(/ - cgroup2 /g)).toHaveLength(1);
    expect(await inside(writable('/sys/fs/cgroup'))).toEqual([]);
    expect(['EROFS', 'EACCES']).toContain(await inside(`answer(opens('/sys/fs/cgroup/cgroup.procs', os.O_WRONLY))`));
    expect(outside<string[]>(writable('/sys/fs/cgroup')).length).toBeGreaterThan(0);
  });

  it('B4: settings through which the kernel starts programs, or stops, do not open for writing', async (context) => {
    needsRoot(context);
    const paths = [
      '/proc/sys/kernel/core_pattern',
      '/proc/sys/kernel/modprobe',
      '/proc/sys/kernel/hotplug',
      '/proc/sys/kernel/domainname',
      '/proc/sys/fs/binfmt_misc/register',
      '/proc/sys/vm/panic_on_oom',
      '/proc/sysrq-trigger',
      '/sys/kernel/uevent_helper',
      '/sys/kernel/mm/transparent_hugepage/enabled',
    ];
    const probe = `answer({p: opens(p, os.O_WRONLY) for p in ${JSON.stringify(paths)} if os.path.lexists(p)})`;
    const values = () => readFileSync('/proc/sys/kernel/core_pattern', 'utf8');
    const before = values();
    const verdicts = await inside<Record<string, string>>(probe);
    expect(Object.keys(verdicts).length).toBeGreaterThan(1);
    for (const [path, verdict] of Object.entries(verdicts)) expect(['EROFS', 'EACCES'], path).toContain(verdict);
    expect(values()).toBe(before);
    expect(outside<Record<string, string>>(probe)['/proc/sys/kernel/core_pattern']).toBe('OK');
  });

  it('B5: only settings of the container’s own namespaces can be set, and only to one line', async () => {
    const host = readFileSync('/proc/sys/kernel/core_pattern', 'utf8');
    const refused: Record<string, unknown>[] = [
      { 'kernel.core_pattern': '|/x' },
      { 'kernel.msgmax+kernel.core_pattern': '|/x' },
      { 'kernel.msgmax=1': 1 },
      { 'kernel.msgmax\nkernel.core_pattern': 1 },
      { 'kernel.msgmax': '1\n|/x' },
      { 'net.ipv4.ip_forward': '1\n' },
      { 'net/../kernel/core_pattern': '|/x' },
      { 'net.ipv4.../.../kernel/core_pattern': '|/x' },
      { 'vm.overcommit_memory': 1 },
      { 'kernel.hostname': 'x' },
      { 'kernel.shmmax': Number.NaN },
    ];
    for (const sysctl of refused) {
      const start = Container.create({ sysctl } as ContainerOptions);
      await expect(start, JSON.stringify(sysctl)).rejects.toBeInstanceOf(OptionError);
    }
    await expect(Container.plan({ sysctls: {} } as ContainerOptions)).rejects.toBeInstanceOf(OptionError);
    expect(() => checkSysctl('net.ipv4.ip_forward', 1, 'sysctl', false)).toThrow(OptionError);
    expect(checkSysctl('net.ipv4.ip_forward', 1, 'sysctl', true).value).toBe('1');
    const read = `answer([open('/proc/sys/' + p).read().strip() for p in ('kernel/msgmax', 'net/ipv4/ip_forward', 'kernel/core_pattern')])`;
    const sysctl = { 'kernel.msgmax': 4099, 'net.ipv4.ip_forward': 1 };
    expect(await inside(read, { sysctl })).toEqual(['4099', '1', host.trim()]);
    expect(readFileSync('/proc/sys/kernel/core_pattern', 'utf8')).toBe(host);
    expect(outside<string[]>(read)[0]).not.toBe('4099');
  });

  it('B6: what opens for writing below /proc and /sys is on the golden list', async (context) => {
    needsRoot(context);
    const list = new Set(golden('writable-kernel-files.txt'));
    const probe = writable('/proc', '/proc/self', '/sys');
    const unexpected = (found: readonly string[]) => found.filter((path) => !list.has(path));
    const found = await inside<string[]>(probe);
    expect(found).toContain('/proc/self/oom_score_adj');
    expect(unexpected(found)).toEqual([]);
    expect(unexpected(outside<string[]>(writable('/proc/sys/kernel'))).length).toBeGreaterThan(5);
  });

  it('B6: files that tell of the host’s hardware and kernel read as empty', async (context) => {
    needsRoot(context); // outside, as the control, some of them are root's only
    const paths = ['interrupts', 'timer_list', 'keys', 'kcore', 'sched_debug', 'scsi', 'acpi'].map(
      (name) => `/proc/${name}`,
    );
    const probe = `
def content(p):
    try: return len(os.listdir(p)) if os.path.isdir(p) else len(os.read(os.open(p, os.O_RDONLY), 64))
    except FileNotFoundError: return 0
answer([content(p) for p in ${JSON.stringify([...paths, '/sys/firmware'])}])`;
    expect(new Set(await inside<number[]>(probe))).toEqual(new Set([0]));
    expect(Math.max(...outside<number[]>(probe))).toBeGreaterThan(0);
  });

  it('B7: the device nodes are the golden set, and no other can be made', async (context) => {
    needsRoot(context);
    const probe = `
found = []
for directory, names, files in os.walk('/'):
    names[:] = [n for n in names if os.path.join(directory, n) not in ('/proc', '/sys', '/usr')]
    for name in files:
        s = os.lstat(os.path.join(directory, name))
        if stat.S_ISCHR(s.st_mode) or stat.S_ISBLK(s.st_mode):
            found.append('%s %s %d:%d' % (os.path.join(directory, name), 'c' if stat.S_ISCHR(s.st_mode) else 'b', os.major(s.st_rdev), os.minor(s.st_rdev)))
answer(sorted(found))`;
    expect(await inside(probe)).toEqual(golden('device-nodes.txt'));
    const make = (path: string) =>
      `answer(attempt(lambda: os.mknod('${path}', 0o600 | stat.S_IFCHR, os.makedev(1, 3))))`;
    expect(await inside(make('/tmp/null'))).toBe('EPERM');
    expect(await inside(make('/tmp/null'), { capabilities: ['MKNOD', 'DAC_OVERRIDE'] })).toBe('EPERM');
    const path = `/dev/tscontain-test-${process.pid}`;
    expect(outside(`${make(path)}\nos.unlink('${path}')`)).toBe('OK');
  });

  it('B7: the device nodes are the host’s, and the container’s root cannot change anything about them', async (context) => {
    needsRoot(context);
    const facts = () =>
      outside(
        'answer([list(os.stat("/dev/" + n))[:7] + [os.stat("/dev/" + n).st_mtime_ns] for n in ("null", "zero", "full", "tty")])',
      );
    const before = facts();
    const change = `
path = '/dev/null'
answer([attempt(lambda: os.chmod(path, 0o600)), attempt(lambda: os.chown(path, 0, 0)), attempt(lambda: os.utime(path)),
        attempt(lambda: os.unlink(path)), attempt(lambda: os.setxattr(path, 'user.x', b'1'))])`;
    const verdicts = await inside<string[]>(change);
    expect(verdicts).not.toContain('OK');
    expect(facts()).toEqual(before);
    const file = outside<string[]>(`
import tempfile
path = tempfile.mkdtemp() + '/f'
open(path, 'w')
${change.replace("path = '/dev/null'", '')}`);
    expect(file.slice(0, 4)).toEqual(['OK', 'OK', 'OK', 'OK']);
  });

  it('B8: only processes of the container are to be seen', async () => {
    const probe = `
lines = []
for pid in filter(str.isdigit, os.listdir('/proc')):
    try: lines.append(open('/proc/%s/cmdline' % pid).read())
    except OSError: pass
answer(lines)`;
    await using box = await Container.create();
    const lines = await insideOf<string[]>(box, probe);
    expect(lines).toHaveLength(2);
    expect(lines.join()).not.toContain('vitest');
    expect(outside<string[]>(probe).join()).toContain('vitest');
    expect(readdirSync('/proc')).toContain(String(box.inspect().pid));
  });

  it('B9: the kernel’s log is out of reach', async (context) => {
    needsRoot(context);
    const number = process.arch === 'x64' ? 103 : 116;
    const probe = `answer([call(${number}, 10, None, 0), call(${number}, 3, ctypes.create_string_buffer(16), 16), os.path.lexists('/dev/kmsg'), opens('/proc/kmsg', os.O_RDONLY)])`;
    expect(await inside(probe)).toEqual(['EPERM', 'EPERM', false, 'EACCES']);
    expect(outside<unknown[]>(probe)[0]).toBe('OK');
  });

  it('B1: what the host reads about a process is what was asked for', async () => {
    const sysctl = { 'kernel.msgmax': 4099 };
    await using box = await Container.create({ sysctl, oomScoreAdj: 123 });
    const process = box.exec(
      probeArgv('answer(open("/proc/sys/kernel/msgmax").read().strip()); sys.stdout.flush(); sys.stdin.read()'),
      { stdin: 'pipe', oomScoreAdj: 456 },
    );
    const lines = process.lines();
    expect((await lines.next()).value).toContain('4099');
    const pid = box.inspect().pid;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    expect(readFileSync(`/proc/${children}/oom_score_adj`, 'utf8').trim()).toBe('456');
    expect(readFileSync(`/proc/${children}/uid_map`, 'utf8').trim().split(/\s+/)[1]).toBe(
      String(box.inspect().ids.first),
    );
    // From outside, and through the host's own procfs: a program of the host's in the same namespace of ipc.
    const user = isRoot() ? [] : ['--user', '--preserve-credentials'];
    const look = [...user, '--target', String(children), '--ipc', 'cat', '/proc/sys/kernel/msgmax'];
    expect(execFileSync('nsenter', look, { encoding: 'utf8' }).trim()).toBe('4099');
    expect(readFileSync('/proc/sys/kernel/msgmax', 'utf8').trim()).not.toBe('4099');
    process.stdin?.end();
    await process;
  });

  it('B1: a score that the kernel does not let a program have stops its start', async () => {
    injectFault({ part: 'process', index: await at('oomScoreAdjust'), replacement: lower });
    try {
      const run = Container.run(['/bin/true'], { oomScoreAdj: 5 });
      await expect(run).rejects.toMatchObject({ code: 'ERR_STEP', step: { kind: 'oomScoreAdjust' } });
    } finally {
      injectFault(undefined);
    }
    expect((await Container.run(['/bin/true'], { oomScoreAdj: 5 })).exitCode).toBe(0);
  });
});

/** Less than what the launcher began with takes CAP_SYS_RESOURCE on the host. */
const lower: Step = { kind: 'oomScoreAdjust', value: -1000 };

async function at(kind: Step['kind']): Promise<number> {
  const plan = await Container.plan({ oomScoreAdj: 5 });
  return plan.steps.filter(({ where }) => where === 'process').findIndex(({ step }) => step.kind === kind);
}
