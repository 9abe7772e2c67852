/** Chooses registers, addresses, immediates and prefixes for a form and encodes it with iced-x86. */
import { Decoder, DecoderOptions, Encoder, Instruction, OpKind, Register } from 'iced-x86';
import type { Form } from './forms';
import { CODE, CODE_BYTES, SLOT } from './protocol';
import { needsAlignment } from './processors';
import { pickTarget } from './targets';
import type { Random } from './values';

const named = (names: string): number[] =>
  names.split(' ').map((name) => (Register as unknown as Record<string, number>)[name]);
const range = (prefix: string, count: number): number[] =>
  named(Array.from({ length: count }, (_, i) => prefix + i).join(' '));

const GPR64 = named('RAX RCX RDX RBX RSP RBP RSI RDI R8 R9 R10 R11 R12 R13 R14 R15');
const GPR32 = named('EAX ECX EDX EBX ESP EBP ESI EDI R8D R9D R10D R11D R12D R13D R14D R15D');
const GPR16 = named('AX CX DX BX SP BP SI DI R8W R9W R10W R11W R12W R13W R14W R15W');
const GPR8 = named('AL CL DL BL SPL BPL SIL DIL R8L R9L R10L R11L R12L R13L R14L R15L AH CH DH BH');
const GPR8_32 = named('AL CL DL BL AH CH DH BH');
const SEGMENTS = named('ES CS SS DS FS GS');
const MM = range('MM', 8);
const XMM = range('XMM', 16);
const YMM = range('YMM', 16);
const ST = range('ST', 8);
const CONTROL = range('CR', 9);
const DEBUG = range('DR', 8);
const RSP = 4;

/** Registers that an operand kind can name, in 64-bit mode; 32-bit mode has the first 8. */
const REGISTERS: readonly (readonly [kind: RegExp, registers: readonly number[]])[] = [
  [/^r64_/, GPR64],
  [/^r32_/, GPR32],
  [/^r16_/, GPR16],
  [/^mm_/, MM],
  [/^xmm_/, XMM],
  [/^ymm_/, YMM],
  [/^seg_reg/, SEGMENTS],
  [/^sti/, ST],
  [/^cr_reg/, CONTROL],
  [/^dr_reg/, DEBUG],
];
const FIXED: Record<string, number> = Object.fromEntries(
  'es cs ss ds fs gs al cl ax dx eax rax st0'.split(' ').map((name) => [name, named(name.toUpperCase())[0]]),
);

/** How an instruction addresses memory: what a case must put into which registers to reach a place of its choice. */
export interface MemoryUse {
  /** Numbers of general registers; -1: none. */
  base: number;
  index: number;
  scale: number;
  displacement: number;
  addressBits: 32 | 64 | 16;
  segment: 'none' | 'fs' | 'gs';
  /** Bytes accessed; 1 where the size is not known. */
  bytes: number;
  /** Address that the encoding fixes (absolute, RIP-relative). */
  fixed?: number;
  /** Vector register of indices: its number, elements and their bytes. */
  vector?: { register: number; elements: number; bytes: number };
  /** A string, of many elements. */
  string?: boolean;
  /** Holds an address of code: a branch target or what RET takes. */
  target?: boolean;
}

export interface Encoded {
  form: Form;
  bytes: Uint8Array;
  memory: MemoryUse[];
  repeated: boolean;
  /** A general register that the instruction jumps to; -1: none. */
  targetRegister: number;
  /** General register that is the first operand; -1: none. */
  destination: number;
  /** The count of a shift by an immediate, else undefined. */
  immediate?: number;
  flagsRead: number;
  flagsWritten: number;
}

const encoders = { 32: new Encoder(32), 64: new Encoder(64) };

/** Registers that a sequence's instructions use for addresses only. */
export interface Reserved {
  base?: number;
}

/** How often what is tried. */
const P = { sameRegister: 0.08, address32: 0.08, segment: 0.05, lock: 0.03, repeat: 0.7 } as const;

