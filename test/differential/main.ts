import { unavailable } from './native';
import { runDifferential, type Summary } from './harness';

async function main(): Promise<void> {
  const reason = unavailable();
  if (reason) {
    console.log(`skipped: ${reason}`);
    return;
  }
  const args = process.argv.slice(2);
  const value = (name: string): string | undefined => {
    const at = args.indexOf('--' + name);
    return at < 0 ? undefined : args[at + 1];
  };
  const only = value('only');
  let shown = 0;
  const summary: Summary = await runDifferential({
    seed: Number(value('seed') ?? 1),
    seconds: value('seconds') ? Number(value('seconds')) : undefined,
    cases: value('cases') ? Number(value('cases')) : undefined,
    only: only ? new RegExp(only) : undefined,
    progress: (s) => {
      if (Date.now() - shown < 5000) return;
      shown = Date.now();
      console.log(
        `${s.executions} executions, ${Math.round(s.executions / s.seconds)} a second, ${s.mismatchCount} mismatches`,
      );
    },
  });
  for (const m of summary.mismatches) console.log(`${m.line}\n    ${m.where} ${m.problems.slice(0, 6).join('; ')}`);
  for (const [name, t] of summary.tallies) if (t.mismatches) console.log(`${name}: ${t.mismatches} of ${t.executions}`);
  for (const crash of summary.crashes) console.log(crash);
  console.log(
    `${summary.executions} executions in ${summary.seconds.toFixed(1)} s (${Math.round(summary.executions / summary.seconds)} a second), ${summary.mismatchCount} mismatches, ${summary.tallies.size} forms`,
  );
}
void main();
