/**
 * npm run differential: bundles main.ts, which makes the machine several times as fast as loading its modules one by one, and runs it.
 */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const folder = path.dirname(fileURLToPath(import.meta.url));
const outfile = path.join(folder, '../../out/differential/main.js');
await build({
  entryPoints: [path.join(folder, 'main.ts')],
  outfile,
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node20',
  external: ['iced-x86'],
  define: { __dirname: JSON.stringify(folder) },
  logLevel: 'error',
});
const { status } = spawnSync(process.execPath, [outfile, ...process.argv.slice(2)], { stdio: 'inherit' });
process.exitCode = status ?? 1;
