/**
 * Messages between devices and what stands behind them outside of the machine: the files of a share, the connections of a network.
 * What a device sends is not sent again when history is replayed; what comes for it is a change like a typed key.
 */

export interface LinksHost {
  /** The machine is where it has never been before: what it does now happens for the first time. */
  live(): boolean;
  /** To the outside. The answer must not come before this returns. */
  send(device: string, message: Uint8Array): void;
  /** To the device, now and whenever history is replayed. */
  receive(device: string, message: Uint8Array): void;
  /** Nobody outside will answer what has been asked before. */
  lost(): void;
}

export class Links {
  private waiting: { device: string; message: Uint8Array }[] = [];

  constructor(private readonly host: LinksHost) {}

  /** A device says something. */
  send(device: string, message: Uint8Array): void {
    if (this.host.live()) this.host.send(device, message);
  }

  /** Something has come for a device: it gets it when the machine runs and is not in its past. */
  arrived(device: string, message: Uint8Array): void {
    this.waiting.push({ device, message: message.slice() });
  }

  /** Hands over what has come, if now is the time. */
  deliver(): void {
    if (this.waiting.length === 0 || !this.host.live()) return;
    const { waiting } = this;
    this.waiting = [];
    for (const { device, message } of waiting) this.host.receive(device, message);
  }

  /** The future in which answers would have come is gone. */
  lost(): void {
    this.waiting = [];
    this.host.lost();
  }
}
