/**
 * Port 80h, where firmware shows POST codes and Linux writes to pass a microsecond, and port EDh, Linux's other delay port.
 * Both keep what was written (80h is a spare DMA page register on a PC).
 */
import { hex, type Field } from '../fields';
import type { Device, PortHandler } from './device';

export class DelayPorts implements Device<{ post: number; delay: number }>, PortHandler {
  readonly name = 'delayPorts';
  private state = { post: 0, delay: 0 };

  readPort(port: number): number {
    return port === 0x80 ? this.state.post : this.state.delay;
  }

  writePort(port: number, value: number): void {
    if (port === 0x80) this.state.post = value;
    else this.state.delay = value;
  }

  reset(): void {
    this.state = { post: 0, delay: 0 };
  }

  save(): { post: number; delay: number } {
    return { ...this.state };
  }

  restore(state: { post: number; delay: number }): void {
    this.state = { ...state };
  }

  describe(): Field[] {
    return [{ name: 'POST code', value: hex(this.state.post, 8), text: 'last write of port 80h' }];
  }
}
