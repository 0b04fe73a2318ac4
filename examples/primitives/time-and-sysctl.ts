/**
 * Clocks and settings that a container has of its own: it has been up for a year longer than the host, lets anyone use any
 * port, and has its own limits of message queues. The date is everyone's.
 */

import { readFileSync } from 'node:fs';
import { Container } from 'tscontain';
import { example, refusal, show } from '../show.js';

const day = 86_400_000; // milliseconds
const path = (key: string) => `/proc/sys/${key.replaceAll('.', '/')}`;
const days = (uptime: string) => `${((Number(uptime.split(' ')[0]) * 1000) / day).toFixed(2)} days`;

await example(async () => {
  const sysctl = {
    'net.ipv4.ip_unprivileged_port_start': 0,
    'kernel.msgmax': 4096,
    'kernel.domainname': 'example.org',
  };
  await using box = await Container.create({ timeOffsets: { boottime: 365 * day, monotonic: 1000 * day }, sysctl });

  const read = async (file: string) => (await box.exec(['cat', file], { check: true })).stdout.trim();
  show('up for', days(await read('/proc/uptime')), `outside: ${days(readFileSync('/proc/uptime', 'utf8'))}`);

  const clock = 'import time; print(int(time.monotonic() / 86400), int(time.time() / 86400))';
  const [monotonic, date] = (await box.exec(['python3', '-c', clock], { check: true })).stdout.trim().split(' ');
  show('monotonic', `day ${monotonic}`, `outside: ${Math.floor(performance.now() / day)} since this program began`);
  show('the date', `day ${date} since 1970`, `outside: ${Math.floor(Date.now() / day)}; it has no namespace`);

  for (const key of Object.keys(sysctl)) {
    show(key.split('.').at(-1) ?? key, await read(path(key)), `outside: ${readFileSync(path(key), 'utf8').trim()}`);
  }
  const server = 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 80)); print("port 80, without privilege")';
  const { stdout } = await box.exec(['python3', '-c', server], { user: 'nobody' });
  show('as nobody', stdout.trim());

  const core = await refusal(() => Container.run(['true'], { sysctl: { 'kernel.core_pattern': '|/bin/mine' } }));
  show('refused', core, 'the host would run that program, as root');
});
