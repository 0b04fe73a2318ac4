/**
 * The answering side alone, without a container: a program of the host loads a filter of ours by itself and sends its
 * listener, as a starting program of a container does.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, type TestContext } from 'vitest';
import { type DeniedCall, Seccomp, type SeccompHandler, type SeccompProfile } from '../../lib/index.js';
import { Supervisor, withRefusalsNotified } from '../../lib/primitives/seccomp/index.js';
import { syscallNumber } from '../../lib/primitives/seccomp/syscalls.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

const arch = process.arch === 'arm64' ? 'arm64' : 'x64';
const nr = (name: string): number => syscallNumber(arch, name) ?? -1;

const program = `
import array, ctypes, errno, os, signal, socket, struct, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
bytecode = bytes.fromhex(sys.argv[1])
class Filter(ctypes.Structure): _fields_ = [('length', ctypes.c_ushort), ('program', ctypes.c_char_p)]
assert libc.prctl(38, 1, 0, 0, 0) == 0
listener = libc.syscall(${nr('seccomp')}, 1, 8, ctypes.byref(Filter(len(bytecode) // 8, bytecode)))
assert listener >= 0, ctypes.get_errno()
peer = socket.socket(fileno=3)
peer.sendmsg([struct.pack('<HBBI', 70, 0, 0, 8)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [listener]))])
os.close(listener)
peer.close()
def call(number, *arguments):
    ctypes.set_errno(0)
    got = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) for a in arguments])
    return errno.errorcode[ctypes.get_errno()] if got < 0 else str(got)
def say(text):
    os.write(1, (text + '\\n').encode())
`;

interface Filtered {
  readonly child: ChildProcess;
  readonly supervisor: Supervisor;
  readonly denied: DeniedCall[];
  readonly failures: string[];
  /** Settles when nothing is under the filter any more. */
  readonly ended: Promise<void>;
  lines(count: number): Promise<string[]>;
}

const profile: SeccompProfile = {
  defaultAction: 'SCMP_ACT_ALLOW',
  syscalls: [
    { names: ['getpgid'], action: 'SCMP_ACT_NOTIFY' },
    { names: ['getsid'], action: 'SCMP_ACT_ERRNO', errnoRet: 95 },
  ],
};

function start(context: TestContext, code: string, handler: SeccompHandler): Filtered {
  const filter = Seccomp.compile(profile);
  const denied: DeniedCall[] = [];
  const failures: string[] = [];
  let end = () => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  const supervisor = new Supervisor(
    { filter, handler },
    { denied: (call) => denied.push(call), failed: (error) => failures.push(error.message), ended: () => end() },
  );
  const loaded = Buffer.from(withRefusalsNotified(filter.program)).toString('hex');
  const child = spawn('python3', ['-I', '-c', program + code, loaded], {
    stdio: ['pipe', 'pipe', 'inherit', supervisor.peer.number],
  });
  supervisor.peer.close();
  context.onTestFinished(() => {
    child.kill('SIGKILL');
    supervisor.close();
  });
  let text = '';
  child.stdout?.on('data', (data) => {
    text += data;
  });
  const lines = async (count: number) => {
    await expect.poll(() => text.split('\n').length - 1, { timeout: 8000 }).toBeGreaterThanOrEqual(count);
    return text.trim().split('\n');
  };
  return { child, supervisor, denied, failures, ended, lines };
}

describe('a supervisor', () => {
  it('answers the program whose listener it got, tells of refusals, and notices the end of the last process', async (context) => {
    const code = `
if os.fork() == 0:
    say(call(${nr('getpgid')}, 5))
    say(call(${nr('getsid')}, 0))
    os._exit(0)
os.wait()
say(call(${nr('getpgid')}, 6))`;
    const handler: SeccompHandler = (call) => ({ value: 100 + call.int(0) });
    const { lines, denied, ended } = start(context, code, handler);
    expect(await lines(3)).toEqual(['105', 'ENOTSUP', '106']);
    expect(denied.map(({ syscall, errno }) => [syscall, errno])).toEqual([['getsid', 'EOPNOTSUPP']]);
    await ended;
  });

  it('F11: calls that nobody answers any more fail, those that wait and those that come', async (context) => {
    const asked: number[] = [];
    const code = `
def ask(): say('waiting ' + call(${nr('getpgid')}, 1))
thread = threading.Thread(target=ask)
thread.start()
thread.join()
say('later ' + call(${nr('getpgid')}, 2))
say('refused ' + call(${nr('getsid')}, 0))`;
    const { supervisor, lines, failures } = start(context, code, (call) => {
      asked.push(call.int(0));
      return new Promise(() => {});
    });
    await expect.poll(() => asked).toEqual([1]);
    supervisor.close();
    expect(await lines(3)).toEqual(['waiting ENOSYS', 'later ENOSYS', 'refused ENOSYS']);
    expect([asked, failures]).toEqual([[1], []]);
  });

  it('survives callers that are killed while it decides', async (context) => {
    const code = `
children = []
word = ctypes.create_string_buffer(b'word')
for i in range(60):
    pid = os.fork()
    if pid == 0:
        call(${nr('getpgid')}, i, ctypes.addressof(word))
        os._exit(0)
    children.append(pid)
import time
for pid in children:
    time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
for pid in children: os.waitpid(pid, 0)
say(call(${nr('getpgid')}, 999, ctypes.addressof(word)))`;
    let valid = 0;
    const handler: SeccompHandler = async (call) => {
      await sleep(call.int(0) % 7);
      try {
        if (call.readString(1) === 'word') valid++;
      } catch (error) {
        expect(error).toMatchObject({ code: 'ERR_CALL_GONE' });
      }
      return { value: 1 };
    };
    const { lines, failures, ended } = start(context, code, handler);
    expect(await lines(1)).toEqual(['1']);
    expect(failures).toEqual([]);
    expect(valid).toBeGreaterThan(0);
    await ended;
  });

  it('that gets no listener, as the program died before, ends', async (context) => {
    const { child, ended } = start(context, 'pass', () => 'continue');
    child.kill('SIGKILL');
    await once(child, 'close');
    await ended;
  });
});
