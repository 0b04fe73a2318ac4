/** Runs one of the examples of primitives: `npm run example -- overlay`; without a name, lists them. */

import { readdirSync } from 'node:fs';

const folder = new URL('./primitives/', import.meta.url);
const names = readdirSync(folder).flatMap((file) => (file.endsWith('.js') ? [file.slice(0, -'.js'.length)] : []));

const [name = ''] = process.argv.slice(2);
if (names.includes(name)) {
  await import(new URL(`${name}.js`, folder).href);
} else {
  console.log(`npm run example -- NAME, where NAME is one of ${names.join(', ')}`);
  if (name !== '') process.exitCode = 1;
}
