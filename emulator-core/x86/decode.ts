/** Bytes -> micro-ops: decodes with iced-x86 and writes what the handlers and assists need. */
import { Code, Decoder, DecoderError, DecoderOptions, Instruction, OpKind, Register } from 'iced-x86';
import { SegmentIndex, State, Uop, UopFlag, segmentOffset } from '../cpu/layout';
import type { MachineMemory } from '../mmu/memory';
import { Pseudo } from '../translate/abi';
import { variant } from '../translate/forms';
import type { HandlerModule } from '../translate/handlers';
import { CODES, type CodeInfo } from './codes';
import type { VectorUnit } from './instructions/instruction';
import { Templates, constantsOf, type Constants } from './templates';

/** Codes beyond iced-x86's, for micro-ops that stand for something else. */
export const SpecialCode = {
  breakpoint: 0xfff0,
  crossPage: 0xfff1,
  deviceNotAvailable: 0xfff2,
  /** #GP(0): longer than 15 bytes, or beyond the limit of CS. */
  unfetchable: 0xfff3,
  invalid: 0,
} as const;

/** No instruction is longer: beyond it is #GP(0). SDM Vol. 3A, "Interrupt 13—General Protection Exception (#GP)". */
const MAX_LENGTH = 15;

/** What decoding depends on besides the bytes. */
export interface DecodeContext {
  bitness: 16 | 32 | 64;
  /** Real-address or virtual-8086 mode: VEX prefixes mean nothing there. */
  real: boolean;
  /** First page offset that CS's limit forbids, when the limit lies in the page. */
  end?: number;
  /** Is the segment (index as SegmentIndex) flat in 32-bit code? */
  flat(segment: number): boolean;
  /** What the vector units answer now: 0 available, or the exception: 6 (#UD), 7 (#NM). */
  units: Readonly<Record<VectorUnit, 0 | 6 | 7>>;
}

const ALL_GPR: readonly string[] = ['AX', 'CX', 'DX', 'BX', 'SP', 'BP', 'SI', 'DI'];

/** State offset by iced-x86 Register; -1 for those without a slot. */
const REGISTER_OFFSET: Int32Array = (() => {
  const table = new Int32Array(512).fill(-1);
  const put = (name: string, offset: number): void => {
    const register = (Register as unknown as Record<string, number>)[name];
    if (register !== undefined) table[register] = offset;
  };
  ALL_GPR.forEach((name, i) => {
    for (const full of [name, 'E' + name, 'R' + name]) put(full, State.gpr + i * 8);
    if (i < 4) {
      put(name[0] + 'L', State.gpr + i * 8);
      put(name[0] + 'H', State.gpr + i * 8 + 1);
    } else put(name + 'L', State.gpr + i * 8);
  });
  for (let i = 8; i < 16; i++) for (const suffix of ['', 'D', 'W', 'L']) put(`R${i}${suffix}`, State.gpr + i * 8);
  for (const [name, index] of Object.entries(SegmentIndex)) put(name.toUpperCase(), segmentOffset(index));
  put('None', State.zero);
  put('RIP', State.ripBase);
  put('EIP', State.ripBase);
  for (let i = 0; i < 8; i++) {
    put('ST' + i, i);
    put('MM' + i, State.fpr + 16 * i);
  }
  for (let i = 0; i < 16; i++) for (const file of ['XMM', 'YMM']) put(file + i, State.ymm + 32 * i);
  for (let i = 0; i < 16; i++) {
    put('CR' + i, i);
    put('DR' + i, i);
  }
  return table;
})();

const SEGMENT_BY_REGISTER = new Map<number, number>([
  [Register.ES, SegmentIndex.es],
  [Register.CS, SegmentIndex.cs],
  [Register.SS, SegmentIndex.ss],
  [Register.DS, SegmentIndex.ds],
  [Register.FS, SegmentIndex.fs],
  [Register.GS, SegmentIndex.gs],
]);

const STRING_ADDRESS = new Map<number, number>([
  [OpKind.MemorySegSI, 16],
  [OpKind.MemorySegESI, 32],
  [OpKind.MemorySegRSI, 64],
  [OpKind.MemorySegDI, 16],
  [OpKind.MemorySegEDI, 32],
  [OpKind.MemorySegRDI, 64],
  [OpKind.MemoryESDI, 16],
  [OpKind.MemoryESEDI, 32],
  [OpKind.MemoryESRDI, 64],
]);

const BASE_BITS = new Map<number, number>();
for (const [i, name] of ALL_GPR.entries()) {
  const bits = [16, 32, 64];
  ['', 'E', 'R'].forEach((p, n) => BASE_BITS.set((Register as unknown as Record<string, number>)[p + name], bits[n]));
  BASE_BITS.set((Register as unknown as Record<string, number>)[`R${i + 8}D`], 32);
  BASE_BITS.set((Register as unknown as Record<string, number>)[`R${i + 8}`], 64);
}
BASE_BITS.set(Register.RIP, 64);
BASE_BITS.set(Register.EIP, 32);

