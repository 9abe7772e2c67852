/** Memory or speed: V8's choice when to collect garbage. */
import { setFlagsFromString } from 'node:v8';

let saving = false;

/**
 * While on, V8 lets its heap grow by less between two collections, and gives back sooner what it does not need. It looks at the flag at each
 * of them. `node --v8-options`: "Enables optimizations which favor memory size over execution speed".
 */
export function saveMemory(on: boolean): void {
  if (on === saving) return;
  saving = on;
  setFlagsFromString(on ? '--optimize-for-size' : '--no-optimize-for-size');
}