function chooseMemory(random: Random, form: Form, x: Instruction, reserved: Reserved): MemoryUse {
  const wide = form.mode === 64;
  const addressBits = wide ? (random.chance(P.address32) ? 32 : 64) : 32;
  const registers = addressBits === 64 ? GPR64 : GPR32;
  const count = wide ? 16 : 8;
  const use: MemoryUse = {
    base: -1, index: -1, scale: 1, displacement: 0, addressBits, segment: 'none', bytes: form.bytes,
  }; // prettier-ignore
  if (reserved.base === undefined && random.chance(P.segment)) {
    x.segmentPrefix = random.pick(SEGMENTS);
    if (x.segmentPrefix === Register.FS) use.segment = 'fs';
    if (x.segmentPrefix === Register.GS) use.segment = 'gs';
  }
  x.memoryIndexScale = 1;
  const way = random.below(100);
  if (reserved.base === undefined && way < 8) {
    // Absolute, or relative to RIP.
    use.fixed = pickTarget(random, form.bytes).address & (needsAlignment(form) ? ~15 : -1);
    if (way < 5 && wide) x.memoryBase = addressBits === 64 ? Register.RIP : Register.EIP;
    x.memoryDisplSize = addressBits === 64 ? 8 : 4;
    x.memoryDisplacement = BigInt(use.fixed);
    return use;
  }
  use.base = reserved.base ?? random.below(count);
  x.memoryBase = registers[use.base];
  if (way >= 60 && reserved.base === undefined) {
    use.index = random.below(count);
    if (use.index === RSP || use.index === use.base) use.index = -1;
    else {
      use.scale = random.pick([1, 2, 4, 8]);
      x.memoryIndex = registers[use.index];
      x.memoryIndexScale = use.scale;
    }
    if (way >= 97 && use.index >= 0 && !needsAlignment(form)) {
      use.base = -1;
      x.memoryBase = Register.None;
      x.memoryDisplSize = addressBits === 64 ? 8 : 4;
    }
  }
  if (way >= 30) {
    const narrow = reserved.base !== undefined || random.chance(0.6);
    use.displacement = narrow ? random.below(256) - 128 : random.u32() | 0;
    x.memoryDisplSize = narrow && use.base >= 0 ? 1 : addressBits === 64 ? 8 : 4;
    x.memoryDisplacement = BigInt.asUintN(addressBits, BigInt(use.displacement));
  }
  return use;
}

function chooseVectorIndex(random: Random, name: string, form: Form, x: Instruction, use: MemoryUse): void {
  const [, bits, size] = /^mem_vsib(\d+)([xy])/.exec(name)!;
  if (use.fixed !== undefined || use.base < 0) {
    use.fixed = undefined;
    use.base = 3;
    x.memoryBase = use.addressBits === 64 ? Register.RBX : Register.EBX;
    x.memoryDisplSize = 0;
    x.memoryDisplacement = 0n;
    use.displacement = 0;
  }
  const register = random.below(form.mode === 64 ? 16 : 8);
  x.memoryIndex = (size === 'x' ? XMM : YMM)[register];
  use.scale = random.pick([1, 2, 4, 8]);
  x.memoryIndexScale = use.scale;
  use.index = -1;
  const bytes = Number(bits) / 8;
  use.vector = { register, elements: (size === 'x' ? 16 : 32) / bytes, bytes };
}

function immediateKind(name: string): number {
  if (name === 'imm8' || name === 'imm8_const_1' || name === 'imm4_m2z') return OpKind.Immediate8;
  const sized = /^imm(\d+)(?:sex(\d+))?$/.exec(name)!;
  const kind = sized[2] ? `Immediate${sized[1]}to${sized[2]}` : `Immediate${sized[1]}`;
  return (OpKind as unknown as Record<string, number>)[kind];
}

const EDGES = [0n, 1n, 2n, 7n, 8n, 15n, 16n, 17n, 31n, 32n, 33n, 63n, 64n, 65n, 127n, 128n, 255n, 0x7fffn, 0x8000n, 0xffffn, 0x7fffffffn, 0x80000000n, 0xffffffffn]; // prettier-ignore

function chooseImmediate(random: Random, x: Instruction, operand: number, name: string, second: boolean): void {
  const value = random.chance(0.5) ? random.pick(EDGES) : (BigInt(random.u32()) << 32n) | BigInt(random.u32());
  if (name === 'imm8_const_1') {
    x.setOpKind(operand, OpKind.Immediate8);
    x.immediate8 = 1;
    return;
  }
  if (second) {
    x.setOpKind(operand, OpKind.Immediate8_2nd);
    x.immediate8_2nd = Number(value & 0xffn);
    return;
  }
  x.setOpKind(operand, immediateKind(name));
  const bits = Number(/\d+/.exec(name)![0]);
  const wide = /sex(\d+)/.exec(name);
  if (wide) x.setImmediateI64(operand, BigInt.asIntN(Number(wide[1]) > 32 ? 64 : 32, BigInt.asIntN(bits, value)));
  else if (bits === 64) x.immediate64 = value;
  else if (bits === 32) x.immediate32 = Number(BigInt.asUintN(32, value));
  else if (bits === 16) x.immediate16 = Number(BigInt.asUintN(16, value));
  else x.immediate8 = Number(BigInt.asUintN(name === 'imm4_m2z' ? 4 : 8, value));
}

