/**
 * Loaded before the tests: RINGSIDE_COMPILE=always makes every machine in this process compile all code when it first runs, `off` none.
 */
import { Core } from '../emulator-core/cpu/core';
import type { CompileMode } from '../emulator-core/cpu/compiledCode';

const mode = process.env.RINGSIDE_COMPILE;
if (mode !== undefined) {
  if (!['auto', 'off', 'always'].includes(mode)) throw new Error(`RINGSIDE_COMPILE is '${mode}'; expected auto, off or always`);
  Core.compile = mode as CompileMode;
}
