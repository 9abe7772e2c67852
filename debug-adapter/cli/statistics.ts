/** What --stats and trace files say about a run. */
import type { EngineCounters, ExitRecord } from '../target';
import { endText } from './runEnd';
import type { RunOutcome } from './runGuest';

const hex = (value: bigint) => `0x${value.toString(16)}`;

/** One line of a trace file. Addresses are strings: JSON's numbers end at 2^53. */
export function traceLine(exit: ExitRecord): string {
  return JSON.stringify(exit, (_key, value: unknown) => (typeof value === 'bigint' ? hex(value) : value));
}

/** One exit for people. */
export function exitLine(exit: ExitRecord): string {
  return `#${exit.seq} icount ${exit.icount} vCPU ${exit.cpu} rip ${hex(exit.rip)} ${exit.name}: ${exit.summary}`;
}

/** @param seconds of wall time */
export function statisticsText(outcome: RunOutcome, seconds: number): string {
  const { instructions, mips, exits } = numbers(outcome, seconds);
  const lines = [`${instructions} instructions in ${seconds.toFixed(3)} s, ${mips.toFixed(1)} million a second`];
  if (outcome.engine) lines.push(...engineLines(instructions, outcome.engine));
  const width = Math.max(0, ...Object.values(exits).map((count) => String(count).length));
  for (const [name, count] of Object.entries(exits)) lines.push(`  ${String(count).padStart(width)} ${name}`);
  return lines.join('\n');
}

function engineLines(instructions: number, engine: EngineCounters): string[] {
  const { compiled, regions, regionInstructions, regionBytes, compileMilliseconds, longestCompileMilliseconds } =
    engine;
  const percent = instructions > 0 ? ` (${((100 * compiled) / instructions).toFixed(1)} %)` : '';
  return [
    `${compiled} compiled${percent}, ${Math.max(0, instructions - compiled)} interpreted`,
    `${regions} regions of ${regionInstructions} instructions, ${(regionBytes / 1024).toFixed(0)} KiB, in ${compileMilliseconds.toFixed(0)} ms, ` +
      `at most ${longestCompileMilliseconds.toFixed(1)} ms at once; ` +
      `${engine.evictedRegions} evicted, ${engine.droppedRegions} dropped; ${engine.tlbMisses} TLB misses`,
  ];
}

/** One line of JSON. */
export function statisticsJson(outcome: RunOutcome, seconds: number): string {
  return JSON.stringify({ ...numbers(outcome, seconds), end: endText(outcome.end), status: outcome.status });
}

function numbers(outcome: RunOutcome, seconds: number) {
  const counters = [...outcome.exitCounters].sort((a, b) => b.count - a.count);
  return {
    instructions: outcome.icount,
    seconds: Math.round(seconds * 1e6) / 1e6,
    mips: seconds > 0 ? Math.round(outcome.icount / seconds / 1e4) / 100 : 0,
    ...(outcome.engine ? { engine: outcome.engine } : {}),
    exits: Object.fromEntries(counters.map(({ name, count }) => [name, count])),
  };
}
