/**
 * npm run differential: compares the core with this host's processor, for as long as it is told.
 *   --seconds N    stop after N seconds           --cases N   stop after N cases (default: 1000 a form)
 *   --seed S       another run (default 1)        --only RE   forms whose name ("Add_rm32_r32 64 mem") matches
 *   --case LINE    one vector, as a mismatch is printed, on both sides
 * Exit status 1 when something differed.
 */
import { runDifferential, runLine, type Options, type Summary } from './harness';
import { unavailable } from './native';

const PROGRESS_MS = 5000;

function options(args: readonly string[]): Options & { line?: string } {
  const known = ['seconds', 'cases', 'seed', 'only', 'case'];
  const values = new Map<string, string>();
  for (let i = 0; i < args.length; i += 2) {
    const name = args[i].replace(/^--/, '');
    if (!args[i].startsWith('--') || !known.includes(name) || args[i + 1] === undefined) {
      throw new Error(`'${args[i]}' is none of --${known.join(' VALUE, --')} VALUE`);
    }
    values.set(name, args[i + 1]);
  }
  const number = (name: string): number | undefined => {
    const text = values.get(name);
    if (text === undefined) return undefined;
    if (!/^\d+$/.test(text)) throw new Error(`--${name} takes a number, not '${text}'`);
    return Number(text);
  };
  const only = values.get('only');
  return {
    seed: number('seed') ?? 1,
    seconds: number('seconds'),
    cases: number('cases'),
    only: only === undefined ? undefined : new RegExp(only),
    line: values.get('case'),
  };
}

function report(summary: Summary): void {
  const width = Math.max(...[...summary.tallies.keys()].map((name) => name.length));
  console.log(`\n${'form'.padEnd(width)}  executions  mismatches`);
  for (const [name, tally] of [...summary.tallies].sort(([a], [b]) => (a < b ? -1 : 1))) {
    console.log(
      `${name.padEnd(width)}  ${String(tally.executions).padStart(10)}  ${String(tally.mismatches).padStart(10)}`,
    );
  }
  console.log('\nLeft out:');
  for (const [reason, names] of summary.forms.excluded) console.log(`  ${reason}: ${names.join(' ')}`);
  const { unencoded } = summary;
  if (unencoded.size) console.log(`  other Codes stand for the same bytes: ${[...unencoded].sort().join(', ')}`);
  for (const crash of summary.crashes) console.log(crash);
  for (const { line, problems } of summary.mismatches) console.log(`\n${line}\n    ${problems.slice(0, 8).join('; ')}`);
}

async function main(): Promise<number> {
  const { line, ...chosen } = options(process.argv.slice(2));
  const reason = unavailable();
  if (reason) {
    console.log(`skipped: ${reason}`);
    return 0;
  }
  if (line !== undefined) {
    const found = await runLine(line);
    console.log(`machine and processor: ${found.machine.join('; ') || 'the same'}`);
    console.log(`line and processor: ${found.line.join('; ') || 'the same'}`);
    console.log(found.vector);
    return found.machine.length ? 1 : 0;
  }
  let shown = Date.now();
  const perSecond = (s: Summary): number => Math.round(s.executions / s.seconds);
  const summary = await runDifferential({
    ...chosen,
    progress: (s) => {
      if (Date.now() - shown < PROGRESS_MS) return;
      shown = Date.now();
      console.log(`${s.executions} executions, ${perSecond(s)} a second, ${s.mismatchCount} mismatches`);
    },
  });
  report(summary);
  const { executions, seconds, mismatchCount, tallies, crashes } = summary;
  console.log(
    `\n${executions} executions of ${tallies.size} forms in ${seconds.toFixed(0)} s (${perSecond(summary)} a second, seed ${chosen.seed}): ` +
      `${mismatchCount} mismatches`,
  );
  return mismatchCount || crashes.length ? 1 : 0;
}

main().then(
  (status) => (process.exitCode = status),
  (error: Error) => {
    console.error(error.message);
    process.exitCode = 2;
  },
);
