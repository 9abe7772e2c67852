/**
 * What takes system calls and interrupts from one privilege level to another and back in 64-bit mode. The rows' assists do what is
 * unusual: faults, single steps, alignment checks, breakpoints of the guest's, and whatever a waiting interrupt may want to know.
 */
import { EventWaits, Segment, SegmentIndex, State, segmentOffset } from '../../cpu/layout';
import { Efer, FLAGS_MASK, Flag, Rights } from '../../cpu/vcpu';
import { Gpr, type Builder } from '../../translate/builder';
import { i32, i32c, i64, i64c, select, type Expr } from '../../translate/wasm';
import { flagsImage, setFlagsImage } from './flagsImage';

const { es: ES, cs: CS, ss: SS, ds: DS, fs: FS, gs: GS } = SegmentIndex;
/** Bits 63..47 of canonical addresses are the same; those that only 5-level paging has are the assists'. */
const CANONICAL_SHIFT = 47;

interface HiddenPart {
  rights: Expr;
  limit: Expr;
  base: Expr;
}

const flat = (rights: Expr): HiddenPart => ({ rights, limit: i32c(-1), base: i64c(0) });

/** All of a segment register, in 64-bit mode, where limits do not count. */
function setSegment(b: Builder, segment: number, selector: Expr, { rights, limit, base }: HiddenPart): void {
  const at = segmentOffset(segment);
  // Those of SYSCALL and SYSRET are sums, and wrap.
  b.setState32(at + Segment.selector, i32.and(selector, i32c(0xffff)));
  b.setState32(at + Segment.attributes, rights);
  b.setState32(at + Segment.limit, limit);
  b.setState64(at + Segment.base, base);
}

const anyOf = (...conditions: Expr[]): Expr => conditions.reduce((a, b) => i32.or(a, b));
/** i32: 0 when the address is canonical with 48 bits. */
const notCanonical = (address: Expr): Expr =>
  i64.gtU(i64.add(i64.shrS(address, i64c(CANONICAL_SHIFT)), i64c(1)), i64c(1));
/** i32: SYSCALL and SYSRET exist here. */
const fastCallsOff = (b: Builder): Expr =>
  anyOf(i32.eqz(b.in64BitMode()), i32.eqz(i32.and(b.state32(State.efer), i32c(Efer.SCE))));
/** i32: with these flags level 3 is checked for alignment. RFLAGS.AC and CR0.AM are the same bit. */
const checksAlignment = (b: Builder, flags: Expr): Expr => i32.and(i32.and(flags, b.state32(State.cr0)), i32c(Flag.AC));

/** SDM Vol. 2, "SYSCALL—Fast System Call", Operation. */
export function systemCall(b: Builder): void {
  const flags = b.let(b.systemFlags());
  b.assistWhen(anyOf(fastCallsOff(b), i32.and(flags, i32c(Flag.TF)), checksAlignment(b, flags)));
  const image = b.let(flagsImage(b, flags));
  b.setReg(Gpr.rcx, 64, b.nextRip());
  b.setReg(R11, 64, image);
  const masked = i64.and(image, i64.xor(b.state64(State.fmask), i64c(-1)));
  const system = setFlagsImage(b, b.let(masked));
  const selector = b.let(i32.and(b.state32(State.star + 4), i32c(0xfffc)));
  setSegment(b, CS, selector, flat(i32c(0xa09b)));
  setSegment(b, SS, i32.add(selector, i32c(8)), flat(i32c(0xc093)));
  b.setPrivilegeLevel(i32c(0), system);
  b.transfer(b.state64(State.lstar));
}
const R11 = 11;

