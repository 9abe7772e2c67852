/** From one micro-op to the next: entering blocks, the jump cache, and back to the run loop. */
import { Jump, RETURN_ENTRIES, State, Uop, VCPU_JUMPS, VCPU_RETURNS } from '../cpu/layout';
import { Flag } from '../cpu/vcpu';
import { Helper, Import, Pseudo } from './abi';
import { Gpr } from './builder';
import { cpu, state, uop } from './operands';
import {
  Fn,
  I32,
  I64,
  call,
  drop,
  get,
  i32,
  i32c,
  i64,
  ifElse,
  ret,
  set,
  tailCall,
  tailCallIndirect,
  type Expr,
} from './wasm';

/** Counts that control came to micro-op `t` by a branch: at what is hot, `hot` is called once. */
function emitHeat(f: Fn, t: Expr): void {
  const heat = f.local(I32);
  set(heat, i32.sub(i32.load16u(t, Uop.heat), i32c(1)))(f);
  i32.store16(t, get(heat, I32), Uop.heat)(f);
  ifElse(f, i32.eqz(get(heat, I32)), () => {
    call(Import.hot, I32, t, cpu).emit(f);
    drop(f);
  });
}

/** As emitEnter, for a branch that was taken. */
export function emitBranchTo(f: Fn, t: Expr): void {
  emitHeat(f, t);
  emitEnter(f, t);
}

/** Charges the block that starts at micro-op `t` and goes there, or returns when the budget does not cover it. */
export function emitEnter(f: Fn, t: Expr): void {
  const budget = f.local(I32);
  set(budget, i32.sub(i32.load(cpu, State.budget), i32.load(t, Uop.left)))(f);
  ifElse(f, i32.ltS(get(budget, I32), i32c(0)), () => {
    i64.store(cpu, i64.add(state(State.ripBase), i64.load32u(t, Uop.ip)), State.rip)(f);
    ret(f, i32c(0));
  });
  i32.store(cpu, get(budget, I32), State.budget)(f);
  tailCallIndirect(f, i32.load(t, Uop.handler), t, cpu);
}

/** The jump cache's entry for an rip (i64), and whether it is another's or no longer valid (i32). `keep` puts a value into a local. */
export function jumpEntry(me: Expr, rip: Expr, keep: (value: Expr) => Expr): { entry: Expr; misses: Expr } {
  const low = i32.wrap(rip);
  const index = i32.and(i32.xor(low, i32.shrU(low, i32c(Jump.fold))), i32c(Jump.entries - 1));
  const entry = keep(i32.add(i32.add(me, i32.shl(index, i32c(4))), i32c(VCPU_JUMPS)));
  const tag = keep(i32.load(entry, Jump.tag));
  const invalid = i32.and(i32.ne(tag, i32.load(me, State.codeTag)), i32.ne(tag, i32.load(me, State.globalTag)));
  return { entry, misses: i32.or(i64.ne(i64.load(entry, Jump.rip), rip), invalid) };
}

/**
 * lookup(branch, cpu): goes to State.rip through the jump cache, or returns to the run loop. `branch`: the micro-op that branches
 * there, which the run loop undoes when the target cannot be fetched; 0 when none does.
 * @param resumes the instruction there runs with RFLAGS.RF as it is, which is cleared for those behind it; without instruction
 * breakpoints of the guest's nobody sees when. Where it is the run loop that goes there, it does that.
 */
export function lookupHelper(resumes = false): Fn {
  const f = new Fn(2);
  const branch = get(0, I32);
  const me = get(1, I32);
  const keep = (value: Expr): Expr => {
    const local = f.local(value.type);
    set(local, value)(f);
    return get(local, value.type);
  };
  const rip = keep(i64.load(me, State.rip));
  const { entry, misses } = jumpEntry(me, rip, keep);
  ifElse(f, misses, () => {
    i32.store(me, branch, State.branchFrom)(f);
    ret(f, i32c(0));
  });
  emitArrive(f, rip, i32.load(entry, Jump.uop), () => {
    if (!resumes) return;
    const flags = i32.load(me, State.flags);
    ifElse(f, i32.and(flags, i32c(Flag.RF)), () => {
      i32.store(me, i32.and(flags, i32c(~Flag.RF)), State.flags)(f);
      i32.store(me, i32.load(me, State.budget), State.resumed)(f);
    });
  });
  return f;
}

