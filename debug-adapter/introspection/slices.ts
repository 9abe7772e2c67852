/** Long work that leaves the event loop its turns: a generator yields often, and is run a few milliseconds at a time. */

/** Milliseconds of work between two turns of the event loop. */
const SLICE_MS = 8;

/** Runs work to its end. It yields at least every few thousand steps; what it throws is thrown here. */
export async function inSlices<T>(work: Generator<void, T>): Promise<T> {
  for (;;) {
    const end = performance.now() + SLICE_MS;
    do {
      const step = work.next();
      if (step.done) return step.value;
    } while (performance.now() < end);
    await turn();
  }
}

/** Runs work without a pause, where nobody waits. */
export function atOnce<T>(work: Generator<void, T>): T {
  for (;;) {
    const step = work.next();
    if (step.done) return step.value;
  }
}

/** Lets the event loop turn once: messages that arrived meanwhile are answered. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
