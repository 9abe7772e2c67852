/**
 * The same tests as run.mjs under the desktop VS Code, which @vscode/test-electron downloads.
 *   npm run test:vscode:desktop    after npm run build; needs the internet, and on a machine without a display xvfb-run
 */
import path from 'node:path';
import { runTests } from '@vscode/test-electron';
import { count, printTests, resultFile, takeResults } from '../../scripts/lib/results.mjs';
import { main, root } from '../../scripts/lib/project.mjs';

const versions = { minimum: '1.100.3', current: 'stable' };

await main(async () => {
  const result = resultFile();
  const status = await runTests({
    version: versions[process.env.RINGSIDE_VSCODE || 'minimum'],
    extensionDevelopmentPath: root,
    extensionTestsPath: path.join(root, 'out/test/vscode/index'),
    extensionTestsEnv: { RINGSIDE_TEST_RESULT: result },
    launchArgs: [path.join(root, 'samples'), '--disable-extensions', '--disable-workspace-trust', '--skip-welcome'],
  }).catch((error) => {
    console.log(String(error?.message ?? error));
    return 1;
  });
  const tests = takeResults(result);
  if (!tests) return status || 1;
  printTests(tests);
  const { passed, failed, skipped } = count(tests);
  console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
  return failed ? 1 : 0;
});
