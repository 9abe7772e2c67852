/**
 * Rows of the instruction table that no recorded run executed.
 *   node --require tsx/cjs test/coverage/report.ts FOLDER      lists them; exit status 1 when there are any
 */
import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { CODES } from '../../emulator-core/x86/codes';
import { INSTRUCTIONS, type Instruction } from '../../emulator-core/x86/instructions';
import type { ExecutedCodes } from './record';

/** Rows that never retire: what they do is fault. */
const ONLY_FAULT: Record<string, string> = {
  Ud0: 'undefined by definition',
  Ud1: 'undefined by definition',
  Ud2: 'undefined by definition',
  Rdpmc: 'no counters are announced',
  Vmmcall: 'undefined on Intel processors',
};

/** Union of what the processes that recorded into `folder` executed. */
function readExecuted(folder: string): ExecutedCodes {
  const files = readdirSync(folder).filter((name) => name.endsWith('.json'));
  const all = files.map((file) => JSON.parse(readFileSync(path.join(folder, file), 'utf8')) as ExecutedCodes);
  return { retired: all.flatMap(({ retired }) => retired), faulted: all.flatMap(({ faulted }) => faulted) };
}

/** Rows none of whose encodings was executed. */
export function rowsNotExecuted(executed: ExecutedCodes): Instruction[] {
  const retired = new Set(executed.retired);
  const faulted = new Set(executed.faulted);
  const reached = new Set<Instruction>();
  for (const info of CODES) {
    if (!info) continue;
    if (retired.has(info.name) || (info.row.mnemonic in ONLY_FAULT && faulted.has(info.name))) reached.add(info.row);
  }
  return INSTRUCTIONS.filter((row) => !reached.has(row));
}

/** A row for people: mnemonic, operands that tell it apart, manual title. */
function nameOf(row: Instruction): string {
  return `${row.mnemonic}${row.operands ? ` ${row.operands.source}` : ''} (${row.manual})`;
}

if (require.main === module) {
  const left = rowsNotExecuted(readExecuted(process.argv[2]));
  for (const row of left) console.log(`not executed by any test: ${nameOf(row)}`);
  console.log(`${INSTRUCTIONS.length - left.length} of ${INSTRUCTIONS.length} rows executed`);
  process.exitCode = left.length ? 1 : 0;
}
