/**
 * What is due when, in virtual nanoseconds since power-on. Devices register a handler under a name once, at construction;
 * deadlines are then plain data (name, time), so that a checkpoint can hold them.
 */

/** Pending deadlines, earliest first. */
export type EventQueueState = { name: string; ns: number }[];

export class EventQueue {
  private readonly handlers = new Map<string, (now: number) => void>();
  /** Sorted by time, then by name, so that ties run in the same order however they were scheduled. */
  private pending: EventQueueState = [];
  private next = Infinity;

  /** Names the handler of an event. Throws if the name is taken. */
  register(name: string, fn: (now: number) => void): void {
    if (this.handlers.has(name)) throw new Error(`event '${name}' is registered twice`);
    this.handlers.set(name, fn);
  }

  /** Schedules the event, or moves it if it is pending already. `ns` is virtual time; a time in the past is due at once. */
  at(name: string, ns: number): void {
    if (!this.handlers.has(name)) throw new Error(`event '${name}' has no handler`);
    if (Number.isNaN(ns)) throw new Error(`event '${name}': the deadline is not a number`);
    if (this.movesInPlace(name, ns)) return;
    this.remove(name);
    if (ns !== Infinity) {
      const pending = this.pending;
      let i = pending.length;
      while (i > 0 && (pending[i - 1].ns > ns || (pending[i - 1].ns === ns && pending[i - 1].name > name))) i--;
      pending.splice(i, 0, { name, ns });
    }
    this.next = this.pending.length > 0 ? this.pending[0].ns : Infinity;
  }

  /** The usual case of at(): the event is pending, and stays before and behind the same others. */
  private movesInPlace(name: string, ns: number): boolean {
    const { pending } = this;
    const i = pending.findIndex((event) => event.name === name);
    if (i < 0 || ns === Infinity) return false;
    const before = i > 0 ? pending[i - 1] : undefined;
    const after = i + 1 < pending.length ? pending[i + 1] : undefined;
    if (before && (before.ns > ns || (before.ns === ns && before.name > name))) return false;
    if (after && (after.ns < ns || (after.ns === ns && after.name < name))) return false;
    pending[i].ns = ns;
    this.next = pending[0].ns;
    return true;
  }

  /** Forgets the event if it is pending. */
  cancel(name: string): void {
    this.remove(name);
    this.next = this.pending.length > 0 ? this.pending[0].ns : Infinity;
  }

  /** The earliest deadline in virtual nanoseconds, Infinity when nothing is pending. */
  nextDeadline(): number {
    return this.next;
  }

  /**
   * Runs every event whose deadline is at or before `now`, earliest first, including those that handlers schedule
   * meanwhile, but each name at most once a call: an event that keeps scheduling itself in the past cannot hang the machine.
   */
  runDue(now: number): void {
    if (this.next > now) return;
    const ran = new Set<string>();
    for (;;) {
      const i = this.pending.findIndex((event) => event.ns > now || !ran.has(event.name));
      if (i < 0 || this.pending[i].ns > now) return;
      const { name } = this.pending[i];
      ran.add(name);
      this.cancel(name);
      this.handlers.get(name)!(now);
    }
  }

  /** A copy of the pending deadlines. */
  save(): EventQueueState {
    return this.pending.map((event) => ({ ...event }));
  }

  /** Replaces the pending deadlines. Throws on a name that nobody registered. */
  restore(state: EventQueueState): void {
    this.pending = [];
    this.next = Infinity;
    for (const { name, ns } of state) this.at(name, ns);
  }

  private remove(name: string): void {
    const pending = this.pending;
    for (let i = 0; i < pending.length; i++) {
      if (pending[i].name === name) {
        pending.splice(i, 1);
        return;
      }
    }
  }
}
