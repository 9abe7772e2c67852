/**
 * npm test: installs what it needs, builds, and runs every suite.
 *   npm test -- --compile always     every machine compiles all code when it first runs (off: none)
 *   npm test -- --only unit,dap      only these suites (their names are below)
 * Ends with one line over all suites, `N passed, N failed, N skipped`; exit status 1 when anything failed.
 */
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { build } from './build.mjs';
import { findChromium, installHint } from './lib/chromium.mjs';
import { ensureDependencies } from './lib/dependencies.mjs';
import { bold, green, main, red, root, say, UserError, yellow } from './lib/project.mjs';
import { run } from './lib/processes.mjs';
import { count, printTests, resultFile, takeResults } from './lib/results.mjs';

const require = createRequire(import.meta.url);
const failed = (title, error) => ({ title, state: 'failed', milliseconds: 0, error });
const module = (file) => path.join(root, 'node_modules', file);
/** What the unit tests executed: see test/coverage/record.ts. */
const coverage = path.join(root, 'test/artifacts/coverage');
const skipped = (title, reason) => ({ title, state: 'skipped', milliseconds: 0, reason });

/** A tool (a script that Node runs) that says yes or no: one test. */
async function check(title, tool, args) {
  const started = Date.now();
  const status = await run(process.execPath, [...tool, ...args], { cwd: root });
  const milliseconds = Date.now() - started;
  const test = status === 0 ? { title, state: 'passed', milliseconds } : failed(title, `exit status ${status}`);
  printTests([test]);
  return test;
}

/**
 * Mocha in a process of its own.
 * @param {string[]} [files] absent: those of .mocharc.json
 * @param {string[]} [modules] to load before the tests
 * @param {NodeJS.ProcessEnv} [environment] what differs in it
 */
async function mocha(title, files, modules = [], environment = {}) {
  if (files?.length === 0) return [failed(title, 'no tests found')];
  const RINGSIDE_TEST_RESULT = resultFile();
  const bin = require.resolve('mocha/bin/mocha.js');
  const reporter = ['--reporter', path.join(root, 'scripts/lib/mochaReporter.cjs')];
  const chosen = files ? ['--no-config', '--require', 'tsx/cjs', '--timeout', '120000', ...files] : [];
  // Those of the command line come before those of .mocharc.json, so TypeScript must be known to Node already.
  const loaded = [...modules, 'test/engine.ts'].flatMap((file) => [
    '--require',
    'tsx/cjs',
    '--require',
    path.join(root, file),
  ]);
  const env = { ...process.env, RINGSIDE_COVERAGE: coverage, RINGSIDE_TEST_RESULT, ...environment };
  const status = await run(process.execPath, [bin, ...reporter, ...loaded, ...chosen], { cwd: root, env });
  const tests = takeResults(RINGSIDE_TEST_RESULT);
  if (!tests) return [failed(title, `mocha ended with status ${status} before its tests did`)];
  if (!tests.length) return [failed(title, 'no tests found')];
  return tests;
}

/** Test files of these folders under test/, at any depth. */
function filesIn(folders, ending) {
  return folders
    .filter((folder) => existsSync(path.join(root, 'test', folder)))
    .flatMap((folder) =>
      readdirSync(path.join(root, 'test', folder), { recursive: true })
        .filter((name) => name.endsWith(ending))
        .map((name) => path.join('test', folder, name))
        .sort(),
    );
}