const STACK_BASES = new Set<number>([Register.RSP, Register.RBP, Register.ESP, Register.EBP]);

export type DecodeStatus = 'ok' | 'truncated' | 'invalid';

export class InstructionDecoder {
  private readonly instruction = new Instruction();
  /** Made when the first instruction without a template comes. */
  private decoder?: Decoder;
  private bytes: Uint8Array = new Uint8Array();
  private firstIp = 0;
  private bitness = 16;
  /** Where the next instruction begins in the bytes. */
  private position = 0;
  private readonly templates: Templates;
  /** What templates are kept for, and their first node. */
  private context: DecodeContext | undefined;
  private root = 0;
  /** Of the last instruction decoded: its template or -1, or what one can be made from. */
  private template = -1;
  private constants: Constants | undefined;
  /** Row of the last instruction decoded, undefined when it has none. */
  info: CodeInfo | undefined;
  length = 0;
  code = 0;
  private status: DecodeStatus = 'ok';
  /** It has a REP or REPNE prefix. */
  private repeated = false;
  private readonly options: number = DecoderOptions.None;

  constructor(
    private readonly memory: MachineMemory,
    private readonly handlers: HandlerModule['handlers'],
    private readonly features: ReadonlySet<string>,
  ) {
    this.templates = new Templates(memory);
    // Without the feature the F3 prefix means nothing there: TZCNT and LZCNT are BSF and BSR.
    if (!features.has('bmi1')) this.options |= DecoderOptions.NoMPFX_0FBC;
    if (!features.has('abm')) this.options |= DecoderOptions.NoMPFX_0FBD;
    // Likewise WBNOINVD is WBINVD.
    if (!features.has('wbnoinvd')) this.options |= DecoderOptions.NoWbnoinvd;
    if (!features.has('lahf_lm')) this.options |= DecoderOptions.NoLahfSahf64;
  }

  /**
   * Starts at `ip` (page offset, used as instruction pointer) with the bytes given. `context`: what write() will be given, when
   * instructions are decoded in it again and again.
   */
  begin(bitness: number, bytes: Uint8Array, ip: number, context?: DecodeContext): void {
    this.dispose();
    this.bytes = bytes;
    this.firstIp = ip;
    this.bitness = bitness;
    this.position = 0;
    this.context = context;
    if (context) this.root = this.templates.root(context);
  }

  /** Decodes the next instruction. 'truncated': it goes on beyond the bytes. */
  next(): DecodeStatus {
    this.constants = undefined;
    const { position } = this;
    const { templates } = this;
    const template = this.context ? templates.find(this.root, this.bytes, position) : -1;
    this.template = template;
    if (template >= 0) {
      this.code = templates.code(template);
      this.length = templates.length(template);
      this.info = CODES[this.code];
      this.repeated = templates.repeats(template);
      this.status = 'ok';
    } else this.decode(position);
    this.position += this.length;
    return this.status;
  }

  private decode(position: number): void {
    const { instruction } = this;
    const decoder = (this.decoder ??= new Decoder(this.bitness, this.bytes, this.options));
    decoder.position = position;
    decoder.ip = BigInt(this.firstIp + position);
    decoder.decodeOut(instruction);
    this.code = instruction.code;
    this.length = instruction.length;
    this.info = CODES[this.code];
    this.repeated = instruction.hasRepPrefix || instruction.hasRepnePrefix;
    if (this.code === Code.INVALID) {
      this.status =
        decoder.lastError === DecoderError.NoMoreBytes && this.bytes.length < 4096 + 15 ? 'truncated' : 'invalid';
      this.info = undefined;
      if (this.status === 'invalid' && this.length === MAX_LENGTH && this.isTooLong()) {
        this.code = SpecialCode.unfetchable;
      }
    } else this.status = 'ok';
    const feature = this.info?.row.feature;
    if (feature && !this.features.has(feature)) this.refuse();
    // The last byte of some VEX encodings is a register.
    if (this.context && this.info && !this.info.vex) this.constants = constantsOf(decoder, instruction);
  }

  /** The processor does not have the instruction just decoded, or (by another special code) cannot run it. */
  refuse(code: number = SpecialCode.invalid): void {
    this.status = 'invalid';
    this.info = undefined;
    this.code = code;
    this.template = -1;
    this.constants = undefined;
  }

