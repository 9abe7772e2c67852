/**
 * Time travel: checkpoints of everything but RAM, and for RAM the contents that pages had when they were first written after a
 * checkpoint. Going back is: undo pages, restore the checkpoint, run forward.
 */
import { PAGE } from '../cpu/layout';

export interface HistoryHost {
  icount(): number;
  /** Everything but guest RAM, as plain data. */
  saveState(): unknown;
  restoreState(state: unknown): void;
  ram: Uint8Array;
  /** All pages count as clean from now on: the next write to each is reported to pageDirtied. */
  markAllClean(): void;
  /** A page's contents are about to be replaced from outside. */
  pageReplaced(page: number): void;
}

interface Checkpoint {
  icount: number;
  state: unknown;
  /** Contents at this checkpoint of pages written since, until the next checkpoint. */
  pages: Map<number, Uint8Array>;
}

/** Instructions between checkpoints at first; doubled each time the memory bound is met. */
const INTERVAL = 20_000_000;
const MEMORY_BOUND = 96 << 20;

export class History {
  private checkpoints: Checkpoint[] = [];
  private interval = INTERVAL;
  private bytes = 0;
  private readonly spare: Uint8Array[] = [];

  constructor(private readonly host: HistoryHost) {}

  /** Forgets everything and begins anew at the present. */
  begin(): void {
    this.checkpoints = [];
    this.bytes = 0;
    this.interval = INTERVAL;
    this.take();
  }

  /** icount of the earliest state that can be reached. */
  get start(): number {
    return this.checkpoints[0]?.icount ?? this.host.icount();
  }

  /** Instructions until the next checkpoint is due. */
  get due(): number {
    const last = this.checkpoints[this.checkpoints.length - 1];
    return last ? Math.max(0, last.icount + this.interval - this.host.icount()) : Infinity;
  }

  /** A checkpoint of the present. */
  take(): void {
    const icount = this.host.icount();
    const last = this.checkpoints[this.checkpoints.length - 1];
    if (last && last.icount === icount) return;
    this.checkpoints.push({ icount, state: this.host.saveState(), pages: new Map() });
    this.host.markAllClean();
    if (this.bytes > MEMORY_BOUND) this.thin();
  }

  /** First write to a page since the last checkpoint. */
  pageDirtied(page: number): void {
    const last = this.checkpoints[this.checkpoints.length - 1];
    if (!last || last.pages.has(page)) return;
    const copy = this.spare.pop() ?? new Uint8Array(PAGE);
    copy.set(this.host.ram.subarray(page * PAGE, (page + 1) * PAGE));
    last.pages.set(page, copy);
    this.bytes += PAGE;
  }

  /** Goes to the newest checkpoint at or before `icount` and returns its count; the checkpoints after it are forgotten. */
  restoreBefore(icount: number): number {
    let target = this.checkpoints.length - 1;
    while (target > 0 && this.checkpoints[target].icount > icount) target--;
    for (let i = this.checkpoints.length - 1; i >= target; i--) {
      for (const [page, contents] of this.checkpoints[i].pages) {
        this.host.pageReplaced(page);
        this.host.ram.set(contents, page * PAGE);
        this.release(contents);
      }
      this.checkpoints[i].pages.clear();
    }
    const checkpoint = this.checkpoints[target];
    this.checkpoints.length = target + 1;
    this.host.restoreState(checkpoint.state);
    this.host.markAllClean();
    return checkpoint.icount;
  }

  /** icount of the newest checkpoint strictly before `icount`, or undefined. */
  checkpointBefore(icount: number): number | undefined {
    for (let i = this.checkpoints.length - 1; i >= 0; i--) {
      if (this.checkpoints[i].icount < icount) return this.checkpoints[i].icount;
    }
    return undefined;
  }

  private release(contents: Uint8Array): void {
    this.bytes -= PAGE;
    if (this.spare.length < 256) this.spare.push(contents);
  }

  /** Merges every second checkpoint into the one before it. */
  private thin(): void {
    const kept: Checkpoint[] = [];
    for (const [i, checkpoint] of this.checkpoints.entries()) {
      if (i % 2 === 0 || i === this.checkpoints.length - 1) {
        kept.push(checkpoint);
        continue;
      }
      const into = kept[kept.length - 1];
      for (const [page, contents] of checkpoint.pages) {
        // The earlier contents count.
        if (into.pages.has(page)) this.release(contents);
        else into.pages.set(page, contents);
      }
    }
    this.checkpoints = kept;
    this.interval *= 2;
  }
}
