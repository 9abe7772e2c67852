/** The straight-line part of random programs: instructions of the table, with registers made to point to where their operands shall be. */
import { Decoder, DecoderOptions, Encoder, Instruction, OpKind, Register, RegisterExt } from 'iced-x86';
import { encode } from '../../differential/encode';
import { listForms, type Form } from '../../differential/forms';
import { CODE, DATA, DATA_BYTES, READ_ONLY } from '../../differential/protocol';
import type { Random } from '../../differential/values';
import type { Assembler } from './assembler';
import { PAGE, STACK, STACK_BYTES, UPPER, type World } from './world';

/** What would end the program, wait, change privileges, or talk to devices; branches are made elsewhere. */
const LEFT_OUT =
  /^(J[a-z]+_|Loop|Call_|Ret|Iret|Int|Sys|Uiret|Hlt|In_|Out_|Ins[bwd]_|Outs[bwd]_|Xbegin|Xabort|Bound|Cli$|Sti$|Cli_|Sti_|Rsm|Xsetbv|Swapgs|Ud[012])/;
/** Rarely: they change segments, the stack pointer, or trap flags, after which much only faults. */
const RARE =
  /^(Mov_Sreg|Pop[a-z]*_?[DEFGS]S|L[defgs]s_|Popf|Enter|Leave|Xrstor|Fxrstor|Frstor|Fldenv|Wr[fg]sbase|Cl[dt]|Std)/;
/** Each leaves some flags as they are, or reads them. */
const FLAGS =
  /^(Inc|Dec|Adc|Sbb|Rcl|Rcr|Rol|Ror|Shl|Shr|Sar|Shld|Shrd|Neg|Cmp|Test|Add|Sub|Xadd|Set[a-z]+|Cmov[a-z]+|Stc|Clc|Cmc|Lahf|Sahf|Bt|Bts|Btr|Btc|Bsf|Bsr|Mul|Imul|Adcx|Adox|Cmpxchg|Pushf[dq]?w?|Das|Daa|Aaa|Aas|Aam|Aad)(_|$)/;
const NO_FLAGS = /^(Mov|Lea|Not|Movzx|Movsx|Movsxd|Xchg|Bswap|Push|Pop|Cwde|Cdq|Cqo|Cbw|Cwd|Cdqe)(_|$)/;

export interface Pools {
  integer: Form[];
  flags: Form[];
  strings: Form[];
  any: Form[];
  rare: Form[];
}

export function makePools(features: ReadonlySet<string>): Record<32 | 64, Pools> {
  const { forms } = listForms(features);
  const pools = (mode: 32 | 64): Pools => {
    const usable = forms.filter(
      (form) =>
        form.mode === mode &&
        !form.opcode.isPrivileged &&
        !LEFT_OUT.test(form.info.name) &&
        !form.operands.some((operand) => /^(br|farbr|xbegin|mem_vsib)/.test(operand)),
    );
    const isRare = (form: Form): boolean => RARE.test(form.info.name);
    const named = (names: RegExp): Form[] => usable.filter((form) => names.test(form.info.name) && !isRare(form));
    return {
      integer: [...named(FLAGS), ...named(NO_FLAGS), ...named(NO_FLAGS)],
      flags: named(FLAGS),
      strings: usable.filter((form) => form.string),
      any: usable.filter((form) => !isRare(form)),
      rare: usable.filter(isRare),
    };
  };
  return { 32: pools(32), 64: pools(64) };
}

const decoders = (bitness: 16 | 32 | 64, bytes: Uint8Array): Instruction => {
  const decoder = new Decoder(bitness, bytes, DecoderOptions.None);
  const x = decoder.decode();
  decoder.free();
  return x;
};
const encoder16 = new Encoder(16);

/** Base and index registers of 16-bit addresses. */
const ADDRESSES16: readonly (readonly [base: number, index: number])[] = [
  [Register.BX, Register.SI], [Register.BX, Register.DI], [Register.BP, Register.SI], [Register.BP, Register.DI],
  [Register.SI, Register.None], [Register.DI, Register.None], [Register.BP, Register.None], [Register.BX, Register.None],
]; // prettier-ignore
const NARROW: Record<number, number> = {
  [OpKind.MemorySegESI]: OpKind.MemorySegSI,
  [OpKind.MemorySegEDI]: OpKind.MemorySegDI,
  [OpKind.MemoryESEDI]: OpKind.MemoryESDI,
};

