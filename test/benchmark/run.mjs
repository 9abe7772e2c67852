/**
 * npm run bench [-- NAME ...]: measures, prints a table, writes test/artifacts/bench.json and bench.svg. After npm run build.
 * A * in NAME stands for anything. Numbers depend on the machine, ratios much less: those are what goals are about.
 */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { ensureDependencies } from '../../scripts/lib/dependencies.mjs';
import { adapterProgram } from '../../scripts/lib/dapClient.mjs';
import { artifacts, bold, dim, green, main, red, UserError, yellow } from '../../scripts/lib/project.mjs';
import { build } from '../../scripts/build.mjs';
import { benchmarks } from './benchmarks.mjs';
import { chart } from './chart.mjs';

/** 1234567 as '1,234,567', small numbers with three digits. */
function readable(value) {
  if (value === undefined) return '';
  return value >= 100 ? Math.round(value).toLocaleString('en-US') : Number(value.toPrecision(3)).toString();
}

function goalText({ goal }) {
  return goal ? `${goal.atLeast !== undefined ? '≥' : '≤'} ${readable(goal.atLeast ?? goal.atMost)}` : '';
}

function reached({ goal }, value) {
  if (!goal) return undefined;
  return goal.atLeast !== undefined ? value >= goal.atLeast : value <= goal.atMost;
}

await main(async (args) => {
  await ensureDependencies();
  if (!existsSync(adapterProgram)) await build();
  const pattern = (text) => new RegExp(`^${text.replace(/[^\w*-]/g, '\\$&').replaceAll('*', '.*')}$`);
  const names = (text, { name }) => pattern(text).test(name);
  const unknown = args.find((text) => !benchmarks.some((one) => names(text, one)));
  if (unknown)
    throw new UserError(`no benchmark '${unknown}'; there are ${benchmarks.map((one) => one.name).join(', ')}`);
  const chosen = args.length ? benchmarks.filter((one) => args.some((text) => names(text, one))) : benchmarks;
  const load = [os.loadavg()[0]];

  const results = [];
  console.log(bold(`${'benchmark'.padEnd(26)}${'result'.padStart(14)}  ${'unit'.padEnd(26)}${'goal'.padStart(13)}`));
  for (const benchmark of chosen) {
    const result = {
      name: benchmark.name,
      says: benchmark.says,
      unit: benchmark.unit,
      goal: benchmark.goal,
      peer: benchmark.peer,
    };
    try {
      Object.assign(result, await benchmark.measure());
    } catch (error) {
      result.error = error.message;
    }
    results.push(result);
    const line = `${benchmark.name.padEnd(26)}${readable(result.value).padStart(14)}  ${benchmark.unit.padEnd(26)}`;
    if (result.error) console.log(`${line} ${red(result.error)}`);
    else if (result.skipped) console.log(`${line} ${yellow(`skipped: ${result.skipped}`)}`);
    else {
      result.reached = reached(benchmark, result.value);
      const mark = result.reached === undefined ? '' : result.reached ? green(' ✓') : red(' ✗');
      console.log(`${line}${goalText(benchmark).padStart(13)}${mark}${result.note ? dim(`  ${result.note}`) : ''}`);
    }
  }

  const machine = {
    cpu: os.cpus()[0]?.model,
    cpus: os.cpus().length,
    node: process.version,
    platform: process.platform,
    // Of the minute before the first row and before the end: a busy machine gives noisy numbers.
    load: [...load, os.loadavg()[0]],
    date: new Date().toISOString().slice(0, 10),
  };
  mkdirSync(artifacts, { recursive: true });
  const written = {
    'bench.json': JSON.stringify({ machine, results }, null, 2) + '\n',
    'bench.svg': chart(machine, results),
  };
  console.log();
  for (const [name, text] of Object.entries(written)) {
    const file = path.join(artifacts, name);
    writeFileSync(file, text);
    console.log(dim(`written to ${path.relative(process.cwd(), file)}`));
  }
  return results.some((result) => result.error) ? 1 : 0;
});