/** With REX.W. SDM Vol. 2, "SYSRET—Return From Fast System Call", Operation; APM Vol. 3, where only the selector of SS is loaded. */
export function systemReturn(b: Builder): void {
  const image = b.let(b.reg(R11, 64));
  const target = b.let(b.reg(Gpr.rcx, 64));
  b.assistWhen(
    anyOf(
      fastCallsOff(b),
      b.privilegeLevel(),
      i32.and(i32.or(b.systemFlags(), i32.wrap(image)), i32c(Flag.TF)),
      checksAlignment(b, i32.wrap(image)),
      i32.and(b.state32(State.eventWaits), i32.and(i32.wrap(image), i32c(EventWaits.interrupt))),
      notCanonical(target),
    ),
  );
  const system = setFlagsImage(b, b.let(i64.and(image, i64c(FLAGS_MASK & ~(Flag.RF | Flag.VM)))));
  const star = b.let(i32.and(i32.shrU(b.state32(State.star + 4), i32c(16)), i32c(0xffff)));
  setSegment(b, CS, i32.or(i32.add(star, i32c(16)), i32c(3)), flat(i32c(0xa0fb)));
  const amd = b.let(b.state32(State.amd));
  const at = segmentOffset(SS);
  // CPL is kept in SS.
  const rights = i32.or(b.state32(at + Segment.attributes), i32c(3 << Rights.dplShift));
  setSegment(b, SS, i32.or(i32.add(star, i32c(8)), i32c(3)), {
    rights: select(amd, rights, i32c(0xc0f3)),
    limit: select(amd, b.state32(at + Segment.limit), i32c(-1)),
    base: select(amd, b.state64(at + Segment.base), i64c(0)),
  });
  b.setPrivilegeLevel(i32c(3), system);
  b.transfer(target);
}

/** Bits of a descriptor's high half. */
const DPL_SHIFT = 13;
/** Present, S, code, not conforming, accessed, L without D; and what of these and the DPL is compared. */
const CODE64 = 0x209900;
const CODE64_MASK = 0x60fd00;
/** Present, S, writable data, accessed. */
const STACK = 0x9300;
const STACK_MASK = 0xfb00;

function hiddenPart(low: Expr, high: Expr): HiddenPart {
  const limit = i32.or(i32.and(low, i32c(0xffff)), i32.and(high, i32c(0xf0000)));
  const pages = i32.or(i32.shl(limit, i32c(12)), i32c(0xfff));
  const middle = i32.shl(i32.and(high, i32c(0xff)), i32c(16));
  const base = i32.or(i32.or(i32.shrU(low, i32c(16)), middle), i32.and(high, i32c(0xff000000 | 0)));
  return {
    rights: i32.and(i32.shrU(high, i32c(8)), i32c(0xf0ff)),
    limit: select(i32.and(high, i32c(0x800000)), pages, limit),
    base: i64.extendU(base),
  };
}

/** i32: the selector's descriptor is not one that the GDT has. */
function outsideTable(b: Builder, selector: Expr): Expr {
  const last = i32.or(i32.and(selector, i32c(0xfff8)), i32c(7));
  const limit = i32.and(b.state32(State.gdtrLimit), i32c(0xffff));
  return i32.or(i32.and(selector, i32c(4)), i32.ltS(limit, last));
}
const descriptorAddress = (b: Builder, selector: Expr): Expr =>
  i64.add(b.state64(State.gdtrBase), i64.extendU(i32.and(selector, i32c(0xfff8))));
const isNull = (selector: Expr): Expr => i32.eqz(i32.and(selector, i32c(0xfffc)));

/** i32: a data segment register that a return to an outer level makes null. Those of level 3 it never does. */
function dropped(b: Builder, segment: number): Expr {
  const rights = b.let(b.state32(segmentOffset(segment) + Segment.attributes));
  const ofLevel3 = i32.eq(i32.and(rights, i32c(3 << Rights.dplShift)), i32c(3 << Rights.dplShift));
  return i32.eqz(i32.or(i32.and(rights, i32c(Rights.unusable)), ofLevel3));
}

/**
 * IRETQ of level 0 to 64-bit code of any level. SDM Vol. 2, "IRET/IRETD/IRETQ—Interrupt Return", Operation: IA-32e-MODE. The soft TLB
 * must have the frame and the descriptors.
 */