/** Suites in the order in which they run; those with `browser` are skipped where there is no Chromium. */
const suites = {
  check: {
    says: 'types, lint, format',
    run: async () => [
      await check('tsc finds no type errors', [module('typescript/bin/tsc')], ['--noEmit']),
      await check('eslint finds nothing', [module('eslint/bin/eslint.js')], ['.']),
      await check(
        'prettier would change nothing',
        [module('prettier/bin/prettier.cjs')],
        ['--check', '--log-level=warn', '.'],
      ),
    ],
  },
  unit: {
    says: 'unit tests, and the rows of the instruction table that they execute',
    run: async () => {
      rmSync(coverage, { recursive: true, force: true });
      const tests = await mocha('unit tests', undefined, ['test/coverage/record.ts']);
      const report = ['--require', 'tsx/cjs', 'test/coverage/report.ts'];
      return [...tests, await check('the tests execute every row of the instruction table', report, [coverage])];
    },
  },
  compiled: {
    says: 'the core and its small guests once more, with all code compiled when it first runs',
    run: () => {
      const small = filesIn(['guests'], '.test.ts').filter((file) => !file.includes(`${path.sep}linux${path.sep}`));
      const files = [...filesIn(['emulator-core'], '.test.ts'), ...small];
      return mocha('everything compiled', files, [], { RINGSIDE_COMPILE: 'always' });
    },
  },
  dap: {
    says: 'the adapter over stdio, real guests',
    run: () => mocha('adapter tests', filesIn(['dap', 'guests'], '.test.ts')),
  },
  vscode: {
    says: 'a real VS Code: mocha in the extension host, F5 in the browser',
    browser: true,
    run: async () => {
      const { runInExtensionHost } = await import('../test/vscode/run.mjs');
      const tests = await runInExtensionHost().catch((error) => [failed('extension host', error.message)]);
      printTests(tests);
      const f5 = await mocha('F5', ['test/vscode/f5.playwright.mjs']);
      return [...tests, ...f5];
    },
  },
  browser: {
    says: 'the core in a worker in Chromium',
    browser: true,
    run: () => mocha('browser tests', filesIn(['browser'], '.test.mjs')),
  },
};

async function runSuite(name) {
  const suite = suites[name];
  console.log(`\n${bold(name)}: ${suite.says}`);
  if (suite.browser && !findChromium()) {
    const test = skipped(name, installHint);
    printTests([test]);
    return [test];
  }
  return suite.run().catch((error) => [failed(name, error.stack ?? String(error))]);
}

/** The bundles that the suites use: one test too, so that a broken build is counted and the run still ends in its line. */
async function runBuild() {
  const since = Date.now();
  const title = 'the bundles build';
  const error = await build().then(
    () => undefined,
    (reason) => reason.message,
  );
  return error ? failed(title, error) : { title, state: 'passed', milliseconds: Date.now() - since };
}

await main(async (args) => {
  const compile = args.indexOf('--compile');
  if (compile >= 0) [, process.env.RINGSIDE_COMPILE] = args.splice(compile, 2);
  const at = args.indexOf('--only');
  const names = at >= 0 ? args.slice(at + 1).flatMap((name) => name.split(',')) : Object.keys(suites);
  const unknown = names.find((name) => !(name in suites));
  if (unknown !== undefined || !names.length) {
    throw new UserError(`no suite '${unknown ?? ''}'; --only takes ${Object.keys(suites).join(', ')}`);
  }
  const started = Date.now();
  await ensureDependencies();
  const results = [];
  const take = async (name, body) => {
    const since = Date.now();
    results.push({ name, tests: await body(), seconds: ((Date.now() - since) / 1000).toFixed(0) });
  };
  say('Building');
  await take('build', async () => [await runBuild()]);
  const built = results[0].tests[0];
  if (built.state === 'passed') for (const name of names) await take(name, () => runSuite(name));
  else printTests([built]);

  console.log(`\n${bold('Summary')}`);
  for (const { name, tests, seconds } of results) {
    const sum = count(tests);
    const mark = sum.failed ? red('✗') : sum.passed ? green('✓') : yellow('-');
    console.log(
      `  ${mark} ${name.padEnd(8)} ${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped (${seconds} s)`,
    );
    for (const test of tests.filter((one) => one.state === 'skipped'))
      console.log(`      skipped: ${test.title}: ${test.reason}`);
    for (const test of tests.filter((one) => one.state === 'failed')) console.log(red(`      failed: ${test.title}`));
  }
  const all = count(results.flatMap(({ tests }) => tests));
  console.log(`  in ${((Date.now() - started) / 1000).toFixed(0)} s\n`);
  console.log(`${all.passed} passed, ${all.failed} failed, ${all.skipped} skipped`);
  return all.failed ? 1 : 0;
});
