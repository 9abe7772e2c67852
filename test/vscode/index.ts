/**
 * Entry point inside the extension host, under code-server (run.mjs) and under @vscode/test-electron (desktop.mjs).
 * Runs every out/test/vscode/suite/*.test.js with mocha and writes the results where RINGSIDE_TEST_RESULT says.
 */
import { readdirSync } from 'node:fs';
import path from 'node:path';
import Mocha from 'mocha';

export async function run(): Promise<void> {
  const suite = path.join(__dirname, 'suite');
  const root = path.resolve(__dirname, '../../..');
  const mocha = new Mocha({
    ui: 'bdd',
    timeout: 60_000,
    reporter: path.join(root, 'scripts/lib/mochaReporter.cjs'),
    grep: process.env.RINGSIDE_TEST_GREP,
  });
  const files = readdirSync(suite).filter((name) => name.endsWith('.test.js'));
  for (const name of files.sort()) mocha.addFile(path.join(suite, name));
  await new Promise<void>((resolve, reject) => {
    mocha.run((failures) => (failures ? reject(new Error(`${failures} tests failed`)) : resolve()));
  });
}
