/**
 * The caller of an interrupted instruction where unwinding information is silent, or speaks of a return address that is none: retpolines
 * and other thunks put the address of a function where return addresses are, and hand-written code may have no information at all.
 *
 * The code itself says it: followed from the instruction on, as the processor would go, it comes to a place that unwinding information
 * knows, or returns. Only moves of the stack pointer and copies between registers and the stack are followed, through jumps but no
 * decisions. Intel, "Retpoline: A Branch Target Injection Mitigation"; Linux, arch/x86/lib/retpoline.S.
 */
import {
  Decoder,
  DecoderOptions,
  FlowControl,
  InstructionInfoFactory,
  Mnemonic,
  OpAccess,
  OpKind,
  Register,
  RegisterExt,
  type Instruction,
  type UsedMemory,
  type UsedRegister,
} from 'iced-x86';
import type { FrameContext } from './location';
import type { UnwindResult } from './unwind';

/** Instructions followed at most: thunks have fewer. */
const MAX_STEPS = 32;
const MAX_LENGTH = 15;
/** A retpoline's call only skips the few bytes that speculation is caught in; one that goes further calls a function. */
const MAX_SKIP = 64n;

/** DWARF numbers of the general registers in the processor's order. System V ABI, AMD64, "DWARF Register Number Mapping". */
const DWARF = [0, 2, 1, 3, 7, 6, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15];
const RBP = 6;
const RSP = 7;
const RIP = 16;

const WRITES: ReadonlySet<OpAccess> = new Set([
  OpAccess.Write,
  OpAccess.CondWrite,
  OpAccess.ReadWrite,
  OpAccess.ReadCondWrite,
]);

/** What the stack walker knows of the code around. */
export interface CodeKnowledge {
  /** The caller by unwinding information; `address` and the context are of one instruction. */
  unwind(address: bigint, context: FrameContext): Promise<UnwindResult | undefined>;
  /** Whether a call in known code returns to an address. */
  isReturnAddress(address: bigint): Promise<boolean>;
}

/**
 * The caller of a frame that is at an instruction, not in a call: of a vCPU's innermost frame, or one that was interrupted. 64-bit code.
 * What unwinding information says counts where it leads behind a call, or nothing better is found. A return address that is found by
 * following the code is one that was on the stack and is behind a call.
 */
export async function unwindAhead(frame: FrameContext, code: CodeKnowledge): Promise<UnwindResult | undefined> {
  const first = await code.unwind(frame.pc, frame);
  if (first && !first.outermost && (first.signalFrame || (await returns(first, code)))) return first;
  const path = new Path(frame);
  for (let steps = 0; steps < MAX_STEPS && (await path.step()); steps++) {
    if (path.returned && (await returns(path.returned, code))) return path.returned;
    const { context } = path;
    const found = await code.unwind(context.pc, context);
    if (!found || found.outermost) continue;
    if (found.signalFrame ? !path.wrote : !path.hasWritten(found.cfa - 8n) && (await returns(found, code)))
      return found;
  }
  return first;
}

async function returns({ returnAddress }: UnwindResult, code: CodeKnowledge): Promise<boolean> {
  return returnAddress !== undefined && code.isReturnAddress(returnAddress);
}

/** Registers and stack of a frame, as its next instructions leave them. */
class Path {
  private pc: bigint;
  /** By DWARF number; undefined: not known. Others are the frame's. */
  private readonly registers = new Map<number, bigint | undefined>();
  /** 64-bit words written since, by address. */
  private readonly words = new Map<bigint, bigint | undefined>();
  /** The last step was a return through a word that was on the stack before. */
  returned: UnwindResult | undefined;

  constructor(private readonly frame: FrameContext) {
    this.pc = frame.pc;
  }

  get context(): FrameContext {
    return {
      pc: this.pc,
      register: (number) => this.register(number),
      read: (address, length) => this.frame.read(address, length),
    };
  }

  get wrote(): boolean {
    return this.words.size > 0;
  }

  hasWritten(address: bigint): boolean {
    return this.words.has(BigInt.asUintN(64, address));
  }

  private async register(number: number): Promise<bigint | undefined> {
    return this.registers.has(number) ? this.registers.get(number) : this.frame.register(number);
  }

  private set(number: number, value: bigint | undefined): void {
    this.registers.set(number, value === undefined ? undefined : BigInt.asUintN(64, value));
  }

  private async load(address: bigint): Promise<bigint | undefined> {
    if (this.words.has(address)) return this.words.get(address);
    const bytes = await this.frame.read(address, 8);
    return bytes.length < 8 ? undefined : new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
  }

  private async push(value: bigint | undefined): Promise<boolean> {
    const sp = await this.register(RSP);
    if (sp === undefined) return false;
    this.set(RSP, sp - 8n);
    this.words.set(BigInt.asUintN(64, sp - 8n), value);
    return true;
  }

  private async pop(): Promise<bigint | undefined> {
    const sp = await this.register(RSP);
    if (sp === undefined) return undefined;
    this.set(RSP, sp + 8n);
    return this.load(sp);
  }

  /** Follows one instruction; false where that is not possible. */
  async step(): Promise<boolean> {
    this.returned = undefined;
    const bytes = await this.frame.read(this.pc, MAX_LENGTH);
    const decoder = new Decoder(64, bytes, DecoderOptions.None);
    decoder.ip = this.pc;
    const instruction = decoder.decode();
    try {
      return await this.follow(instruction);
    } finally {
      instruction.free();
      decoder.free();
    }
  }

