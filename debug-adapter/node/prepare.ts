/** What every program of the adapter does first. */
import path from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { useCompileMode } from './compileMode';
import { useCompilerThread } from './compiler';
import { lowerHelpers } from './priority';

/**
 * How much of other functions V8 puts into one that it optimizes, in bytes of bytecode (it would be 920). Optimizing is what takes the
 * most processor time while a guest boots: with less of it a boot takes a tenth less. Exits that TypeScript does take 5 % longer.
 */
export const INLINING = '--max-inlined-bytecode-size-cumulative=100';

/**
 * Room for young objects, of which V8 has some MB by now, becomes what it may be (16 MB) the next time that it grows. It would double it
 * a few times while a guest boots, which stops the guest for some 10 ms each, and collect twice as often.
 */
const YOUNG_OBJECTS = '--semi-space-growth-factor=16';

/** @throws Error when RINGSIDE_COMPILE is no way of compiling */
export function prepareProcess(): void {
  setFlagsFromString(INLINING);
  setFlagsFromString(YOUNG_OBJECTS);
  lowerHelpers();
  useCompileMode(process.env);
  useCompilerThread(path.join(__dirname, 'compilerThread.js'));
}
