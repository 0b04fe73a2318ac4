/** Runs one of the examples: `npm run example -- overlay`; without a name, lists them. What follows the name is the example's. */

import { readdirSync } from 'node:fs';

const primitives = new URL('./primitives/', import.meta.url);
const examples = new Map(['egress', 'images'].map((name) => [name, new URL(`./${name}.js`, import.meta.url)]));
for (const file of readdirSync(primitives)) {
  if (file.endsWith('.js')) examples.set(file.slice(0, -'.js'.length), new URL(file, primitives));
}

const [name = ''] = process.argv.splice(2, 1);
const file = examples.get(name);
if (file) {
  await import(file.href);
} else {
  console.log(`npm run example -- NAME, where NAME is one of ${[...examples.keys()].join(', ')}`);
  if (name !== '') process.exitCode = 1;
}
