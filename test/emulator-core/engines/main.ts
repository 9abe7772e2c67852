/**
 * npm run differential:engines: random programs in every mode of compiling, compared, for as long as it is told.
 *   --seconds N   stop after N seconds (default 60)       --seed S   other programs (default 1)
 *   --programs N  stop after N programs                   --program N  list and run the program of a difference
 *   --blocks N    stop after N blocks of compiled code have been compared
 *   --code-cache N  code caches of N micro-ops (500 or more), which are emptied all the time
 * Exit status 1 when something differed.
 */
import { makeProgram } from './program';
import { EngineComparison, listing, type Totals } from './compare';

const PROGRESS_MS = 5000;
/** Differences after which it ends. */
const ENOUGH = 5;
/** Programs of one --seed. */
const STRIDE = 1 << 26;

function options(
  args: readonly string[],
): Record<'seconds' | 'seed' | 'programs' | 'program' | 'blocks' | 'code-cache', number | undefined> {
  const values: Record<string, number | undefined> = {
    seconds: undefined,
    seed: undefined,
    programs: undefined,
    program: undefined,
    blocks: undefined,
    'code-cache': undefined,
  };
  for (let i = 0; i < args.length; i += 2) {
    const name = args[i].replace(/^--/, '');
    if (!args[i].startsWith('--') || !(name in values)) {
      throw new Error(`'${args[i]}' is none of --${Object.keys(values).join(' N, --')} N`);
    }
    if (!/^\d+$/.test(args[i + 1] ?? '')) throw new Error(`--${name} takes a number, not '${args[i + 1] ?? ''}'`);
    values[name] = Number(args[i + 1]);
  }
  return values as ReturnType<typeof options>;
}

export function summary(t: Totals, seconds: number): string {
  const share = (mode: string): string =>
    `${((100 * (t.compiled[mode] ?? 0)) / Math.max(1, t.instructions)).toFixed(0)} % ${mode}`;
  return (
    `${t.programs} programs of ${t.blocks} blocks in ${seconds.toFixed(0)} s: ${t.blocksRun} blocks executed in each mode, ${t.blocksCompared} blocks of compiled code compared, ` +
    `${t.instructions} instructions, by compiled code ${share('always')}, ${share('auto')}, ${share('away')}; ` +
    `${t.regions} regions (always), ${t.exceptions} exceptions, ${t.comparisons} comparisons`
  );
}

async function main(): Promise<number> {
  const chosen = options(process.argv.slice(2));
  const comparison = new EngineComparison(chosen['code-cache']);
  const { totals } = comparison;
  const started = Date.now();
  const seconds = (): number => (Date.now() - started) / 1000;
  if (chosen.program !== undefined) {
    console.log(listing(makeProgram(chosen.program, comparison.pools)).join('\n'));
    const found = comparison.check(chosen.program);
    console.log(found?.text ?? 'no difference');
    return found ? 1 : 0;
  }
  const first = (chosen.seed ?? 1) * STRIDE;
  const blocks = chosen.blocks ?? Infinity;
  const limit = chosen.seconds ?? (chosen.programs === undefined && chosen.blocks === undefined ? 60 : Infinity);
  let shown = started;
  let differences = 0;
  const goesOn = (i: number): boolean =>
    i < (chosen.programs ?? Infinity) && seconds() < limit && totals.blocksCompared < blocks && differences < ENOUGH;
  for (let i = 0; goesOn(i); i++) {
    const found = comparison.check(first + i);
    // Only then are modules of WebAssembly counted that have been collected; with too many of them nothing is compiled.
    await new Promise(setImmediate);
    if (found) {
      differences++;
      console.log(`\n${found.text}\n`);
    }
    if (Date.now() - shown > PROGRESS_MS) {
      shown = Date.now();
      console.log(summary(totals, seconds()));
    }
  }
  console.log(`seed ${chosen.seed ?? 1}: ${summary(totals, seconds())}: ${differences} differences`);
  if (totals.programs && !totals.blocksCompared) throw new Error('no block of compiled code was compared');
  return differences ? 1 : 0;
}

main().then(
  (status) => {
    process.exitCode = status;
  },
  (error: Error) => {
    console.error(error.message);
    process.exitCode = 2;
  },
);