  private async follow(x: Instruction): Promise<boolean> {
    if (x.isInvalid || x.stackPointerIncrement % 8 !== 0) return false;
    const { nextIP } = x;
    switch (x.flowControl) {
      case FlowControl.Next:
        this.pc = nextIP;
        return this.execute(x);
      case FlowControl.UnconditionalBranch:
        this.pc = x.nearBranchTarget;
        return true;
      case FlowControl.IndirectBranch:
        return this.jump(x.op0Kind === OpKind.Register ? await this.register(general(x.op0Register) ?? -1) : undefined);
      case FlowControl.Call: {
        const skipped = x.nearBranchTarget - nextIP;
        if (skipped < 0n || skipped > MAX_SKIP) return false;
        this.pc = x.nearBranchTarget;
        return this.push(nextIP);
      }
      case FlowControl.Return:
        return x.mnemonic === Mnemonic.Ret && this.return(x);
      default:
        return false;
    }
  }

  private jump(target: bigint | undefined): boolean {
    if (target === undefined) return false;
    this.pc = target;
    return true;
  }

  private async return(x: Instruction): Promise<boolean> {
    const slot = await this.register(RSP);
    const target = await this.pop();
    if (slot === undefined || target === undefined) return false;
    // What RET imm16 gives back beyond the return address.
    const cfa = slot + BigInt(x.stackPointerIncrement);
    this.set(RSP, cfa);
    if (!this.words.has(slot)) await this.report(cfa, target);
    return this.jump(target);
  }

  private async report(cfa: bigint, returnAddress: bigint): Promise<void> {
    const registers = new Map<number, bigint>();
    for (const number of DWARF) {
      const value = await this.register(number);
      if (value !== undefined) registers.set(number, value);
    }
    registers.set(RIP, returnAddress);
    const register = async (number: number): Promise<bigint | undefined> => registers.get(number);
    this.returned = { cfa, returnAddress, signalFrame: false, registers, register };
  }

  /** An instruction that goes on with the next one. */
  private async execute(x: Instruction): Promise<boolean> {
    const target = x.op0Kind === OpKind.Register ? general(x.op0Register) : undefined;
    const source = x.opCount > 1 && x.op1Kind === OpKind.Register ? general(x.op1Register) : undefined;
    const slot = isStackSlot(x) ? await this.slot(x) : undefined;
    const sp = await this.register(RSP);
    switch (x.mnemonic) {
      case Mnemonic.Push:
        if (x.stackPointerIncrement !== -8) return false;
        return this.push(target === undefined ? undefined : await this.register(target));
      case Mnemonic.Pop:
        if (target === undefined || x.stackPointerIncrement !== 8) return false;
        this.set(target, await this.pop());
        return true;
      case Mnemonic.Mov:
        if (target !== undefined && source !== undefined) this.set(target, await this.register(source));
        else if (slot !== undefined && source !== undefined) this.words.set(slot, await this.register(source));
        else if (slot !== undefined && target !== undefined) this.set(target, await this.load(slot));
        else return this.forget(x);
        return true;
      case Mnemonic.Lea:
        if (target === undefined || slot === undefined) return this.forget(x);
        this.set(target, slot);
        return true;
      case Mnemonic.Add:
      case Mnemonic.Sub: {
        if (target !== RSP || source !== undefined || sp === undefined) return this.forget(x);
        const amount = x.immediate(1);
        this.set(RSP, x.mnemonic === Mnemonic.Add ? sp + amount : sp - amount);
        return true;
      }
      case Mnemonic.Leave:
        this.set(RSP, await this.register(RBP));
        this.set(RBP, await this.pop());
        return true;
      default:
        return this.forget(x);
    }
  }

  /** Address of the word that an operand relative to the stack pointer means. */
  private async slot(x: Instruction): Promise<bigint | undefined> {
    const sp = await this.register(RSP);
    return sp === undefined ? undefined : BigInt.asUintN(64, sp + x.memoryDisplacement);
  }

  /** What any other instruction writes is not known any more. False when that is the stack pointer. */
  private async forget(x: Instruction): Promise<boolean> {
    const factory = new InstructionInfoFactory();
    const info = factory.info(x);
    const registers = info.usedRegisters() as UsedRegister[];
    const memory = info.usedMemory() as UsedMemory[];
    const written = registers
      .filter(({ access }) => WRITES.has(access))
      .map(({ register }) => general(RegisterExt.fullRegister(register)));
    const stores = memory.some(({ access }) => WRITES.has(access));
    for (const each of [...registers, ...memory, info, factory]) each.free();
    for (const number of written) if (number !== undefined) this.set(number, undefined);
    if (stores && isStackSlot(x)) {
      const slot = await this.slot(x);
      if (slot !== undefined) for (const word of [slot, slot + 8n]) this.words.set(word & ~7n, undefined);
    }
    return !written.includes(RSP);
  }
}

/** DWARF number of a 64-bit general register. */
function general(register: Register): number | undefined {
  return RegisterExt.isGPR64(register) ? DWARF[RegisterExt.number(register)] : undefined;
}

function isStackSlot(x: Instruction): boolean {
  return x.memoryBase === Register.RSP && x.memoryIndex === Register.None && x.segmentPrefix === Register.None;
}
