/** The table of the catalogue against the tests that there are. */

import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const tests = `${import.meta.dirname}/..`;

/** Names of tests that begin with keys of rows, as `file: name`, for each key. */
function namedTests(): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const folder of ['security', 'faults']) {
    for (const file of readdirSync(`${tests}/${folder}`).filter((name) => name.endsWith('.test.ts'))) {
      const text = readFileSync(`${tests}/${folder}/${file}`, 'utf8');
      for (const [, keys = '', name = ''] of text.matchAll(/'((?:[A-N]\d+, )*[A-N]\d+): ([^']*)',/g)) {
        for (const key of keys.split(', ')) {
          found.set(key, [...(found.get(key) ?? []), `${name} (\`${folder}/${file}\`)`]);
        }
      }
    }
  }
  return found;
}

/** What the table says of each key. */
function rows(): Map<string, string[]> {
  const text = readFileSync(`${import.meta.dirname}/catalogue.md`, 'utf8');
  const lines = [...text.matchAll(/^\| ([A-N]\d+) \| (.*) \|$/gm)];
  return new Map(lines.map(([, key = '', cell = '']) => [key, cell.split('<br>')]));
}

describe('the catalogue', () => {
  it('has every row once, without a gap', () => {
    const counts = { A: 19, B: 9, C: 13, D: 6, E: 12, F: 12, G: 5, H: 14, I: 20, J: 10, K: 11, L: 11, M: 10, N: 6 };
    const keys = Object.entries(counts).flatMap(([group, count]) =>
      Array.from({ length: count }, (_, index) => `${group}${index + 1}`),
    );
    expect([...rows().keys()]).toEqual(keys);
  });

  it('names only tests that exist, and every test that has a key', () => {
    const named = namedTests();
    for (const [key, cells] of rows()) {
      if (cells[0]?.startsWith('open (')) expect(named.get(key), key).toBeUndefined();
      else expect(cells.toSorted(), key).toEqual(named.get(key)?.toSorted());
    }
    expect([...named.keys()].filter((key) => !rows().has(key))).toEqual([]);
    expect(named.size).toBeGreaterThan(60);
  });

  it('says of every open row which part of the work it belongs to', () => {
    const open = [...rows()].filter(([, cells]) => cells[0]?.startsWith('open'));
    for (const [key, cells] of open) expect(cells.join(), key).toMatch(/^open \(issue \d+: .+\)$/);
    expect(open.length).toBeGreaterThan(0);
  });
});
