/** Tests run whole suites, and the adapters that they start, with another way of compiling. */
import type { CompileMode } from '../../emulator-core/cpu/compiledCode';
import { Core } from '../../emulator-core/cpu/core';

const MODES: readonly string[] = ['auto', 'off', 'always'] satisfies CompileMode[];

/**
 * RINGSIDE_COMPILE is what launch.json's `compile` is where it does not say.
 * @throws Error when it is none of auto, off and always
 */
export function useCompileMode(environment: NodeJS.ProcessEnv): void {
  const mode = environment.RINGSIDE_COMPILE;
  if (!mode) return;
  if (!MODES.includes(mode)) throw new Error(`RINGSIDE_COMPILE is '${mode}': expected ${MODES.join(', ')}`);
  Core.compile = mode as CompileMode;
}