  /** Fifteen bytes did not make an instruction: because there are more? Without its first prefix it would be as long, then. */
  private isTooLong(): boolean {
    const shorter = new Decoder(this.bitness, this.bytes.subarray(this.position + 1), this.options);
    const instruction = shorter.decode();
    const tooLong = instruction.length === MAX_LENGTH;
    instruction.free();
    shorter.free();
    return tooLong;
  }

  dispose(): void {
    this.decoder?.free();
    this.decoder = undefined;
  }

  /** Writes the last instruction decoded as the micro-op at `at`. `left` is filled in by the caller. */
  write(at: number, ip: number, context: DecodeContext): void {
    if (this.template < 0) {
      this.writeDecoded(at, ip, context);
      return;
    }
    this.templates.write(this.template, this.bytes, this.position - this.length, at, ip);
    this.memory.u16[(at + Uop.heat) >> 1] = this.heat;
  }

  private writeDecoded(at: number, ip: number, context: DecodeContext): void {
    const { u32, i32, u16, u8, i64 } = this.memory;
    const w = at >> 2;
    if (this.info?.vex && context.real) this.refuse();
    u32.fill(0, w, w + Uop.bytes / 4);
    i32[(at + Uop.ip) >> 2] = ip;
    i32[(at + Uop.length) >> 2] = this.length;
    u16[(at + Uop.code) >> 1] = this.code;
    u16[(at + Uop.heat) >> 1] = this.heat;
    const info = this.info;
    if (!info) return; // assist 0: undefined or unimplemented
    const refused = info.row.unit ? context.units[info.row.unit] : 0;
    if (refused) {
      u16[(at + Uop.code) >> 1] = refused === 7 ? SpecialCode.deviceNotAvailable : SpecialCode.invalid;
      return;
    }
    const x = this.instruction;
    let addressBits = context.bitness as number;
    let memory = -1;
    let immediate = 0n;
    for (let i = 0; i < x.opCount; i++) {
      const kind = x.opKind(i);
      if (kind === OpKind.Register) this.writeRegister(at, i, x.opRegister(i));
      else if (kind === OpKind.Memory) {
        memory = i;
        addressBits = this.addressBits(context.bitness);
      } else if (STRING_ADDRESS.has(kind)) addressBits = STRING_ADDRESS.get(kind)!;
      else if (kind === OpKind.NearBranch16 || kind === OpKind.NearBranch32 || kind === OpKind.NearBranch64) {
        const width = kind === OpKind.NearBranch64 ? 64 : 32;
        immediate = BigInt.asIntN(width, x.nearBranchTarget - BigInt(ip + this.length));
        if (kind === OpKind.NearBranch16) immediate = BigInt.asIntN(16, immediate);
        const target = ip + this.length + Number(immediate);
        i32[(at + Uop.target) >> 2] = target >= 0 && target < 4096 ? 0 : -1;
      } else if (kind === OpKind.FarBranch16) immediate = BigInt(x.farBranch16) | (BigInt(x.farBranchSelector) << 32n);
      else if (kind === OpKind.FarBranch32)
        immediate = BigInt(x.farBranch32 >>> 0) | (BigInt(x.farBranchSelector) << 32n);
      else if (kind === OpKind.Immediate8_2nd) immediate |= BigInt(x.immediate8_2nd) << 32n;
      else immediate = BigInt.asIntN(64, x.immediate(i));
    }
    i64[(at + Uop.immediate) >> 3] = immediate;
    const segment = SEGMENT_BY_REGISTER.get(x.memorySegment) ?? SegmentIndex.ds;
    const long = context.bitness === 64;
    const based = segment === SegmentIndex.fs || segment === SegmentIndex.gs;
    i32[(at + Uop.segment) >> 2] = long && !based ? State.flatSegment : segmentOffset(segment);
    u8[at + Uop.addressShift] = 64 - addressBits;
    let memoryKind = 2;
    if (long) memoryKind = addressBits === 64 && !(based && x.memorySegment !== Register.None) ? 0 : 2;
    else if (addressBits === 32 && context.bitness === 32) {
      // String instructions address through the source segment and ES; beyond 4 GiB only that of other operands says what to raise.
      const strings = info.row.repeat !== undefined;
      const both = context.flat(SegmentIndex.es) && segment !== SegmentIndex.ss;
      if (context.flat(segment) && (!strings || both)) memoryKind = 1;
    }
    if (memory >= 0) this.writeMemory(at);
    let flags = 0;
    if (x.hasRepPrefix) flags |= UopFlag.rep;
    if (x.hasRepnePrefix) flags |= UopFlag.repne;
    if (x.hasLockPrefix) flags |= UopFlag.lock;
    if (memory >= 0) flags |= UopFlag.memory;
    // In 64-bit mode the prefixes of CS, DS, ES and SS are ignored.
    const stack = long ? !based && STACK_BASES.has(x.memoryBase) : segment === SegmentIndex.ss;
    if (stack && memory >= 0) flags |= UopFlag.stack;
    u8[at + Uop.flags] = flags;
    u8[at + Uop.size] = info.operandBits / 8;
    let repeat = 0;
    if (info.row.repeat === 'rep') repeat = flags & (UopFlag.rep | UopFlag.repne) ? 1 : 0;
    else if (info.row.repeat === 'repe') repeat = flags & UopFlag.rep ? 2 : flags & UopFlag.repne ? 3 : 0;
    // A string operand always counts as memory.
    const inMemory = memory >= 0 || info.row.repeat !== undefined;
    const handler = this.handlers[this.code]![variant(inMemory, memoryKind, long ? 0 : 1, repeat)];
    if (handler < 0) throw new Error(`no handler for ${info.name} (variant memory ${inMemory} ${memoryKind})`);
    i32[(at + Uop.handler) >> 2] = handler;
    if (this.constants) this.keep(this.constants, at, addressBits);
  }