export function interruptReturn64(b: Builder): void {
  const armed = i32.and(b.state32(State.dr + 7 * 8), i32c(0xff));
  const odd = i32.and(b.systemFlags(), i32c(Flag.TF | Flag.NT));
  b.assistWhen(anyOf(b.privilegeLevel(), odd, armed));
  const frame = b.cached(b.reg(Gpr.rsp, 64), 5 * 8, 'present');
  b.assistWhen(i32.eqz(frame.hits));
  const at = b.let(frame.host);
  const target = b.let(i64.load(at, 0));
  const cs = b.let(i32.load16u(at, 8));
  const image = b.let(i64.load(at, 16));
  const pointer = b.let(i64.load(at, 24));
  const ss = b.let(i32.load16u(at, 32));
  const level = b.let(i32.and(cs, i32c(3)));
  const user = b.let(i32.eq(level, i32c(3)));
  const noStack = b.let(isNull(ss));
  const code = b.cached(descriptorAddress(b, cs), 8, 'system');
  const stack = b.cached(descriptorAddress(b, ss), 8, 'system');
  b.assistWhen(
    anyOf(
      i32.and(i32.wrap(image), i32c(Flag.TF)),
      i32.and(b.state32(State.eventWaits), i32.or(i32.wrap(image), i32c(EventWaits.other))),
      i32.and(user, i32.ne(checksAlignment(b, i32.wrap(image)), i32c(0))),
      notCanonical(target),
      isNull(cs),
      outsideTable(b, cs),
      i32.eqz(code.hits),
      i32.ne(i32.and(ss, i32c(3)), level),
      select(noStack, user, i32.or(outsideTable(b, ss), i32.eqz(stack.hits))),
      i32.and(i32.ne(level, i32c(0)), anyOf(...[ES, DS, FS, GS].map((s) => dropped(b, s)))),
    ),
  );
  const codeHost = b.let(code.host);
  // The null selector has eight bytes of zeros.
  const stackHost = b.let(select(noStack, b.stateAddress(State.zero), stack.host));
  const [codeHigh, stackHigh] = [b.let(i32.load(codeHost, 4)), b.let(i32.load(stackHost, 4))];
  const dpl = b.let(i32.shl(level, i32c(DPL_SHIFT)));
  b.assistWhen(
    anyOf(
      i32.ne(i32.and(codeHigh, i32c(CODE64_MASK)), i32.or(dpl, i32c(CODE64))),
      i32.and(i32.eqz(noStack), i32.ne(i32.and(stackHigh, i32c(STACK_MASK)), i32.or(dpl, i32c(STACK)))),
    ),
  );
  b.setReg(Gpr.rsp, 64, pointer);
  setSegment(b, CS, cs, hiddenPart(b.let(i32.load(codeHost, 0)), codeHigh));
  const hidden = hiddenPart(b.let(i32.load(stackHost, 0)), stackHigh);
  const unusable = i32.or(i32c(Rights.unusable), i32.shl(level, i32c(Rights.dplShift)));
  setSegment(b, SS, ss, { ...hidden, rights: select(noStack, unusable, hidden.rights) });
  const withoutVm = i64.and(image, i64c(FLAGS_MASK & ~Flag.VM));
  b.setPrivilegeLevel(level, setFlagsImage(b, b.let(withoutVm)));
  b.transfer(target);
}

/** SDM Vol. 2, "SWAPGS—Swap GS Base Register". */
export function swapGsBase(b: Builder): void {
  b.assistWhen(i32.or(b.privilegeLevel(), i32.eqz(b.in64BitMode())));
  const at = segmentOffset(GS) + Segment.base;
  const base = b.let(b.state64(at));
  b.setState64(at, b.state64(State.kernelGsBase));
  b.setState64(State.kernelGsBase, base);
}