const STRING_KINDS: Record<string, readonly [wide: number, narrow: number, register: number]> = {
  seg_rSI: [OpKind.MemorySegRSI, OpKind.MemorySegESI, 6],
  es_rDI: [OpKind.MemoryESRDI, OpKind.MemoryESEDI, 7],
  seg_rDI: [OpKind.MemorySegRDI, OpKind.MemorySegEDI, 7],
};

/** Sets the operands; undefined where this form cannot be encoded so. */
function choose(random: Random, form: Form, rip: number, reserved: Reserved): { x: Instruction; encoded: Encoded } {
  const { opcode, mode } = form;
  const x = new Instruction();
  x.code = form.info.code;
  const encoded: Encoded = {
    form, bytes: new Uint8Array(), memory: [], repeated: false, targetRegister: -1, destination: -1, flagsRead: 0, flagsWritten: 0,
  }; // prettier-ignore
  const jumps = /^(Jmp|Call)$/.test(form.info.row.mnemonic);
  const { string, operands } = form;
  const narrowString = mode === 32 || random.chance(P.address32);
  let previous = -1;
  let immediates = 0;
  for (let i = 0; i < opcode.opCount; i++) {
    const name = operands[i];
    if (name in FIXED) {
      x.setOpKind(i, OpKind.Register);
      x.setOpRegister(i, FIXED[name]);
    } else if (name in STRING_KINDS) {
      const [wide, narrow, base] = STRING_KINDS[name];
      x.setOpKind(i, narrowString ? narrow : wide);
      encoded.memory.push({
        base, index: -1, scale: 1, displacement: 0, addressBits: narrowString ? 32 : 64, segment: 'none',
        bytes: Math.max(1, form.info.operands[i]?.memory ? form.info.operands[i].memory! / 8 : form.bytes), string: true,
      }); // prettier-ignore
    } else if (name === 'seg_rBX_al') {
      x.setOpKind(i, OpKind.Memory);
      x.memoryBase = mode === 32 || narrowString ? Register.EBX : Register.RBX;
      x.memoryIndex = Register.AL;
      x.memoryIndexScale = 1;
      encoded.memory.push({
        base: 3,
        index: -1,
        scale: 1,
        displacement: random.below(256),
        addressBits: 64,
        segment: 'none',
        bytes: 1,
      });
    } else if (name === 'mem_offs') {
      const fixed = pickTarget(random, Math.max(1, form.bytes)).address;
      x.setOpKind(i, OpKind.Memory);
      x.memoryDisplSize = mode === 64 && !random.chance(P.address32) ? 8 : 4;
      x.memoryDisplacement = BigInt(fixed);
      encoded.memory.push({
        base: -1, index: -1, scale: 1, displacement: 0, addressBits: mode, segment: 'none', bytes: form.bytes, fixed,
      }); // prettier-ignore
    } else if (name.startsWith('br') || name.startsWith('xbegin')) {
      const target = rip + SLOT - 1 - random.below(6);
      const bits = /^br(?:disp_)?(\d+)/.exec(name)?.[1] ?? '32';
      x.setOpKind(
        i,
        { 16: OpKind.NearBranch16, 32: OpKind.NearBranch32, 64: OpKind.NearBranch64 }[bits as '16' | '32' | '64'],
      );
      if (bits === '16') x.nearBranch16 = target & 0xffff;
      else if (bits === '32') x.nearBranch32 = target;
      else x.nearBranch64 = BigInt(target);
    } else if (name.startsWith('farbr')) {
      const target = rip + SLOT - 1 - random.below(6);
      x.setOpKind(i, name === 'farbr2_2' ? OpKind.FarBranch16 : OpKind.FarBranch32);
      x.farBranchSelector = random.pick([0x23, 0x33, 0x2b, 0, random.below(0x10000)]);
      if (name === 'farbr2_2') x.farBranch16 = target & 0xffff;
      else x.farBranch32 = target;
    } else if (name.startsWith('imm')) {
      chooseImmediate(random, x, i, name, immediates++ > 0);
    } else if (/^(mem|sibmem)/.test(name) || (form.memory && /_or_mem/.test(name))) {
      x.setOpKind(i, OpKind.Memory);
      const use = chooseMemory(random, form, x, reserved);
      if (name.startsWith('mem_vsib')) chooseVectorIndex(random, name, form, x, use);
      use.target = jumps;
      encoded.memory.push(use);
    } else {
      const all = name.startsWith('r8_')
        ? mode === 64
          ? GPR8
          : GPR8_32
        : REGISTERS.find(([kind]) => kind.test(name))?.[1];
      if (!all) throw new Error(`no registers for operand kind ${name} of ${form.name}`);
      const list = mode === 64 || name.startsWith('r8_') || name === 'seg_reg' ? all : all.slice(0, 8);
      let n =
        previous >= 0 && previous < list.length && random.chance(P.sameRegister) ? previous : random.below(list.length);
      if (reserved.base !== undefined && /^r\d/.test(name))
        while (list[n] === GPR8[19] || n === reserved.base) n = random.below(list.length);
      previous = n;
      x.setOpKind(i, OpKind.Register);
      x.setOpRegister(i, list[n]);
      if (jumps) encoded.targetRegister = n;
      if (i === 0 && /^r(8|16|32|64)_/.test(name)) encoded.destination = n & 15;
    }
  }
  if (opcode.canUseLockPrefix && form.memory && random.chance(0.25)) x.hasLockPrefix = true;
  if (string && (opcode.canUseRepPrefix || opcode.canUseRepnePrefix) && random.chance(P.repeat)) {
    if (opcode.canUseRepnePrefix && random.chance(0.4)) x.hasRepnePrefix = true;
    else x.hasRepPrefix = true;
    encoded.repeated = true;
  }
  addStack(random, form, encoded);
  return { x, encoded };
}

