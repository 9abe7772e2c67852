/** Runs the assist of an instruction that handlers do not complete themselves, and ends the instruction as it turned out. */
import type { AssistContext } from '../cpu/assistContext';
import type { Assist } from '../cpu/assists/operands';
import { abortInstruction, completeInstruction } from '../cpu/instructionEnd';
import { SegmentIndex } from '../cpu/layout';
import { Abandon, GuestFault, Vector, pendingOf, type Vcpu } from '../cpu/vcpu';
import { CODES } from '../x86/codes';

export class AssistDispatch {
  /** By iced-x86's Code. */
  private readonly assists: (Assist | undefined)[] = [];

  /**
   * @param table assists by the names that rows use
   * @param note tells the user something once
   */
  constructor(
    private readonly context: AssistContext,
    table: Readonly<Record<string, Assist>>,
    private readonly note: (text: string) => void,
  ) {
    for (const info of CODES) {
      if (!info?.row.assist) continue;
      const assist = table[info.row.assist];
      if (!assist) throw new Error(`${info.row.mnemonic}: no assist is named '${info.row.assist}'`);
      this.assists[info.code] = assist;
    }
  }

  /** CoreHost.assist. */
  run(cpu: Vcpu, uop: number): number {
    const { context } = this;
    context.begin(cpu, uop);
    const code = context.code;
    const assist = this.assists[code];
    try {
      if (!assist) this.undefinedInstruction(cpu, code);
      else assist(context);
    } catch (e) {
      if (e instanceof GuestFault) {
        cpu.pending = pendingOf(e);
        if (e.facts.afterwards) return completeInstruction(cpu, uop, cpu.rip);
      } else if (e instanceof Abandon) cpu.attention = true;
      else throw e;
      abortInstruction(cpu, uop);
      return 1;
    }
    if (context.target !== undefined || cpu.attention || CODES[code]!.row.endsBlock)
      return completeInstruction(cpu, uop, context.target);
    return 0;
  }

  private undefinedInstruction(cpu: Vcpu, code: number): never {
    if (code !== 0) {
      const bytes = this.peekCode(cpu, this.context.rip, this.context.length);
      const text = Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join(' ');
      this.note(`unimplemented instruction at 0x${this.context.rip.toString(16)}: ${text}`);
    }
    throw new GuestFault(Vector.UD);
  }

  private peekCode(cpu: Vcpu, rip: bigint, length: number): Uint8Array {
    const base = cpu.bitness === 64 ? 0n : cpu.segmentBase(SegmentIndex.cs);
    const out = new Uint8Array(length);
    for (let i = 0; i < length; i++) {
      try {
        out[i] = Number(this.context.read(rip + base + BigInt(i), 1));
      } catch {
        return out.subarray(0, i);
      }
    }
    return out;
  }
}
