/**
 * Makes iced-x86 bundle into one file that loads anywhere. Its npm build reads its wasm from disk with Node's `fs` and
 * takes TextDecoder from Node's `util`; here the wasm is embedded and the global TextDecoder is used instead. Bundles for Node read
 * the wasm from beside them, as the npm build does: embedded, it takes several times its size in memory.
 */
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';

const entry = /[\\/]iced-x86[\\/]iced_x86\.js$/;

/** The wasm, and its name beside a bundle. */
export const icedWasm = {
  name: 'iced_x86_bg.wasm',
  contents: () =>
    readFileSync(path.join(path.dirname(createRequire(import.meta.url).resolve('iced-x86')), 'iced_x86_bg.wasm')),
};

/** What the npm build does with Node built-ins, and what a bundle does instead. Each must occur exactly once. */
const edits = [
  ['const { TextDecoder, TextEncoder } = require(`util`);', ''],
  ["const path = require('path').join(__dirname, 'iced_x86_bg.wasm');", ''],
  ["const bytes = require('fs').readFileSync(path);", "const bytes = require('./iced_x86_bg.wasm');"],
];

/**
 * @param {{ beside?: boolean }} options `beside`: the wasm lies beside the bundle, which is for Node
 * @returns {import('esbuild').Plugin}
 */
export function icedPlugin({ beside = false } = {}) {
  return {
    name: 'iced-x86',
    setup(build) {
      if (beside) return;
      build.onLoad({ filter: entry }, async (args) => {
        let contents = await readFile(args.path, 'utf8');
        for (const [from, to] of edits) {
          if (contents.split(from).length !== 2) {
            throw new Error(
              `${args.path}: expected '${from}' exactly once; adapt scripts/lib/icedPlugin.mjs to this version`,
            );
          }
          contents = contents.replace(from, () => to);
        }
        return { contents, loader: 'js', resolveDir: path.dirname(args.path) };
      });
      build.onLoad({ filter: /iced_x86_bg\.wasm$/ }, async (args) => ({
        contents: await readFile(args.path),
        loader: 'binary',
      }));
    },
  };
}
