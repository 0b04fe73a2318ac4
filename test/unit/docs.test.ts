import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));

function filesIn(directory: string, ending: string): string[] {
  return readdirSync(join(root, directory), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(ending))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(root.length));
}

const pages = [
  ...readdirSync(root).filter((name) => name.endsWith('.md')),
  ...filesIn('docs', '.md').filter((path) => !path.startsWith('docs/api/')),
];

interface Block {
  readonly name: string;
  readonly code: string;
}

const fence = /^```ts\n(.*?)^```$/gms;

function blocksOf(path: string, text: string): Block[] {
  return [...text.matchAll(fence)].map(([, code = ''], index) => ({
    name: `${path.replace(/[^A-Za-z0-9]+/g, '-')}-${index + 1}.ts`,
    code,
  }));
}

/** What lib/index.ts exports by name, as an import has to say it. */
const exported = [
  ...readFileSync(join(root, 'lib/index.ts'), 'utf8').matchAll(/^export (type )?\{([^}]*)\}/gm),
].flatMap(([, type = '', names = '']) =>
  names
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '')
    .map((name) => (name.startsWith('type ') ? name : `${type}${name}`)),
);

/** A docstring's example stands in a scope where everything that the package exports is known. */
function docstringBlocks(path: string): Block[] {
  const text = readFileSync(join(root, path), 'utf8').replace(/^ *\* ?/gm, '');
  return blocksOf(path, text).map(({ name, code }) => {
    const used = exported.filter((name) => new RegExp(`\\b${name.replace('type ', '')}\\b`).test(code));
    const known = `import { ${used.join(', ')} } from 'tscontain';\n`;
    return { name, code: code.includes("from 'tscontain'") ? code : known + code };
  });
}

describe('the documentation', () => {
  it('has only examples that compile', { timeout: 120_000 }, () => {
    const blocks = [
      ...pages.flatMap((path) => blocksOf(path, readFileSync(join(root, path), 'utf8'))),
      ...filesIn('lib', '.ts').flatMap(docstringBlocks),
    ];
    expect(blocks.length).toBeGreaterThan(3);

    const directory = join(root, 'build', 'docs-test');
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory, { recursive: true });
    for (const { name, code } of blocks) writeFileSync(join(directory, name), `${code}\nexport {};\n`);
    const configuration = {
      extends: '../../tsconfig.json',
      compilerOptions: { noEmit: true, noUnusedLocals: false, paths: { tscontain: ['../../lib/index.ts'] } },
      include: ['*.ts', '../../lib/launcher/node-gyp-build.d.ts'],
    };
    writeFileSync(join(directory, 'tsconfig.json'), JSON.stringify(configuration));

    const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
    const { stdout, status } = spawnSync(process.execPath, [compiler, '-p', directory], { encoding: 'utf8' });
    expect(stdout).toBe('');
    expect(status).toBe(0);
    rmSync(directory, { recursive: true });
  });

  it.each(pages)('%s links to files and headings that exist', (page) => {
    const text = readFileSync(join(root, page), 'utf8');
    const targets = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target);
    const broken = targets.filter((target) => {
      if (/^[a-z]+:/.test(target)) return false;
      const [path = '', heading] = target.split('#');
      const file = path === '' ? join(root, page) : join(root, dirname(page), path);
      if (!existsSync(file)) return true;
      return heading !== undefined && !headingsOf(readFileSync(file, 'utf8')).includes(heading);
    });
    expect(broken).toEqual([]);
  });
});

/** Names of headings as they are linked to: lower case, words joined by hyphens. */
function headingsOf(text: string): string[] {
  return [...text.matchAll(/^#+ (.*)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
}
