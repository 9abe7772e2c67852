import assert from 'node:assert/strict';
import { complaints } from '../../scripts/package.mjs';

const good = [
  'package.json',
  'README.md',
  'LICENSE',
  'out/extension.js',
  'out/debug-adapter/main.js',
  'out/debug-adapter/cli.js',
  'out/debug-adapter/compilerThread.js',
  'out/debug-adapter/handlers.wasm',
  'out/debug-adapter/iced_x86_bg.wasm',
  'samples/hello-guest/hello.elf',
  'syntaxes/gas.tmLanguage.json',
  'media/exits.svg',
];

describe('the check of the package', () => {
  it('takes what users need', () => assert.deepEqual(complaints(good), []));

  it('names what does not belong there', () => {
    for (const file of [
      'src/extension.ts',
      'out/extension.js.map',
      'out/test/vscode/index.js',
      'node_modules/a/b.js',
      'tsconfig.json',
    ]) {
      assert.deepEqual(complaints([...good, file]), [`${file} does not belong there`]);
    }
  });

  it('names what is missing', () => {
    assert.deepEqual(complaints(good.filter((file) => file !== 'out/debug-adapter/main.js')), [
      'out/debug-adapter/main.js is missing',
    ]);
  });
});
