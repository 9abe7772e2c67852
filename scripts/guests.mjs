/**
 * npm run test:guests: boots every kernel of samples/linux through the debug adapter, to its shell or login and to power-off. Fetches and
 * makes what is missing first. Takes minutes.
 *   npm run test:guests -- --only cloud,disk     these parts of the sample only
 *   npm run test:guests -- --match kvm           only boots whose line has this text
 * A line for each boot, and at the end `N passed, N failed, N skipped`; exit status 1 when anything failed.
 */
import path from 'node:path';
import { build } from './build.mjs';
import { ensureDependencies } from './lib/dependencies.mjs';
import { main, root, say, UserError } from './lib/project.mjs';
import { run } from './lib/processes.mjs';

await main(async (args) => {
  const left = [...args];
  const chosen = {};
  while (left.length) {
    const [flag, inline] = left.shift().split(/=(.*)/s);
    if (flag !== '--only' && flag !== '--match')
      throw new UserError(`no option is called '${flag}'; there are --only and --match`);
    const value = inline ?? left.shift();
    if (!value) throw new UserError(`${flag}: a value is missing`);
    chosen[flag] = value;
  }
  await ensureDependencies();
  const only = chosen['--only'] ? ['--only', chosen['--only']] : [];
  // What cannot be made here is skipped below, and said here.
  await run(process.execPath, [path.join(root, 'samples/linux/make.mjs'), ...only], { cwd: root });
  say('Building');
  await build({ only: ['adapter'] });
  const boots = ['--require', 'tsx/cjs', 'test/guests/linux/boots.ts', chosen['--only'] ?? '', chosen['--match'] ?? ''];
  return run(process.execPath, boots, { cwd: root });
});
