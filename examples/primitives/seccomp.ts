/**
 * seccomp: a small program of the kernel's own kind looks at each system call before it is carried out. Here one is
 * compiled, read, asked what it would answer, and then lived under: calls are refused, told of, and decided by this file.
 */

import { constants } from 'node:os';
import { Container, Seccomp, type SeccompProfile } from 'tscontain';
import { example, show } from '../show.js';

/** Everything is allowed, but for sockets other than AF_UNIX, and directories. */
const profile: SeccompProfile = {
  defaultAction: 'SCMP_ACT_ALLOW',
  syscalls: [
    { names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: constants.errno.EROFS },
    { names: ['socket'], action: 'SCMP_ACT_ERRNO', args: [{ index: 0, value: 1, op: 'SCMP_CMP_NE' }] },
  ],
};

await example(async () => {
  const filter = Seccomp.compile(profile);
  show('compiled', `${filter.length} instructions, ${filter.program.length} bytes`);
  for (const line of filter.disassemble().split('\n').slice(0, 6)) show('', line);

  for (const [name, family] of Object.entries({ AF_UNIX: 1, AF_INET: 2 })) {
    const { action, errno, instructions } = filter.simulate('socket', [family]);
    show(`socket(${name})`, `${action} ${errno ?? ''}`.trim(), `simulated: ${instructions} instructions executed`);
  }
  const standard = Seccomp.compile('default');
  const refused = ['mount', 'ptrace', 'bpf', 'keyctl', 'openat'].map((call) => {
    const { action, errno } = standard.simulate(call);
    return `${call}: ${errno ?? action}`;
  });
  show('the default', refused.join(', '), `${standard.length} instructions`);

  // The same rules in the kernel, before a real program. `audit` tells of each refusal.
  await using box = await Container.create({ seccomp: { profile, audit: true } });
  box.on('denied', (call) => {
    if (call.kind === undefined) show('denied', `${call.syscall} with ${call.errno}`, 'the event, in this process');
  });
  const { stderr } = await box.exec(['mkdir', '/tmp/new']);
  show('mkdir', stderr.trim(), 'inside');

  // And with a handler: the program waits while this function decides.
  const decided = await Container.run(['uname', '-s'], {
    seccomp: {
      notify: {
        uname: (call) => {
          // struct utsname begins with 65 bytes for the name of the system.
          call.writeBytes(0, Buffer.from('Node\0'));
          return { value: 0 };
        },
      },
    },
  });
  show('uname', decided.stdout.trim(), 'a call that this file has answered instead of the kernel');
});
