/**
 * Port 80h, where firmware shows POST codes and Linux writes to pass a microsecond, and port EDh, Linux's other delay port.
 * Both keep what was written (80h is a spare DMA page register on a PC).
 */
import { hex, type Field } from '../fields';
import type { Device, PortHandler } from './device';

export const DELAY_PORTS = [0x80, 0xed] as const;
const [POST, DELAY] = DELAY_PORTS;

export class DelayPorts implements Device<{ post: number; delay: number }>, PortHandler {
  readonly name = 'delayPorts';

  /** @param kept what was last written to each port that keeps it (Bus) */
  constructor(private readonly kept: Uint8Array) {}

  readPort(port: number): number {
    return this.kept[port];
  }

  writePort(port: number, value: number): void {
    this.kept[port] = value;
  }

  reset(): void {
    this.restore({ post: 0, delay: 0 });
  }

  save(): { post: number; delay: number } {
    return { post: this.kept[POST], delay: this.kept[DELAY] };
  }

  restore(state: { post: number; delay: number }): void {
    this.kept[POST] = state.post;
    this.kept[DELAY] = state.delay;
  }

  describe(): Field[] {
    return [{ name: 'POST code', value: hex(this.kept[POST], 8), text: 'last write of port 80h' }];
  }
}
