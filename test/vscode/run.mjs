/**
 * Mocha inside the extension host of a real VS Code, offline: code-server on loopback, driven by Chromium.
 *   npm run test:vscode            after npm run build
 * RINGSIDE_VSCODE=current takes the new VS Code, RINGSIDE_TEST_GREP runs only tests with matching titles.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { findChromium, installHint, launchChromium } from '../../scripts/lib/chromium.mjs';
import { count, printTests, resultFile, takeResults } from '../../scripts/lib/results.mjs';
import { isMain, main, root, say, UserError } from '../../scripts/lib/project.mjs';
import { ensureBed, startServer, worthShowing } from '../../scripts/testbed.mjs';
import { windowProbe } from './windowProbe.mjs';

/** How long the whole run may take, in milliseconds, before it counts as hanging. */
const limit = 8 * 60_000;

/**
 * Runs out/test/vscode/index.js in the extension host.
 * @returns {Promise<object[]>} tests as mochaReporter.cjs describes them
 */
export async function runInExtensionHost() {
  const bed = await ensureBed();
  say(`Tests inside the extension host of VS Code ${bed.vscode}`);
  const folder = await mkdtemp(path.join(os.tmpdir(), 'ringside-vscode-'));
  const result = process.env.RINGSIDE_TEST_RESULT || resultFile();
  const log = [];
  const probe = await windowProbe();
  const server = await startServer(bed, {
    folder,
    env: { RINGSIDE_TEST_RESULT: result, RINGSIDE_TEST_WINDOW: probe.url },
    onLine: (line) => log.push(line),
  });
  let browser;
  try {
    browser = await launchChromium();
    const page = await browser.newPage();
    const exited = new Promise((resolve, reject) => {
      void page.exposeFunction('codeAutomationExit', resolve);
      page.on('crash', () => reject(new UserError('the page crashed')));
      setTimeout(() => reject(new UserError(`no end after ${limit / 1000} s`)), limit).unref();
      void server.ended.then(() => reject(new UserError('code-server ended')));
    });
    await probe.watch(page);
    await page.exposeFunction('codeAutomationLog', (type, args) => log.push(`${type}: ${JSON.stringify(args)}`));
    await page.goto(
      server.url(path.join(root, 'samples'), [
        ['extensionDevelopmentPath', server.remote(root)],
        ['extensionTestsPath', server.remote(path.join(root, 'out/test/vscode/index'))],
        ['skipWelcome', 'true'],
      ]),
    );
    await exited;
    const tests = takeResults(result);
    if (!tests) throw new UserError('the tests did not come to their end');
    return tests;
  } catch (error) {
    console.log(worthShowing(log).join('\n'));
    throw error;
  } finally {
    await browser?.close();
    await server.stop();
    probe.close();
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

if (isMain(import.meta.url)) {
  await main(async () => {
    if (!findChromium()) throw new UserError(installHint);
    const tests = await runInExtensionHost();
    printTests(tests);
    const { passed, failed, skipped } = count(tests);
    console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
    return failed ? 1 : 0;
  });
}
