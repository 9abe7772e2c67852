/**
 * Bundles everything under out/:  node scripts/build.mjs [--only NAME,...] [--minify] [--watch]
 *   extension   out/extension.js            the VS Code side
 *   webview     out/webview/*.js            pages of the VS Code side
 *   adapter     out/debug-adapter/*.js      DAP server and command line; they run with Node alone
 *   core        out/emulator-core/core.js   the VMM in one file for Node (require) and browser workers (importScripts)
 *   tests       out/test/vscode/**          what runs inside the extension host
 */
import { chmod, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { ensureDependencies } from './lib/dependencies.mjs';
import { isMain, main, root, say, UserError } from './lib/project.mjs';

const common = { bundle: true, target: 'es2022', outdir: 'out', absWorkingDir: root, logLevel: 'warning' };
const forNode = { ...common, platform: 'node', format: 'cjs', target: 'node20' };

/** Name of a bundle -> its esbuild options. */
const bundles = {
  extension: async () => ({
    ...forNode,
    entryPoints: { extension: 'src/extension.ts' },
    external: ['vscode'],
  }),
  webview: async () => ({
    ...common,
    platform: 'browser',
    format: 'iife',
    entryPoints: { 'webview/display': 'src/webview/display.ts' },
  }),
  adapter: async () => ({
    ...forNode,
    entryPoints: {
      'debug-adapter/main': 'debug-adapter/main.ts',
      'debug-adapter/cli': 'debug-adapter/cli.ts',
      'debug-adapter/compilerThread': 'debug-adapter/node/compilerThread.ts',
    },
  }),
  core: async () => ({
    ...common,
    // The browser platform has no Node built-ins: an import of one fails the build.
    platform: 'browser',
    format: 'iife',
    globalName: 'RingsideCore',
    footer: { js: "if (typeof module === 'object') module.exports = RingsideCore;" },
    entryPoints: { 'emulator-core/core': 'emulator-core/index.ts' },
  }),
  tests: async () => ({
    ...forNode,
    outbase: '.',
    entryPoints: ['test/vscode/index.ts', ...(await suiteFiles())],
    external: ['vscode', 'mocha'],
  }),
};

async function suiteFiles() {
  const files = await readdir(path.join(root, 'test/vscode/suite')).catch(() => []);
  return files.filter((name) => name.endsWith('.test.ts')).map((name) => `test/vscode/suite/${name}`);
}

/** Writes what was built, all together: a build that fails leaves the one before in place. */
async function write(outputs, replaceAll) {
  if (replaceAll) await rm(path.join(root, 'out'), { recursive: true, force: true });
  for (const { path: file, contents } of outputs) {
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, contents);
    if (path.basename(file) === 'cli.js') await chmod(file, 0o755);
  }
}

/**
 * Builds bundles.
 * @param {{ only?: string[], minify?: boolean, watch?: boolean }} options `only`: names of bundles; absent: all
 */
export async function build({ only, minify = false, watch = false } = {}) {
  const names = only ?? Object.keys(bundles);
  const unknown = names.find((name) => !(name in bundles));
  if (unknown) throw new UserError(`no bundle '${unknown}'; there are ${Object.keys(bundles).join(', ')}`);
  const esbuild = await import('esbuild');
  const { icedPlugin, icedWasm } = await import('./lib/icedPlugin.mjs');
  const { handlersPlugin, handlersWasm } = await import('./lib/handlersPlugin.mjs');
  const { noticesFor, packagesOf } = await import('./lib/notices.mjs');
  const inside = new Set();
  const outputs = [];
  const started = Date.now();
  for (const name of names) {
    const beside = name === 'adapter' && !watch;
    const options = {
      ...(await bundles[name]()),
      minify,
      sourcemap: !minify,
      metafile: true,
      write: watch,
      // While watching, handlers are generated at run time: a change of an instruction shows at once.
      plugins: watch ? [icedPlugin()] : [icedPlugin({ beside }), handlersPlugin(esbuild, { beside })],
    };
    if (watch) {
      const context = await esbuild.context({ ...options, logLevel: 'info' });
      await context.watch();
      continue;
    }
    try {
      const { metafile, outputFiles } = await esbuild.build(options);
      packagesOf(metafile).forEach((one) => inside.add(one));
      outputs.push(...outputFiles);
      if (beside) {
        for (const { name, contents } of [icedWasm, handlersWasm]) {
          outputs.push({ path: path.join(root, 'out/debug-adapter', name), contents: await contents(esbuild) });
        }
      }
    } catch {
      throw new UserError(`the bundle '${name}' does not build`); // esbuild has printed why
    }
  }
  if (watch) return;
  await write(outputs, !only);
  await writeFile(path.join(root, 'out/THIRD-PARTY-NOTICES.txt'), noticesFor([...inside].sort()));
  say(`Built ${names.join(', ')} in ${((Date.now() - started) / 1000).toFixed(1)} s`);
}

if (isMain(import.meta.url)) {
  await main(async (args) => {
    await ensureDependencies();
    const at = args.indexOf('--only');
    await build({
      only: at >= 0 ? (args[at + 1] ?? '').split(',') : undefined,
      minify: args.includes('--minify'),
      watch: args.includes('--watch'),
    });
  });
}