/** The instruction of 32-bit code for 16-bit code: prefixes are the other way round; half of the addresses become 16-bit ones. */
function for16BitCode(random: Random, bytes: Uint8Array): Uint8Array | undefined {
  const x = decoders(32, bytes);
  try {
    const narrow = random.chance(0.5);
    for (let i = 0; i < x.opCount; i++) {
      const kind = x.opKind(i);
      if (kind in NARROW && narrow) x.setOpKind(i, NARROW[kind]);
      if (kind !== OpKind.Memory || !narrow) continue;
      const [base, index] = x.memoryIndex === Register.AL ? [Register.BX, Register.AL] : random.pick(ADDRESSES16);
      x.memoryBase = base;
      x.memoryIndex = index;
      x.memoryIndexScale = 1;
      x.memoryDisplSize = index === Register.AL ? 0 : 2;
      x.memoryDisplacement = index === Register.AL ? 0n : BigInt(random.below(0x10000));
    }
    encoder16.encode(x, 0n);
    return encoder16.takeBuffer();
  } catch {
    encoder16.takeBuffer();
    return undefined;
  } finally {
    x.free();
  }
}

/** A place for an operand of `bytes`: mostly there, at times across a page's end, missing, read-only, or among the code. */
function pickPlace(random: Random, bytes: number, world: World): number {
  const size = Math.max(1, bytes);
  const n = random.below(1000);
  const data = world.dataLimit < 0x11fff && world.dataBase ? PAGE / 2 : DATA_BYTES;
  if (n < 700) return (DATA + random.below(data - size)) & -Math.min(32, 1 << (31 - Math.clz32(size)));
  if (n < 850) return DATA + random.below(data - size);
  if (n < 890) return DATA + PAGE - random.below(size);
  if (n < 900) return DATA + DATA_BYTES - random.below(size);
  if (n < 905) return DATA + DATA_BYTES + random.below(PAGE);
  if (n < 925) return READ_ONLY + random.below(PAGE - size);
  if (n < 960) return STACK + random.below(STACK_BYTES - size);
  // Code pages: between the code, which is seldom written over.
  return (
    (world.writableCode ? CODE + random.below(4) * PAGE : DATA) + PAGE - 64 + random.below(64 - Math.min(63, size))
  );
}

const GPR_ENCODING = (register: number): number => RegisterExt.number(register);

/** Loads a general register with a constant. */
export function loadRegister(a: Assembler, register: number, bits: 16 | 32 | 64, value: bigint): void {
  const low = Number(BigInt.asUintN(32, value));
  const bytes32 = [low & 255, (low >>> 8) & 255, (low >>> 16) & 255, low >>> 24];
  const { bitness } = a.world;
  const opcode = 0xb8 + (register & 7);
  if (bitness === 16) {
    if (bits === 16) a.emit(opcode, ...bytes32.slice(0, 2));
    else a.emit(0x66, opcode, ...bytes32);
    return;
  }
  const rex = register > 7 ? 0x41 : 0;
  if (bitness === 32 || BigInt.asUintN(64, value) >> 32n === 0n || bits === 32)
    a.emit(...(rex ? [rex] : []), opcode, ...bytes32);
  else {
    const high = Number(BigInt.asUintN(32, value >> 32n));
    a.emit(rex | 0x48, opcode, ...bytes32, high & 255, (high >>> 8) & 255, (high >>> 16) & 255, high >>> 24);
  }
}

function segmentBase(world: World, segment: number): number {
  const further = segment === Register.FS || segment === Register.GS ? world.furtherBase : 0;
  if (world.bitness === 64) return further;
  return segment === Register.CS ? world.codeBase : world.dataBase + further;
}

