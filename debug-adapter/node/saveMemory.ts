/** Memory or speed: V8's choice when to collect garbage. */
import { setFlagsFromString } from 'node:v8';
import type { Saving } from '../engine';

/**
 * How much V8's heap grows at most between two collections, in percent (0: as V8 likes, up to four times); and whether it keeps its young
 * generation small, which costs time where much is made that is soon forgotten. V8 looks at both at each collection. `node --v8-options`:
 * heap_growing_percent, optimize_for_size.
 */
const FLAGS: Record<Saving, readonly string[]> = {
  none: ['--heap-growing-percent=0', '--no-optimize-for-size'],
  some: ['--heap-growing-percent=30', '--no-optimize-for-size'],
  most: ['--heap-growing-percent=30', '--optimize-for-size'],
};

let current: Saving = 'none';

/** Host.saveMemory() of engine.ts. */
export function saveMemory(saving: Saving): void {
  if (saving === current) return;
  current = saving;
  for (const flag of FLAGS[saving]) setFlagsFromString(flag);
}