/** Implicit accesses to the stack. */
function addStack(random: Random, form: Form, encoded: Encoded): void {
  const { mnemonic } = form.info.row;
  const stack: MemoryUse = {
    base: RSP, index: -1, scale: 1, displacement: random.pick([-8, -8, 0, 0, 0, -16, -4, -2]), addressBits: form.mode,
    segment: 'none', bytes: form.mode / 8, target: /^Ret/.test(mnemonic),
  }; // prettier-ignore
  if (stack.target) stack.displacement = 0;
  if (form.opcode.isStackInstruction) encoded.memory.push(stack);
  if (/^(Enter|Leave)/.test(mnemonic)) encoded.memory.push({ ...stack, base: 5, displacement: 0 });
}

/** Code that the bytes decode to. */
function decodedCode(mode: 32 | 64, bytes: Uint8Array): number {
  const decoder = new Decoder(mode, bytes, DecoderOptions.None);
  const x = decoder.decode();
  const { code } = x;
  x.free();
  decoder.free();
  return code;
}

/** An encoding of the form for code at `rip`, with at most `room` bytes; undefined when what was chosen cannot be encoded. */
export function encode(
  random: Random,
  form: Form,
  rip: number,
  room: number,
  reserved: Reserved = {},
): Encoded | undefined {
  const { x, encoded } = choose(random, form, rip, reserved);
  const encoder = encoders[form.mode];
  try {
    encoder.encode(x, BigInt(rip));
    encoded.bytes = encoder.takeBuffer();
    encoded.flagsRead = x.rflagsRead;
    encoded.flagsWritten = x.rflagsWritten | x.rflagsCleared | x.rflagsSet;
    const last = x.opCount - 1;
    if (last >= 0 && x.opKind(last) === OpKind.Immediate8) encoded.immediate = x.immediate8;
  } catch {
    encoder.takeBuffer();
    return undefined;
  } finally {
    x.free();
  }
  if (encoded.bytes.length > room) return undefined;
  // Some encodings are reachable by other bytes only, as iced-x86 prefers another name for these.
  return decodedCode(form.mode, encoded.bytes) === form.info.code ? encoded : undefined;
}

export const SLOTS = CODE_BYTES / SLOT;
export const slotAddress = (slot: number): number => CODE + slot * SLOT;
