/**
 * The sixteen ISA interrupt lines. Several devices can share a line: it is asserted while any of them asserts it.
 */
import { hex, type Field } from '../fields';
import type { Device, IrqLine } from './device';

interface IrqLinesState {
  /** Per line, one bit for each source that asserts it. */
  asserted: number[];
}

export class IrqLines implements Device<IrqLinesState> {
  readonly name = 'irqLines';
  private state: IrqLinesState = { asserted: new Array<number>(16).fill(0) };
  private readonly sourceCount = new Array<number>(16).fill(0);

  /** `sink` gets every change of a line: the PICs and the I/O APIC. */
  constructor(private readonly sink: (irq: number, level: 0 | 1) => void) {}

  /** A new source on line `irq` (0-15). At most 32 sources a line. */
  source(irq: number): IrqLine {
    const bit = 1 << this.sourceCount[irq]++;
    return { set: (level) => this.set(irq, bit, level) };
  }

  /** Whether anything asserts the line. */
  level(irq: number): 0 | 1 {
    return this.state.asserted[irq] ? 1 : 0;
  }

  reset(): void {
    for (let irq = 0; irq < 16; irq++) {
      const was = this.state.asserted[irq];
      this.state.asserted[irq] = 0;
      if (was) this.sink(irq, 0);
    }
  }

  save(): IrqLinesState {
    return structuredClone(this.state);
  }

  /** Takes the levels over without telling the sink, whose own state holds what it saw. */
  restore(state: IrqLinesState): void {
    this.state = structuredClone(state);
  }

  describe(): Field[] {
    const levels = this.state.asserted.reduce((mask, sources, irq) => (sources ? mask | (1 << irq) : mask), 0);
    return [{ name: 'asserted', value: hex(levels, 16) }];
  }

  private set(irq: number, bit: number, level: 0 | 1): void {
    const was = this.state.asserted[irq];
    const is = level ? was | bit : was & ~bit;
    this.state.asserted[irq] = is;
    if ((was === 0) !== (is === 0)) this.sink(irq, level);
  }
}
