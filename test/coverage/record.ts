/**
 * Mocha loads this before the tests. With RINGSIDE_COVERAGE naming a folder, the process leaves a file there with the names of the
 * iced-x86 Codes that its machines executed; test/coverage/report.ts reads them.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Core } from '../../emulator-core/cpu/core';
import { CODES } from '../../emulator-core/x86/codes';

/** Names of Codes that retired at least once, and that faulted. */
export interface ExecutedCodes {
  retired: string[];
  faulted: string[];
}

/** Records from now on; the function tells what has been executed so far. */
export function record(): () => ExecutedCodes {
  const retired = new Set<number>();
  const faulted = new Set<number>();
  Core.observer = (code, done) => (done ? retired : faulted).add(code);
  const names = (codes: Set<number>): string[] => [...codes].flatMap((code) => CODES[code]?.name ?? []).sort();
  return () => ({ retired: names(retired), faulted: names(faulted) });
}

const folder = process.env.RINGSIDE_COVERAGE;
if (folder) {
  const executed = record();
  process.on('exit', () => {
    mkdirSync(folder, { recursive: true });
    writeFileSync(path.join(folder, `${process.pid}.json`), JSON.stringify(executed()));
  });
}
