/** How the examples print: a topic, what is inside, and, in brackets, what is outside. */

import { PermissionError, TscontainError, UnsupportedError } from 'tscontain';

const colour = process.stdout.isTTY && !process.env.NO_COLOR;
const bold = (text: string) => (colour ? `\x1b[1m${text}\x1b[22m` : text);
const dim = (text: string) => (colour ? `\x1b[2m${text}\x1b[22m` : text);

// `npm run example -- seccomp | head -3` is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit();
});

/** One line: `topic  inside   (outside)`. */
export function show(topic: string, inside: string, outside = ''): void {
  console.log(`${bold(topic.padEnd(17))} ${inside}${outside && dim(`   (${outside})`)}`);
}

/** Runs an example. Where this host or this user cannot have what it shows, it says so and what would help, which is no failure. */
export async function example(body: () => Promise<void>): Promise<void> {
  try {
    await body();
  } catch (error) {
    if (!(error instanceof UnsupportedError || error instanceof PermissionError)) throw error;
    show('not here', sentence(error), error.hint);
  }
}

/** What an action that must fail fails with. @throws Error if it does not */
export async function refusal(action: () => unknown): Promise<string> {
  try {
    await action();
  } catch (error) {
    if (error instanceof TscontainError) return sentence(error);
    throw error;
  }
  throw new Error('it was expected to be refused');
}

/** An error's sentence without its hint. */
function sentence({ message, hint }: TscontainError): string {
  return hint === undefined ? message : message.replace(` (hint: ${hint})`, '');
}
