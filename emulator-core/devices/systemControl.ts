/**
 * System control port A (92h: fast A20, fast reset) and PIIX3's reset control register (CF9h). The A20 gate is open while
 * either port 92h or the keyboard controller opens it.
 */
import { type Field } from '../fields';
import type { Device, PortHandler } from './device';
import { describeRegisters, type Register } from './registers';

const REGISTERS: readonly Register[] = [
  { offset: 0x92, name: 'port 92h', access: 'rw', writable: 0x03, bits: { 'fast reset': 0, A20: 1 } },
  { offset: 0xcf9, name: 'reset control', access: 'rw', writable: 0x06, bits: { 'hard reset': 1, 'reset CPU': 2 } },
];
const [PORT_92, RESET_CONTROL] = REGISTERS;

interface SystemControlState {
  port92: number;
  resetControl: number;
}

/** Port 92h with A20 open, as firmware leaves it. */
const INITIAL: SystemControlState = { port92: 0x02, resetControl: 0 };

export class SystemControl implements Device<SystemControlState>, PortHandler {
  readonly name = 'systemControl';
  private state = { ...INITIAL };

  constructor(private readonly resetMachine: () => void) {}

  get a20(): boolean {
    return (this.state.port92 & 0x02) !== 0;
  }

  readPort(port: number): number {
    return port === PORT_92.offset ? this.state.port92 : this.state.resetControl;
  }

  writePort(port: number, value: number): void {
    const s = this.state;
    if (port === PORT_92.offset) {
      const rising = value & ~s.port92 & 0x01;
      s.port92 = value & PORT_92.writable!;
      if (rising) this.resetMachine();
    } else {
      const rising = value & ~s.resetControl & 0x04;
      s.resetControl = value & RESET_CONTROL.writable!;
      if (rising) this.resetMachine();
    }
  }

  reset(): void {
    this.state = { ...INITIAL };
  }

  save(): SystemControlState {
    return { ...this.state };
  }

  restore(state: SystemControlState): void {
    this.state = { ...state };
  }

  describe(): Field[] {
    return describeRegisters(REGISTERS, (row) => this.readPort(row.offset));
  }
}
