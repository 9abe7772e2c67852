/**
 * Threads that only help give way to the one that runs guests: where processors are few, it would wait for its turn behind V8's
 * optimizing compiler, the garbage collector's helpers and our own compiler.
 */
import { readdirSync, readlinkSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';

/**
 * Nice value: a third of the processor time of a thread at 0, where they compete. With 10 it is a tenth, and where other programs keep
 * all processors busy, regions come so late that a guest takes a third longer.
 */
const NICE = 5;

/** Lowers the priority of threads that `numbers` finds in /proc. Where that can't be done, all stay as they are. */
function lower(numbers: () => number[]): void {
  // On Linux alone a thread has a priority of its own, by its number.
  if (process.platform !== 'linux') return;
  try {
    // In another namespace of processes the numbers would be others'.
    if (readlinkSync('/proc/self') !== String(process.pid)) return;
    for (const thread of numbers()) if (getPriority(thread) < NICE) setPriority(thread, NICE);
  } catch {
    // There is no /proc, a sandbox does not allow it, or a thread has ended meanwhile.
  }
}

/** All threads but the main one, which calls it when the process has begun: those of V8, mostly. */
export function lowerHelpers(): void {
  lower(() =>
    readdirSync('/proc/self/task')
      .map(Number)
      .filter((thread) => thread !== process.pid),
  );
}

/** The thread that calls it. */
export function lowerThisThread(): void {
  lower(() => [Number(readlinkSync('/proc/thread-self').split('/').pop())]);
}
