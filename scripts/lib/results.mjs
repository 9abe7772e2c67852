/** Results of test suites: reading what mochaReporter.cjs wrote, counting, printing. */
import { readFileSync, rmSync } from 'node:fs';
import { mkdtempSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { green, red, yellow } from './project.mjs';

/** A fresh file name for RINGSIDE_TEST_RESULT. */
export function resultFile() {
  return path.join(mkdtempSync(path.join(os.tmpdir(), 'ringside-result-')), 'result.json');
}

/** Takes the results out of a file and removes it; undefined when the tests never came to their end. */
export function takeResults(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).tests;
  } catch {
    return undefined;
  } finally {
    rmSync(path.dirname(file), { recursive: true, force: true });
  }
}

/** @returns {{ passed: number, failed: number, skipped: number }} */
export function count(tests) {
  const of = (state) => tests.filter((test) => test.state === state).length;
  return { passed: of('passed'), failed: of('failed'), skipped: of('skipped') };
}

/** Prints results that another process gathered: every test by name. */
export function printTests(tests) {
  for (const test of tests) {
    const mark = { passed: green('✓'), failed: red('✗'), skipped: yellow('-') }[test.state];
    const more = test.state === 'skipped' ? `: ${test.reason}` : ` (${test.milliseconds} ms)`;
    console.log(`  ${mark} ${test.title}${more}`);
    if (test.figures) console.log(`      ${test.figures}`);
    if (test.error) console.log(test.error.replace(/^/gm, '      '));
  }
}
