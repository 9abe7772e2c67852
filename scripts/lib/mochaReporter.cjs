/**
 * Mocha reporter of the test runner: one line per outermost suite, failures and skips in full at the end, and all of it as
 * JSON in the file that RINGSIDE_TEST_RESULT names: { tests: [{ title, suite, state, milliseconds, reason?, error?, figures? }] }.
 * Figures are what a test measured, for people.
 */
const { writeFileSync } = require('node:fs');
const { reporters } = require('mocha');

/** A test's own reason to be skipped, or that of a suite around it (set by test/skip.ts). */
function skipReason(test) {
  for (let node = test; node; node = node.parent) if (node.skipReason) return node.skipReason;
  return undefined;
}

const outermost = (test) => test.titlePath()[0];

class RingsideReporter extends reporters.Base {
  constructor(runner, options) {
    super(runner, options);
    const tests = [];
    let open; // the outermost suite whose tests are coming now

    const closeLine = () => {
      if (!open) return;
      const counts = ['passed', 'failed', 'skipped'].map((state) => open.tests.filter((t) => t.state === state).length);
      const text = [`${counts[0]} passed`, counts[1] && `${counts[1]} failed`, counts[2] && `${counts[2]} skipped`];
      console.log(`  ${counts[1] ? '✗' : '✓'} ${open.suite}: ${text.filter(Boolean).join(', ')}`);
      open = undefined;
    };
    const add = (test, state, more) => {
      const suite = outermost(test);
      if (open?.suite !== suite) {
        closeLine();
        open = { suite, tests: [] };
      }
      const entry = { title: test.fullTitle(), suite, state, milliseconds: test.duration ?? 0, ...more };
      open.tests.push(entry);
      tests.push(entry);
    };

    runner.on('pass', (test) => add(test, 'passed', test.figures && { figures: test.figures }));
    runner.on('pending', (test) => add(test, 'skipped', { reason: skipReason(test) ?? 'no reason given' }));
    runner.on('fail', (test, error) => {
      // The message of an assertion already holds the difference between the two values.
      const stack = error?.stack ?? String(error);
      const text = stack.includes(error?.message) ? stack : `${error.message}\n${stack}`;
      add(test, 'failed', { error: text });
    });
    runner.on('end', () => {
      closeLine();
      for (const test of tests.filter((t) => t.state === 'skipped')) console.log(`  - ${test.title}: ${test.reason}`);
      for (const test of tests.filter((t) => t.state === 'failed')) {
        console.log(`\n  ✗ ${test.title}\n${test.error.replace(/^/gm, '      ')}`);
      }
      const file = process.env.RINGSIDE_TEST_RESULT;
      if (file) writeFileSync(file, JSON.stringify({ tests }, null, 1));
    });
  }
}

module.exports = RingsideReporter;