/** As emitBranchTo, where a cache has the micro-op `to` for State.rip, which is `rip`. `before`: what is done first when it goes there. */
function emitArrive(f: Fn, rip: Expr, to: Expr, before: () => void = () => {}): void {
  const t = f.local(I32);
  const budget = f.local(I32);
  set(t, to)(f);
  set(budget, i32.sub(i32.load(cpu, State.budget), i32.load(get(t, I32), Uop.left)))(f);
  ifElse(f, i32.ltS(get(budget, I32), i32c(0)), () => ret(f, i32c(0)));
  before();
  i32.store(cpu, get(budget, I32), State.budget)(f);
  i64.store(cpu, i64.sub(rip, i64.load32u(get(t, I32), Uop.ip)), State.ripBase)(f);
  // Who hears that it is hot reads ripBase.
  emitHeat(f, get(t, I32));
  tailCallIndirect(f, i32.load(get(t, I32), Uop.handler), get(t, I32), cpu);
}

/** The return cache's entry (less VCPU_RETURNS) for a stack slot, by the low half of its address (i32): most slots are of 8 bytes. */
function returnEntry(slot: Expr): Expr {
  const mask = (RETURN_ENTRIES - 1) * Jump.entrySize;
  return i32.add(cpu, i32.and(i32.shl(slot, i32c(Math.log2(Jump.entrySize / 8))), i32c(mask)));
}

/**
 * Notes where the near call at micro-op `uop`, which has pushed its return address, will return to: behind it in its page, where an
 * instruction has been decoded. (Behind one that is run alone, in the vCPU's scratch, is a pseudo micro-op.)
 */
export function emitNoteReturn(f: Fn): void {
  const behind = f.local(I32);
  const entry = f.local(I32);
  set(behind, i32.add(uop, i32c(Uop.bytes)))(f);
  const to = get(behind, I32);
  ifElse(f, i32.ltS(i32c(Pseudo.last), i32.load(to, Uop.handler)), () => {
    set(entry, returnEntry(i32.load(cpu, State.gpr + Gpr.rsp * 8)))(f);
    const at = get(entry, I32);
    i64.store(at, i64.add(state(State.ripBase), i64.load32u(to, Uop.ip)), VCPU_RETURNS + Jump.rip)(f);
    i32.store(at, to, VCPU_RETURNS + Jump.uop)(f);
    i32.store(at, i32.load(cpu, State.codeTag), VCPU_RETURNS + Jump.tag)(f);
  });
}

/**
 * lookupReturn(branch, cpu): as lookup, by a near return, which has released its return address and as many bytes as its immediate says:
 * first through the return cache.
 */
export function lookupReturnHelper(): Fn {
  const f = new Fn(2);
  const rip = f.local(I64);
  const entry = f.local(I32);
  set(rip, state(State.rip))(f);
  // Within the slot that the address was in, whatever its size.
  const released = i32.sub(i32.load(cpu, State.gpr + Gpr.rsp * 8), i32.load(uop, Uop.immediate));
  set(entry, returnEntry(i32.sub(released, i32c(1))))(f);
  const at = get(entry, I32);
  const known = i64.eq(i64.load(at, VCPU_RETURNS + Jump.rip), get(rip, I64));
  const valid = i32.eq(i32.load(at, VCPU_RETURNS + Jump.tag), i32.load(cpu, State.codeTag));
  ifElse(f, i32.and(known, valid), () => emitArrive(f, get(rip, I64), i32.load(at, VCPU_RETURNS + Jump.uop)));
  tailCall(f, Helper.lookup, uop, cpu);
  return f;
}

/** exitNext(uop, cpu): the instruction is done, but control returns to the run loop: refunds the rest of the block. */
export function exitNextHelper(): Fn {
  const f = new Fn(2);
  const next = i64.extendU(i32.add(i32.load(uop, Uop.ip), i32.load(uop, Uop.length)));
  i64.store(cpu, i64.add(state(State.ripBase), next), State.rip)(f);
  const rest = i32.sub(i32.load(uop, Uop.left), i32c(1));
  i32.store(cpu, i32.add(i32.load(cpu, State.budget), rest), State.budget)(f);
  i32c(0).emit(f);
  return f;
}

/** run(uop, cpu): enters a micro-op whose block has been charged. */
export function runHelper(): Fn {
  const f = new Fn(2);
  tailCallIndirect(f, i32.load(uop, Uop.handler), uop, cpu);
  return f;
}

/**
 * go(uop, cpu, handler): to a handler by its place in the table. Regions go through it: an instance that imported the table itself
 * would have a copy of it, one for each module.
 */
export function goHelper(): Fn {
  const f = new Fn(3);
  tailCallIndirect(f, get(2, I32), uop, cpu);
  return f;
}
