/**
 * The interpreter's handler module: one handler for each distinct form (row, operand sizes and kinds, address and stack kind,
 * REP) that the instruction table can produce, generated once per process.
 */
import { State, Uop } from '../cpu/layout';
import { CODES, type CodeInfo } from '../x86/codes';
import { Helper, IMPORTS, Import, Pseudo, type HandlerForm } from './abi';
import { fusedHelper } from './fusedHelper';
import {
  emitEnter,
  emitNoteReturn,
  exitNextHelper,
  goHelper,
  lookupHelper,
  lookupReturnHelper,
  runHelper,
} from './dispatch';
import { slowReadHelper } from './slowReadHelper';
import { MEMORY, REPEAT, STACK, VARIANTS, baseForm, variant, type BaseForm } from './forms';
import { InterpreterBuilder } from './interpreter';
import { Probe, type Uses } from './probe';
import { Fn, I32, call, get, i32, i32c, i64, ifElse, ret, tailCall, tailCallIndirect } from './wasm';
import { encodeModule } from './wasmModule';

export interface HandlerModule {
  bytes: Uint8Array<ArrayBuffer>;
  /** [code][variant] -> table index, -1 where the variant cannot occur; undefined for Codes without row. */
  handlers: (Int32Array | undefined)[];
  tableSize: number;
}

function pseudoHandlers(): Fn[] {
  const uop = get(0, I32);
  const cpu = get(1, I32);
  const ripOf = i64.add(i64.load(cpu, State.ripBase), i64.load32u(uop, Uop.ip));

  const assist = new Fn(2);
  ifElse(assist, call(Import.assist, I32, uop, cpu), () => ret(assist, i32c(0)));
  tailCallIndirect(assist, i32.load(uop, Uop.bytes + Uop.handler), i32.add(uop, i32c(Uop.bytes)), cpu);

  const pageEnd = new Fn(2);
  i64.store(cpu, ripOf, State.rip)(pageEnd);
  tailCall(pageEnd, Helper.lookup, i32c(0), cpu);

  const stop = new Fn(2);
  i64.store(cpu, ripOf, State.rip)(stop);
  i32c(0).emit(stop);

  const goto = new Fn(2);
  const t = goto.local(I32);
  i32.load(uop, Uop.target).emit(goto);
  goto.code.push(0x21, t);
  emitEnter(goto, get(t, I32));
  const lookup = new Fn(2);
  tailCall(lookup, Helper.lookup, uop, cpu);
  const lookupCall = new Fn(2);
  emitNoteReturn(lookupCall);
  tailCall(lookupCall, Helper.lookup, uop, cpu);
  const lookupReturn = new Fn(2);
  tailCall(lookupReturn, Helper.lookupReturn, uop, cpu);

  const stale = new Fn(2);
  i32.store(cpu, i32.add(i32.load(cpu, State.budget), i32.load(uop, Uop.left)), State.budget)(stale);
  i64.store(cpu, ripOf, State.rip)(stale);
  i32c(0).emit(stale);
  return [assist, lookup, lookupCall, lookupReturn, pageEnd, stop, goto, stale];
}

type Variants = [variant: number, handler: number][];

class Generator {
  readonly functions: Fn[] = pseudoHandlers();
  readonly handlers: (Int32Array | undefined)[] = [];
  private readonly variants = new Map<string, Variants>();
  private readonly probe = new Probe();

  add(info: CodeInfo): void {
    const table = new Int32Array(VARIANTS).fill(-1);
    this.handlers[info.code] = table;
    if (!info.row.semantics) {
      table.fill(Pseudo.assist);
      return;
    }
    for (const inMemory of [false, true]) {
      const base = baseForm(info, inMemory);
      if (base) this.addForms(info, table, inMemory, base);
    }
  }

  private addForms(info: CodeInfo, table: Int32Array, inMemory: boolean, base: BaseForm): void {
    const uses = this.probe.uses(info, base);
    const key = uses.key + (inMemory ? 'm' : '');
    let variants = this.variants.get(key);
    if (!variants) this.variants.set(key, (variants = this.generate(info, base, uses, inMemory)));
    for (const [at, index] of variants) table[at] = index;
  }

  private generate(info: CodeInfo, base: BaseForm, uses: Uses, inMemory: boolean): Variants {
    const variants: Variants = [];
    const kinds = info.row.repeat === 'rep' ? 2 : info.row.repeat === 'repe' ? 4 : 1;
    for (let repeat = 0; repeat < kinds; repeat++) {
      if (repeat === 1 && kinds === 4) continue;
      const indices = new Map<number, number>();
      for (const [m, memory] of MEMORY.entries()) {
        for (const [s, stack] of STACK.entries()) {
          // Where memory or stack is not touched, its kind does not matter.
          const same = (uses.memory || repeat ? m * 2 : 0) + (uses.stack ? s : 0);
          let index = indices.get(same);
          if (index === undefined) {
            const form: HandlerForm = { ...base, memory, stack, repeat: REPEAT[repeat] };
            index =
              this.functions.push(
                new InterpreterBuilder(form, uses.writes, uses.pointers).finish(info.row.semantics!, info.row.bulk),
              ) - 1;
            indices.set(same, index);
          }
          variants.push([variant(inMemory, m, s, repeat), index]);
        }
      }
    }
    return variants;
  }
}

/** Builds the module from the instruction table. */
export function generateHandlers(): HandlerModule {
  const generator = new Generator();
  for (const info of CODES) if (info) generator.add(info);
  const helpers = [
    lookupHelper(),
    exitNextHelper(),
    runHelper(),
    fusedHelper(),
    goHelper(),
    lookupHelper(true),
    slowReadHelper(),
    lookupReturnHelper(),
  ];
  const first = IMPORTS.length + helpers.length;
  const bytes = encodeModule({
    imports: IMPORTS,
    functions: [...helpers, ...generator.functions],
    exports: [
      { name: 'run', index: Helper.run },
      { name: 'lookup', index: Helper.lookup },
      { name: 'go', index: Helper.go },
    ],
    table: generator.functions.map((_, i) => first + i),
  });
  return { bytes, handlers: generator.handlers, tableSize: generator.functions.length };
}
