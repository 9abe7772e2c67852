/** Programs of the differential tests: bundled, which makes the machine several times as fast as loading its modules one by one. */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '../..');

/**
 * Bundles and runs main.ts of a folder, with the arguments of this process, whose exit status becomes the program's.
 * @param {string} folder from the project's root
 * @param {string} name of the bundle in out/differential/
 */
export async function bundleAndRun(folder, name) {
  const outfile = path.join(root, 'out/differential', `${name}.js`);
  await build({
    entryPoints: [path.join(root, folder, 'main.ts')],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    external: ['iced-x86'],
    define: { __dirname: JSON.stringify(path.join(root, folder)) },
    logLevel: 'error',
  });
  const { status } = spawnSync(process.execPath, [outfile, ...process.argv.slice(2)], { stdio: 'inherit' });
  process.exitCode = status ?? 1;
}
