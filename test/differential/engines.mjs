/** npm run differential:engines: bundles and runs test/emulator-core/engines/main.ts. */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const folder = path.join(path.dirname(fileURLToPath(import.meta.url)), '../emulator-core/engines');
const outfile = path.join(folder, '../../../out/differential/engines.js');
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
