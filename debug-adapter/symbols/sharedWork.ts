/**
 * Work that is done once, in steps, by whoever needs it: some let the event loop turn between steps, some can't wait, and all of them
 * go on from where the work is. See introspection/slices.ts.
 */
export class SharedWork {
  private work: Generator<void, void> | undefined;
  done = false;

  constructor(private readonly start: () => Generator<void, void>) {}

  /** Does what is left. */
  *run(): Generator<void, void> {
    while (!this.done) {
      this.work ??= this.start();
      try {
        if (this.work.next().done) this.done = true;
      } catch (error) {
        this.done = true;
        throw error;
      }
      if (!this.done) yield;
    }
    this.work = undefined;
  }
}
