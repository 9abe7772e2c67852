/** An interrupt line that something can disconnect from its device. What the device drives meanwhile shows on reconnection. */
import type { IrqLine } from './device';

export class GatedLine implements IrqLine {
  private level: 0 | 1 = 0;
  private connected = true;

  constructor(private readonly line: IrqLine) {}

  set(level: 0 | 1): void {
    this.level = level;
    if (this.connected) this.line.set(level);
  }

  /** `silent` leaves the line as it is: the device drives it next, as when states are restored. */
  connect(connected: boolean, silent = false): void {
    this.connected = connected;
    if (!silent) this.line.set(connected ? this.level : 0);
  }
}
