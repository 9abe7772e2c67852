/**
 * Threads that only help give way to the one that runs guests: where processors are few, it would wait for its turn behind V8's
 * optimizing compiler, the garbage collector's helpers and our own compiler.
 */
import { readdirSync, readlinkSync } from 'node:fs';
import { setPriority } from 'node:os';

/**
 * Nice value: a third of the processor time of a thread at 0, where they compete. With 10 it is a tenth, and where other programs keep
 * all processors busy, regions come so late that a guest takes half as long again.
 */
const NICE = 5;

/** On Linux a thread has a priority of its own, by its number. Elsewhere all stay as they are. */
const onLinux = process.platform === 'linux';

function lower(thread: number): void {
  try {
    setPriority(thread, NICE);
  } catch {
    // It has ended meanwhile, or a sandbox does not allow it.
  }
}

/** V8's threads, which are there when Node begins; from the main thread, before it makes others. */
export function lowerHelpers(): void {
  if (!onLinux) return;
  for (const thread of readdirSync('/proc/self/task').map(Number)) if (thread !== process.pid) lower(thread);
}

/** The thread that calls it. */
export function lowerThisThread(): void {
  if (onLinux) lower(Number(readlinkSync('/proc/thread-self').split('/').pop()));
}
