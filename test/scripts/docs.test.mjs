/** What the documents and the manifest promise exists, and what must not be in the repository is not. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { root } from '../../scripts/lib/project.mjs';

const read = (file) => readFileSync(path.join(root, file), 'utf8');
const manifest = JSON.parse(read('package.json'));
const documents = [
  'README.md',
  'CONTRIBUTING.md',
  'ARCHITECTURE.md',
  'CHANGELOG.md',
  'samples/README.md',
  'samples/linux/README.md',
  'docs/linux-kernels.md',
];

/** Files under version control and new ones that are not ignored. */
function projectFiles() {
  const out = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
    cwd: root,
    encoding: 'utf8',
  });
  return out.split('\n').filter((file) => file && existsSync(path.join(root, file)));
}

describe('documents', () => {
  for (const file of documents) {
    it(`${file}: its npm commands are scripts of package.json`, () => {
      const used = [...read(file).matchAll(/\bnpm (?:run ([\w:-]+)|(test|start)\b)/g)].map(
        (match) => match[1] ?? match[2],
      );
      const unknown = used.filter((name) => !(name in manifest.scripts));
      assert.deepEqual(unknown, []);
    });

    it(`${file}: the files that it links to and runs exist`, () => {
      const folder = path.dirname(file);
      const text = read(file);
      const links = [...text.matchAll(/\]\((?!\w+:|#)([^)#\s]+)/g)].map((match) => path.join(folder, match[1]));
      const programs = [...text.matchAll(/\bnode ((?:scripts|test)\/[\w/.-]+)/g)].map((match) => match[1]);
      const missing = [...links, ...programs].filter((one) => !existsSync(path.join(root, one)));
      assert.deepEqual(missing, []);
    });
  }

  it('the scripts of package.json start programs that exist', () => {
    const programs = Object.values(manifest.scripts).flatMap((line) =>
      [...line.matchAll(/[\w/.*-]+\.mjs/g)].map(([name]) => name),
    );
    const missing = programs.filter((name) => !name.includes('*') && !existsSync(path.join(root, name)));
    assert.deepEqual(missing, []);
  });
});

describe('package-lock.json', () => {
  const packages = JSON.parse(read('package-lock.json')).packages;

  it('names no registry', () => {
    assert.deepEqual(
      Object.keys(packages).filter((name) => packages[name].resolved),
      [],
    );
  });

  it('belongs to package.json', () => {
    const { dependencies, devDependencies } = packages[''];
    assert.deepEqual(
      { dependencies, devDependencies },
      { dependencies: manifest.dependencies, devDependencies: manifest.devDependencies },
    );
  });

  it('holds every dependency for every platform, as npm ci demands', () => {
    const names = new Set(Object.keys(packages).map((place) => place.split('node_modules/').at(-1)));
    const missing = Object.entries(packages).flatMap(([place, one]) =>
      Object.keys({ ...one.dependencies, ...one.optionalDependencies })
        .filter((name) => !names.has(name))
        .map((name) => `${name}, needed by ${place}`),
    );
    assert.deepEqual(missing, []);
  });
});

describe('the repository', () => {
  /** Where this checkout and its user's files are; example paths such as /home/u are nobody's. */
  const ownPaths = [root, os.homedir()]
    .filter((folder) => folder.length > 4)
    .map((folder) => folder.replace(/[.*+?^${}()|[\]\\]/g, '\\$&') + '/');
  // Written in parts so that this file does not find itself.
  const forbidden = [
    [
      'unfinished work',
      new RegExp(['TO' + 'DO', 'FIX' + 'ME', 'HACK' + 'HACK'].map((word) => `\\b${word}\\b`).join('|')),
    ],
    ["one machine's paths", new RegExp(['/ro' + 'ot/', '/wo' + 'rk/(main|shared)', ...ownPaths].join('|'))],
    ['a merge in progress', /^(<{7}|>{7}) /m],
  ];
  const text = /\.(ts|mjs|cjs|js|json|md|ya?ml|c|h|S|asm|inc|css|html)$|^\.ci\/|Makefile$/;

  for (const [what, pattern] of forbidden) {
    it(`has no ${what}`, () => {
      const found = projectFiles()
        .filter((file) => text.test(file) && statSync(path.join(root, file)).size < 2_000_000)
        .flatMap((file) => {
          const hit = pattern.exec(read(file));
          return hit ? [`${file}: ${hit[0]}`] : [];
        });
      assert.deepEqual(found, []);
    });
  }

  it('keeps generated files out', () => {
    const generated = projectFiles().filter((file) => /^(out|node_modules|test\/artifacts)\/|\.vsix$/.test(file));
    assert.deepEqual(generated, []);
  });
});
