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

/** Runs work of few but large steps, with a turn of the event loop between any two. */
export async function inTurns<T>(work: Generator<void, T>): Promise<T> {
  for (;;) {
    const step = work.next();
    if (step.done) return step.value;
    await turn();
  }
}

/**
 * For asynchronous work of many small steps: `const rest = rests()`, and between steps `await rest()`, which lets the event loop turn
 * whenever some milliseconds have passed.
 */
export function rests(): () => Promise<void> | undefined {
  let end = performance.now() + SLICE_MS;
  return () => (performance.now() < end ? undefined : turn().then(() => void (end = performance.now() + SLICE_MS)));
}

/** Runs work without a pause, where nobody waits. */
export function atOnce<T>(work: Generator<void, T>): T {
  for (;;) {
    const step = work.next();
    if (step.done) return step.value;
  }
}

/**
 * Lets the event loop turn once: messages that arrived meanwhile are answered, whoever else works in slices. (Timers would not do: while
 * one slice is worked off, the other's timer expires, and Node runs all that have expired before it looks for messages.)
 */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    if (typeof setImmediate === 'function') setImmediate(resolve);
    else {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => {
        channel.port1.close();
        resolve();
      };
      channel.port2.postMessage(0);
    }
  });
}
