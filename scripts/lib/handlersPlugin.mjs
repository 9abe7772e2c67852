/**
 * Generates the interpreter's handler module once, at build time, and puts it into the bundles in place of
 * emulator-core/translate/prebuilt.ts: a session then starts without generating 2,000 functions.
 */
import path from 'node:path';
import { createRequire } from 'node:module';
import { icedPlugin } from './icedPlugin.mjs';
import { root } from './project.mjs';

let generated;

/** Runs the generator from the sources, in this process. */
async function generate(esbuild) {
  const { outputFiles } = await esbuild.build({
    stdin: {
      contents: `
        import { generateHandlers } from './emulator-core/translate/handlers';
        import { pack } from './emulator-core/translate/handlerModule';
        export const packed = pack(generateHandlers());`,
      resolveDir: root,
      loader: 'ts',
    },
    bundle: true,
    platform: 'node',
    target: 'node20', // esbuild's newest target has Uint8Array.fromBase64, which Node 20 lacks
    format: 'cjs',
    write: false,
    plugins: [icedPlugin()],
    logLevel: 'warning',
  });
  const module = { exports: {} };
  new Function('module', 'exports', 'require', outputFiles[0].text)(
    module,
    module.exports,
    createRequire(import.meta.url),
  );
  return module.exports.packed;
}

const made = (esbuild) => (generated ??= generate(esbuild));

/** The module, and its name beside a bundle. */
export const handlersWasm = {
  name: 'handlers.wasm',
  contents: async (esbuild) => (await made(esbuild)).module,
};

const embedded = (module) => `
  const module = bytes(${JSON.stringify(base64(module))});
  const read = () => module;`;
const besides = `
  const read = () => {
    const { readFileSync } = require('node:fs');
    return new Uint8Array(readFileSync(require('node:path').join(__dirname, '${handlersWasm.name}')));
  };`;

function base64(view) {
  return Buffer.from(view.buffer, view.byteOffset, view.byteLength).toString('base64');
}

/**
 * @param {{ beside?: boolean }} options `beside`: the module lies beside the bundle, which is for Node
 * @returns {import('esbuild').Plugin}
 */
export function handlersPlugin(esbuild, { beside = false } = {}) {
  return {
    name: 'handlers',
    setup(build) {
      build.onLoad({ filter: /[\\/]translate[\\/]prebuilt\.ts$/ }, async (args) => {
        const packed = await made(esbuild);
        const contents = `
          function bytes(text) {
            const raw = atob(text);
            const out = new Uint8Array(raw.length);
            for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
            return out;
          }
          ${beside ? besides : embedded(packed.module)}
          export const prebuilt = {
            get module() { return read(); },
            variants: new Int16Array(bytes(${JSON.stringify(base64(packed.variants))}).buffer),
            tableSize: ${packed.tableSize},
          };`;
        return { contents, loader: 'js', resolveDir: path.dirname(args.path) };
      });
    },
  };
}
