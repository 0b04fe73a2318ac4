/**
 * AppArmor: a policy of the host's, which a program cannot change whoever it is. This writes a profile that denies one file,
 * and, where the kernel has AppArmor and its compiler is installed, loads it and runs a program under it.
 */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { AppArmor, Container, SELinux, UnsupportedError } from 'tscontain';
import { example, show } from '../show.js';

const name = `tscontain-example-${process.pid}`;
const secret = '/etc/secret';

/** Text of policy to what the kernel takes. */
function compile(text: string): Buffer {
  const folder = mkdtempSync(`${tmpdir()}/apparmor-`);
  try {
    writeFileSync(`${folder}/text`, text);
    const args = ['--skip-kernel-load', '--skip-cache', '--ofile', `${folder}/binary`, `${folder}/text`];
    const { error, stderr } = spawnSync('apparmor_parser', args, { encoding: 'utf8' });
    if (error) throw new UnsupportedError('there is no apparmor_parser', { hint: 'apt-get install apparmor' });
    if (stderr) show('apparmor_parser', stderr.trim());
    return readFileSync(`${folder}/binary`);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

await example(async () => {
  show('SELinux', SELinux.enabled() ? `enabled, ${SELinux.current()}` : 'this kernel has none');
  const text = AppArmor.profile({ name, denyFiles: [{ path: secret, access: ['read', 'write'] }] });
  for (const line of text.split('\n').slice(2, 8)) show('the profile', line);

  // From here on the kernel has to have it.
  show('loaded before', `${AppArmor.profiles().length} profiles`, `this process: ${AppArmor.current().name}`);
  AppArmor.load(compile(text));
  try {
    await using box = await Container.create({ appArmor: name });
    await box.fs.writeFile(secret, 'hidden');
    const { stdout } = await box.exec(['cat', '/proc/self/attr/current']);
    show('label', stdout.trim(), 'of a program inside');
    const { stderr } = await box.exec(['cat', secret]);
    show('as root', stderr.trim(), `who owns ${secret}`);
  } finally {
    AppArmor.remove(name);
  }
});
