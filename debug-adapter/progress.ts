/** DAP's progress events of one piece of work. */

/** Parts of the work between two reports. */
const STEP = 0.02;
let works = 0;

export class Progress {
  private readonly progressId = `work ${++works}`;
  private shown = 0;
  private readonly abort = new AbortController();

  /**
   * @param send sends an event; it knows whether the client takes progress events
   * @param measured update() tells how far the work is, and the client may cancel it, as `outer` may; absent: neither
   */
  constructor(
    private readonly send: (event: string, body: unknown) => void,
    title: string,
    measured?: { outer: AbortSignal | undefined },
  ) {
    const outer = measured?.outer;
    if (outer?.aborted) this.abort.abort();
    outer?.addEventListener('abort', () => this.abort.abort());
    const { progressId } = this;
    send('progressStart', { progressId, title, cancellable: !!measured, ...(measured ? { percentage: 0 } : {}) });
  }

  /** Aborts when the client has cancelled. */
  get signal(): AbortSignal {
    return this.abort.signal;
  }

  /** @param done 0 to 1 */
  update(done: number): void {
    if (done - this.shown < STEP) return;
    this.shown = done;
    this.send('progressUpdate', { progressId: this.progressId, percentage: Math.floor(100 * done) });
  }

  /** The client cancels the work with this id; false: it is another one. */
  cancel(progressId: string): boolean {
    if (progressId !== this.progressId) return false;
    this.abort.abort();
    return true;
  }

  end(): void {
    this.send('progressEnd', { progressId: this.progressId });
  }
}
