/**
 * Tells which instructions are executed, for measuring what tests reach: the run loop executes an instruction alone the first time it
 * comes to it, and whole blocks only where each instruction was reported. Blocks end at branches, so that nothing is passed by.
 */
import type { MachineMemory } from '../mmu/memory';
import type { CodeCache } from '../x86/codeCache';
import { SpecialCode, type InstructionDecoder } from '../x86/decode';
import { Uop } from './layout';

export class ExecutionObserver {
  private readonly reported = new Set<number>();
  private flushes = 0;

  constructor(
    private readonly memory: MachineMemory,
    private readonly decoder: InstructionDecoder,
    private readonly code: CodeCache,
    private readonly report: (code: number, retired: boolean) => void,
  ) {
    decoder.endsAtBranches = true;
  }

  /** The micro-op has not retired yet since it was decoded. */
  wants(uop: number): boolean {
    if (this.flushes !== this.code.flushes) {
      this.flushes = this.code.flushes;
      this.reported.clear();
    }
    return !this.reported.has(uop);
  }

  /** The instruction at `uop` was run alone. */
  executed(uop: number, retired: boolean): void {
    let code = this.memory.u16[(uop + Uop.code) >> 1];
    if (code === SpecialCode.breakpoint) code = this.memory.u16[(uop + Uop.bytes + Uop.code) >> 1];
    // Decoded just now, from both pages.
    if (code === SpecialCode.crossPage) code = this.decoder.code;
    else if (retired) this.reported.add(uop);
    this.report(code, retired);
  }
}
