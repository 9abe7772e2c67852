/**
 * npm run package: builds minified bundles and makes ringside-VERSION.vsix. Fails when it is larger than 5 MB or holds
 * a file that users do not need; lists what is in it.
 */
import { mkdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { build } from './build.mjs';
import { ensureDependencies } from './lib/dependencies.mjs';
import { dim, isMain, main, root, say, UserError } from './lib/project.mjs';

/** Bytes. */
const largest = 5_000_000;

/** Everything that may be in the VSIX. */
const expected = [
  /^package\.json$/,
  /^(README|CHANGELOG)\.md$/i,
  /^LICENSE$/,
  /^out\/THIRD-PARTY-NOTICES\.txt$/,
  /^out\/extension\.js$/,
  /^out\/debug-adapter\/(main|cli|compilerThread)\.js$/,
  /^out\/debug-adapter\/(handlers|iced_x86_bg)\.wasm$/,
  /^syntaxes\/[\w.-]+\.json$/,
  /^media\/.+\.(svg|png|md|css|js)$/,
  // The walkthrough starts this one, with its sources.
  /^samples\/hello-guest\/\w+\.(elf|c|h|S)$/,
  /^docs\/images\/[\w-]+\.png$/,
];
/** Without these it does not work. */
const necessary = [
  'package.json',
  'LICENSE',
  'out/extension.js',
  'out/debug-adapter/main.js',
  'out/debug-adapter/cli.js',
  'out/debug-adapter/compilerThread.js',
  'out/debug-adapter/handlers.wasm',
  'out/debug-adapter/iced_x86_bg.wasm',
  'samples/hello-guest/hello.elf',
];

/** What is wrong with a list of file names; empty when nothing is. */
export function complaints(files) {
  const names = files.map((name) => name.replaceAll('\\', '/'));
  return [
    ...names
      .filter((name) => !expected.some((pattern) => pattern.test(name)))
      .map((name) => `${name} does not belong there`),
    ...necessary.filter((name) => !names.includes(name)).map((name) => `${name} is missing`),
  ];
}

async function makePackage() {
  await ensureDependencies();
  await build({ only: ['extension', 'adapter'], minify: true });
  const { createVSIX, listFiles } = await import('@vscode/vsce');
  const { name, version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
  const files = (await listFiles({ cwd: root, packageManager: 0 })).sort();
  for (const file of files) console.log(`  ${String(statSync(path.join(root, file)).size).padStart(9)} ${dim(file)}`);
  const wrong = complaints(files);
  if (wrong.length) throw new UserError(`the package is not right:\n  ${wrong.join('\n  ')}`);

  const packagePath = path.join(root, `${name}-${version}.vsix`);
  mkdirSync(path.dirname(packagePath), { recursive: true });
  await createVSIX({
    cwd: root,
    packagePath,
    dependencies: false, // the bundles hold them
    allowMissingRepository: true,
    rewriteRelativeLinks: false,
  });
  const { size } = statSync(packagePath);
  if (size > largest) throw new UserError(`${packagePath} has ${size} bytes, more than ${largest}`);
  say(`${packagePath}: ${files.length} files, ${(size / 1e6).toFixed(2)} MB`);
}

if (isMain(import.meta.url)) await main(makePackage);