/** Makes the memory operand of an instruction lie in a place chosen, where that takes a register or two. */
function aim(random: Random, a: Assembler, x: Instruction, form: Form): void {
  const { world } = a;
  const alias = (place: number): bigint => BigInt(place) + (world.bitness === 64 && random.chance(0.4) ? UPPER : 0n);
  for (let i = 0; i < x.opCount; i++) {
    const kind = x.opKind(i);
    const destination = [OpKind.MemoryESDI, OpKind.MemoryESEDI, OpKind.MemoryESRDI].indexOf(kind);
    const source = [OpKind.MemorySegSI, OpKind.MemorySegESI, OpKind.MemorySegRSI].indexOf(kind);
    const bits = ([16, 32, 64] as const)[Math.max(destination, source)];
    if (destination >= 0)
      loadRegister(a, 7, bits, alias(pickPlace(random, 64, world) - segmentBase(world, Register.ES)));
    else if (source >= 0)
      loadRegister(a, 6, bits, alias(pickPlace(random, 64, world) - segmentBase(world, x.memorySegment)));
    if (kind !== OpKind.Memory) continue;
    const { memoryBase: base, memoryIndex: index } = x;
    const registers = [base, index].map((r) => (r === Register.None ? -1 : GPR_ENCODING(r)));
    if (base === Register.None || base === Register.RIP || base === Register.EIP || registers[0] === 4) return;
    if (registers[0] === registers[1]) return;
    let place = pickPlace(random, form.bytes, world);
    if (form.bytes >= 16 && !/^VEX_/.test(form.info.name) && random.chance(0.95)) place &= ~15;
    const size = RegisterExt.size(base) * 8;
    let value = alias(place - segmentBase(world, x.memorySegment)) - x.memoryDisplacement;
    if (index !== Register.None && index !== Register.AL) {
      const times = random.below(9);
      loadRegister(a, registers[1], size as 64, BigInt(times));
      value -= BigInt(times * x.memoryIndexScale);
    }
    loadRegister(a, registers[0], size as 64, BigInt.asUintN(size, value));
  }
  if (x.hasRepPrefix || x.hasRepnePrefix) loadRegister(a, 1, world.bitness === 64 ? 64 : 32, BigInt(random.below(12)));
}

/** One instruction of the form, and what makes its operand right. False: none could be encoded. */
function instruction(random: Random, a: Assembler, form: Form): boolean {
  const { world } = a;
  const one = encode(random, form, a.address, 15, {});
  if (!one || (one.destination === 4 && random.chance(0.9))) return false;
  let { bytes } = one;
  if (world.bitness === 16) {
    const narrow = for16BitCode(random, bytes);
    if (!narrow) return false;
    bytes = narrow;
  }
  const x = decoders(world.bitness, bytes);
  // What is relative to RIP counts from where it was encoded for: nothing comes before it.
  const relative = x.memoryBase === Register.RIP || x.memoryBase === Register.EIP;
  if (!relative && random.chance(0.95)) aim(random, a, x, form);
  x.free();
  a.put(bytes);
  return true;
}

/** Immediates of instructions in the code, for other instructions to change: offsets. */
export type Anchors = number[];

/** A few instructions. */
export function emitBody(
  random: Random,
  a: Assembler,
  pools: Record<32 | 64, Pools>,
  anchors: Anchors,
  count: number,
): void {
  const { world } = a;
  const mine = pools[world.bitness === 64 ? 64 : 32];
  const avx = world.protectedMode;
  for (let done = 0, attempts = 0; done < count && attempts < 40; attempts++) {
    const n = random.below(100);
    if (n < 3) {
      // mov r32, imm32, which may be changed later.
      const register = random.pick([0, 1, 2, 3, 5, 6, 7]);
      a.emit(...(world.bitness === 16 ? [0x66] : []), 0xb8 + register, ...[0, 0, 0, 0].map(() => random.below(256)));
      anchors.push(a.at - 4);
      done++;
    } else if (n === 3 && random.chance(0.3) && anchors.length && world.writableCode) {
      selfModify(random, a, random.pick(anchors));
      done++;
    } else if (n === 4) {
      a.emit(0x0f, 0x31); // RDTSC: the instruction count shows
      done++;
    } else {
      const pool = n < 45 ? mine.integer : n < 65 ? mine.flags : n < 70 ? mine.strings : n < 71 ? mine.rare : mine.any;
      const form = random.pick(pool);
      if (!avx && /^VEX_/.test(form.info.name)) continue;
      if (instruction(random, a, form)) done++;
    }
  }
}

/** Adds to, or stores over, an immediate in the code. */
function selfModify(random: Random, a: Assembler, anchor: number): void {
  const { world } = a;
  const byte = random.below(256);
  const target = CODE + anchor + random.below(4);
  const word = (value: number): number[] => [
    value & 255,
    (value >>> 8) & 255,
    (value >>> 16) & 255,
    (value >>> 24) & 255,
  ];
  const opcode = random.chance(0.5) ? [0x80] : [0xc6]; // add byte, mov byte
  if (world.bitness === 64) {
    // Relative to RIP.
    a.emit(...opcode, 0x05, ...word(target - (a.address + 7)), byte);
  } else if (world.bitness === 32) a.emit(...opcode, 0x05, ...word(target - world.dataBase), byte);
  // Beyond the segment's limit: a fault.
  else a.emit(0x67, ...opcode, 0x05, ...word(target - world.dataBase), byte);
}