  /** Keeps the micro-op just written as a template. */
  private keep(constants: Constants, at: number, addressBits: number): void {
    const { code, length, repeated: repeats } = this;
    const { displacement, immediate } = constants;
    const relative = this.instruction.isIpRelMemoryOperand;
    const more = this.popped();
    const facts = { displacement, immediate, code, length, repeats, addressBits, relative, more };
    this.root = this.templates.add(this.context!, this.bytes, this.position - length, at, facts);
  }

  private writeRegister(at: number, operand: number, register: number): void {
    const offset = REGISTER_OFFSET[register];
    if (operand === 0) this.memory.i32[(at + Uop.r0) >> 2] = offset;
    else if (operand === 1) this.memory.i32[(at + Uop.r1) >> 2] = offset;
    else if (operand === 2) this.memory.u16[(at + Uop.r2) >> 1] = offset;
    else this.memory.i32[(at + Uop.r3) >> 2] = offset;
  }

  private addressBits(bitness: number): number {
    const x = this.instruction;
    const register = x.memoryBase !== Register.None ? x.memoryBase : x.memoryIndex;
    const bits = BASE_BITS.get(register);
    if (bits) return bits;
    const size = x.memoryDisplSize;
    return size === 8 ? 64 : size === 4 ? 32 : size === 2 ? 16 : bitness;
  }

  private writeMemory(at: number): void {
    const { i32, i64, u8, u16 } = this.memory;
    const x = this.instruction;
    i32[(at + Uop.base) >> 2] = REGISTER_OFFSET[x.memoryBase];
    u16[(at + Uop.index) >> 1] = REGISTER_OFFSET[x.memoryIndex];
    u8[at + Uop.scale] = Math.log2(x.memoryIndexScale);
    i64[(at + Uop.displacement) >> 3] = BigInt.asIntN(64, x.memoryDisplacement) + BigInt(this.popped());
  }

  /** POP computes its destination's address after rSP has moved: by so much. */
  private popped(): number {
    const { info } = this;
    const onStack = REGISTER_OFFSET[this.instruction.memoryBase] === State.gpr + 4 * 8;
    return info?.row.mnemonic === 'Pop' && onStack ? info.operandBits / 8 : 0;
  }

  /** Writes a micro-op that is no instruction. */
  writePseudo(at: number, handler: number, ip: number, code = 0): void {
    const w = at >> 2;
    this.memory.u32.fill(0, w, w + Uop.bytes / 4);
    this.memory.i32[(at + Uop.handler) >> 2] = handler;
    this.memory.i32[(at + Uop.ip) >> 2] = ip;
    this.memory.u16[(at + Uop.code) >> 1] = code;
  }

  /** Uop.heat of new micro-ops. */
  heat = 0;

  /** Control reaches what follows a conditional branch or REP through the run loop, as any other block. */
  endsAtBranches = false;

  /** Ends a block, but control may go on behind it: conditional branches, near calls (once they return) and REP instructions. */
  get fallsThrough(): boolean {
    const { info } = this;
    return !this.endsAtBranches && !!info?.row.semantics && (this.repeats || info.conditional || info.call);
  }

  /** Is a branch that goes to `target` whatever rip is: with an operand size of 16 bits, rip is cut to those. */
  get linksAhead(): boolean {
    const { info } = this;
    return !this.endsAtBranches && !!info?.direct && info.operandBits !== 16;
  }

  get endsBlock(): boolean {
    return !this.info || this.info.row.endsBlock === true || this.repeats;
  }

  /** A string instruction with REP, which charges what follows it; without, it is an instruction like any other. */
  private get repeats(): boolean {
    return this.repeated && this.info?.row.repeat !== undefined;
  }
}

export { Pseudo };
