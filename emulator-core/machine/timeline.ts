/**
 * Where a machine is between its past and what has never been: the changes from outside at their moments, the latest moment that there has
 * been, and with it what is shown and sent outside for the first time.
 */
import { Changes, isAfter, type Moment } from '../time/changes';
import { Links } from './links';

export interface TimelineHost {
  /** Instructions retired: between slices. */
  retired(): number;
  /** The same, inside of a slice. */
  icount(): number;
  /** Virtual time in ns. */
  now(): number;
  recording(): boolean;
  /** Recorded history begins at the present: nobody goes back behind it. */
  beginHistory(): void;
  note(text: string): void;
  /** A device's message, to the outside. */
  send(device: string, message: Uint8Array): void;
  /** To a device, from outside. */
  receive(device: string, message: Uint8Array): void;
  /** Those outside are to forget what they were asked. */
  outsideLost(): void;
  /** Devices hear that those outside have forgotten. */
  devicesLost(): void;
}

/** Memory that recorded changes may take. */
const CHANGES_BOUND = 64 << 20;
const POWER_ON: Moment = { icount: 0, ns: 0, idle: false };

export class Timeline {
  readonly changes = new Changes();
  /** No vCPU has anything to do, and what was due has happened: the present is behind the events of its virtual time. */
  idle = false;
  /** The latest moment that there has been: replaying up to it does not print again what was printed, nor send what was sent. */
  private shownUntil: Moment = POWER_ON;
  private readonly links: Links;

  constructor(private readonly host: TimelineHost) {
    this.links = new Links({
      live: () => this.live,
      send: (device, message) => host.send(device, message),
      receive: (device, message) => this.change(() => host.receive(device, message), message.length),
      lost: () => host.outsideLost(),
    });
  }

  /** Between instructions. */
  private get present(): Moment {
    return { icount: this.host.retired(), ns: this.host.now(), idle: this.idle };
  }

  /** What happens now has happened before, at this moment of an earlier pass: it is not shown again. */
  get repeats(): boolean {
    const inside = { icount: this.host.icount(), ns: this.host.now(), idle: this.idle };
    return isAfter(this.shownUntil, inside);
  }

  /** The machine is where it has never been before: not in the past of a recorded future. */
  get live(): boolean {
    const { changes } = this;
    return !changes.repeating && changes.nextDue === Infinity && !this.repeats;
  }

  /**
   * A change from outside, applied now and again whenever history is replayed. In the past it makes a new future.
   * @param bytes memory that `apply` holds
   */
  change(apply: () => void, bytes = 0): void {
    const { host, changes } = this;
    const now = this.present;
    const forks = !this.live;
    if (isAfter(this.shownUntil, now)) this.shownUntil = now;
    if (forks) this.links.lost();
    const forked = (): void => {
      host.devicesLost();
      apply();
    };
    changes.add(now, forks ? forked : apply, bytes);
    changes.applyDue(now);
    if (!host.recording()) changes.forgetApplied();
    else if (changes.bytes > CHANGES_BOUND) {
      changes.forgetApplied();
      host.beginHistory();
      const size = `${CHANGES_BOUND >> 20} MB`;
      host.note(`history begins anew at instruction ${now.icount}: it held ${size} of data that came from outside`);
    }
  }

  /** A device's message for the outside; nobody hears it again when history is replayed. */
  send(device: string, message: Uint8Array): void {
    this.links.send(device, message);
  }

  /** A message has come for a device, which gets it by deliver(). */
  arrived(device: string, message: Uint8Array): void {
    this.links.arrived(device, message);
  }

  /** Applies the changes that are due now. Returns whether there were any. */
  applyDue(): boolean {
    return this.changes.applyDue(this.present);
  }

  /** Hands over what has come from outside, unless the machine is in its past. */
  deliver(): void {
    this.links.deliver();
  }

  /** The machine is about to go back. */
  leaving(): void {
    const { present } = this;
    if (isAfter(present, this.shownUntil)) this.shownUntil = present;
  }

  /** All begins here: power-on, or a state from elsewhere. Nothing of it has been seen before. */
  reset(): void {
    this.changes.reset();
    this.shownUntil = POWER_ON;
    this.idle = false;
    this.links.lost();
  }
}
