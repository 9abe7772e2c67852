/** What a row's semantics touch, found by a first run over them. */
import type { CodeInfo } from '../x86/codes';
import type { BaseForm } from './forms';
import { InterpreterBuilder } from './interpreter';

export interface Uses {
  /** Row, operand size, operand kinds and sizes. */
  key: string;
  memory: boolean;
  stack: boolean;
  writes: boolean;
  pointers: readonly number[];
}

export class Probe {
  private readonly probed = new Map<string, Uses>();

  uses(info: CodeInfo, base: BaseForm): Uses {
    const key = `${info.rowIndex}|${info.operandBits}|${base.operands.map((o) => (o.vector ?? o.kind) + o.bits).join(',')}${base.vex}`;
    let uses = this.probed.get(key);
    if (!uses) {
      const probe = new InterpreterBuilder({ ...base, memory: 'segment', stack: 'segment' });
      probe.finish(info.row.semantics!);
      uses = {
        key,
        memory: probe.usedMemory,
        stack: probe.usedStack,
        writes: probe.wroteMemory,
        pointers: probe.storePointers,
      };
      this.probed.set(key, uses);
    }
    return uses;
  }
}
