/**
 * The guest's serial console on its way to the client: as output events, or as `ringside/console` events for a client that shows it as a
 * terminal, or into a file. Output is sent in batches of whole UTF-8 sequences. Nothing is left out: the guest is held while the client, or
 * the disk, does not take what was sent before.
 */

/** Bytes kept for a terminal that attaches later. */
export const BACKLOG = 1 << 20;
/** Milliseconds that output waits for more; behind a batch that is a screen of 80 by 24 or more, which nobody reads as it comes, longer. */
const BATCH_DELAY = 15;
const HOT_DELAY = 50;
const HOT = 80 * 24;
/** Bytes that make a batch go out at once. */
const BATCH_SIZE = 1 << 16;

export interface ConsoleSink {
  /** As the text of an output event. */
  text(text: string): void;
  /** To the attached terminal. */
  bytes(data: Uint8Array): void;
  /** To the file of launch.json. The promise resolves once the file takes more. */
  file?(data: Uint8Array): Promise<void> | undefined;
  /** A promise while the client has much to take that was sent before; it resolves once it has taken it. */
  congested?(): Promise<void> | undefined;
}

export class GuestConsole {
  private backlog: Uint8Array[] = [];
  private backlogSize = 0;
  private missing = 0;
  private pending: Uint8Array[] = [];
  private pendingSize = 0;
  private lastSize = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private attached = false;
  private readonly decoder = new TextDecoder();

  /** @param route output: output events; attach: only to a terminal that asks for it; file: only into the file */
  constructor(
    private readonly route: 'output' | 'attach' | 'file',
    private readonly sink: ConsoleSink,
  ) {}

  /** What the guest wrote. The promise resolves once it may write more. */
  write(data: Uint8Array): Promise<void> | undefined {
    if (data.length === 0) return undefined;
    if (this.route === 'file') return this.sink.file?.(data);
    const copy = data.slice();
    this.remember(copy);
    if (this.route === 'attach' && !this.attached) return undefined;
    this.pending.push(copy);
    this.pendingSize += copy.length;
    if (this.pendingSize >= BATCH_SIZE) this.flush();
    else this.timer ??= setTimeout(() => this.flush(), this.lastSize < HOT ? BATCH_DELAY : HOT_DELAY);
    return this.sink.congested?.();
  }

  /**
   * A terminal attaches: returns what was written before, and how many bytes before that are not kept. From now on everything goes to it
   * as bytes.
   */
  attach(): { data: Uint8Array; missing: number } {
    this.pending = [];
    this.pendingSize = 0;
    this.attached = true;
    return { data: join(this.backlog, this.backlogSize), missing: this.missing };
  }

  /** Sends what waits: at a stop, so that output comes before it. */
  flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.pendingSize === 0) return;
    const data = join(this.pending, this.pendingSize);
    this.pending = [];
    this.lastSize = this.pendingSize;
    this.pendingSize = 0;
    if (this.attached) this.sink.bytes(data);
    else {
      const text = this.decoder.decode(data, { stream: true });
      if (text) this.sink.text(text);
    }
  }

  private remember(data: Uint8Array): void {
    this.backlog.push(data);
    this.backlogSize += data.length;
    while (this.backlogSize > BACKLOG) {
      const [first] = this.backlog;
      const excess = this.backlogSize - BACKLOG;
      this.missing += Math.min(first.length, excess);
      if (first.length <= excess) this.backlog.shift();
      else this.backlog[0] = first.subarray(excess);
      this.backlogSize -= Math.min(first.length, excess);
    }
    // Many small writes: joined now and then, so that their number stays small.
    if (this.backlog.length > 4096) this.backlog = [join(this.backlog, this.backlogSize)];
  }
}

function join(parts: Uint8Array[], size: number): Uint8Array {
  const whole = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Output events of the adapter itself (notes, log points), joined so that a busy log point floods nobody. */
export class OutputBatch {
  private text = '';
  private dropped = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly send: (text: string) => void) {}

  /** Adds text; beyond 1 MB that was not sent yet, lines are counted and left out. */
  write(text: string): void {
    if (this.text.length > BACKLOG) this.dropped++;
    else this.text += text;
    this.timer ??= setTimeout(() => this.flush(), BATCH_DELAY);
  }

  flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    const more = this.dropped > 0 ? `... ${this.dropped} more lines left out\n` : '';
    if (this.text) this.send(this.text + more);
    this.text = '';
    this.dropped = 0;
  }
}
