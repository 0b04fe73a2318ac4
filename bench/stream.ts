/** Output on its way to a JavaScript consumer. */

import { spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { Container } from 'tscontain';
import { duration } from './measure.js';
import { compare, type Options, type Section, type Table } from './table.js';

const total = 2 ** 30;
const argv = ['dd', 'if=/dev/zero', 'bs=64K', `count=${total / 2 ** 16}`, 'status=none'] as const;

async function drain(readable: Readable | null | undefined): Promise<void> {
  if (!readable) throw new Error('there is no stream to read');
  let bytes = 0;
  await new Promise<void>((resolve, reject) => {
    readable.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    readable.on('end', resolve).on('error', reject);
  });
  if (bytes !== total) throw new Error(`${bytes} bytes came, and not ${total}`);
}

async function iterate(chunks: AsyncIterable<{ readonly data: Buffer }>): Promise<void> {
  let bytes = 0;
  for await (const { data } of chunks) bytes += data.length;
  if (bytes !== total) throw new Error(`${bytes} bytes came, and not ${total}`);
}

const megabytesPerSecond = async (action: () => Promise<void>) => total / 1000 / (await duration(action));

export const stream: Table = {
  name: 'stream',
  ballasts: [0],
  async measure({ rounds }: Options): Promise<Section[]> {
    const box = await Container.create();
    const [program, ...args] = argv;
    const contenders = [
      {
        name: "spawn, 'data' events",
        sample: () =>
          megabytesPerSecond(() => drain(spawn(program, args, { stdio: ['ignore', 'pipe', 'ignore'] }).stdout)),
      },
      {
        name: "exec with stdout: 'pipe', 'data' events",
        sample: () => megabytesPerSecond(() => drain(box.exec(argv, { stdout: 'pipe' }).stdout)),
      },
      { name: 'exec, for await', sample: () => megabytesPerSecond(() => iterate(box.exec(argv, { maxBuffer: 1024 }))) },
    ];
    try {
      return [
        await compare({ title: 'stream, 1 GiB of stdout', unit: 'MB/s', rounds: rounds ?? 7, warmUp: 1, contenders }),
      ];
    } finally {
      await box.kill();
    }
  },
};
