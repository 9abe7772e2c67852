/**
 * Call stacks. Call frame information leads where there is any, frame pointers elsewhere; both stop at what can't be a stack. Frames are
 * made one after the other, as far as they are asked for, and live until the machine runs on.
 */
import type { FrameContext } from './symbols/location';
import { i386, registerName, x86_64, type RegisterModel } from './symbols/registers';
import type { SymbolStore, UnwindResult } from './symbols/symbolStore';
import { unwindAhead } from './symbols/unwindAhead';
import { callsBefore, MAX_CALL } from './symbols/callBefore';
import { RegisterNames } from './expression/registers';
import { littleEndian } from './expression/access';
import type { Target } from './target';

/** Deepest stack shown. */
const MAX_FRAMES = 4096;

/** A function's activation on the machine's stack. */
interface Activation {
  cpu: number;
  level: number;
  bitness: 16 | 32 | 64;
  /** Linear address of the next instruction of this frame. */
  pc: bigint;
  /** An address inside the instruction that is being executed: pc, or for callers one less. */
  lookup: bigint;
  /** Stack pointer of this frame. */
  sp: bigint;
  /** User space, seen from the kernel: the walk ends here. */
  outermost?: boolean;
  /** A register of this frame; undefined when the caller's value is lost. */
  register(name: string): Promise<bigint | undefined>;
  context: FrameContext;
}

/** A frame as the client sees it: an activation, or a function inlined into one. */
export interface Frame {
  id: number;
  activation: Activation;
  /** Index in SymbolStore.framesAt: 0 is the innermost. */
  inlineLevel: number;
  name: string;
  inlined: boolean;
  file?: string;
  line: number;
  column: number;
}

interface Stack {
  activations: Activation[];
  frames: Frame[];
  complete: boolean;
}

/** Registers that hold one value for all frames: everything but these. */
const FRAME_REGISTERS = /^(r(ax|bx|cx|dx|si|di|bp|sp|ip|8|9|1[0-5])|e(ax|bx|cx|dx|si|di|bp|sp|ip))$/;

/** Linux's selector of 32-bit user code (arch/x86/include/asm/segment.h). */
const USER32_CS = 0x23n;

export class StackWalker {
  private stacks = new Map<number, Stack>();
  private byId = new Map<number, Frame>();
  private nextId = 1;
  private readonly names: RegisterNames;

  constructor(
    private readonly target: Target,
    private readonly symbols: SymbolStore,
  ) {
    this.names = new RegisterNames(target.registerInfo());
  }

  /** Forgets all frames: the machine ran, or a register or memory was written. Ids are never used again. */
  clear(): void {
    this.stacks.clear();
    this.byId.clear();
  }

  /** A register or memory was written: stacks are walked again, but frame ids that the client holds stay good. */
  clearValues(): void {
    this.stacks.clear();
  }

  frame(id: number): Frame | undefined {
    return this.byId.get(id);
  }

  /** The innermost frame of a vCPU. */
  async top(cpu: number): Promise<Frame> {
    return (await this.frames(cpu, 0, 1)).frames[0];
  }

  /** Frames [start, start + levels) of a vCPU; `more`: there are frames after them. */
  async frames(
    cpu: number,
    start: number,
    levels: number,
  ): Promise<{ frames: Frame[]; total: number; complete: boolean }> {
    let stack = this.stacks.get(cpu);
    if (!stack) {
      stack = { activations: [], frames: [], complete: false };
      const first = await this.innermost(cpu);
      stack.activations.push(first);
      this.expand(stack, first);
      this.stacks.set(cpu, stack);
    }
    const end = Math.min(levels > 0 ? start + levels : MAX_FRAMES, MAX_FRAMES);
    // One more than asked for, so that the client learns whether there is more.
    while (!stack.complete && stack.frames.length <= end) {
      const last = stack.activations[stack.activations.length - 1];
      const caller = stack.activations.length < MAX_FRAMES ? await this.caller(last) : undefined;
      if (!caller) {
        stack.complete = true;
        break;
      }
      stack.activations.push(caller);
      this.expand(stack, caller);
    }
    return { frames: stack.frames.slice(start, end), total: stack.frames.length, complete: stack.complete };
  }

  /** The frame that called the innermost activation, past its inlined functions. */
  async callerOf(cpu: number): Promise<{ pc: bigint } | undefined> {
    await this.frames(cpu, 0, 1);
    const [first] = this.stacks.get(cpu)!.activations;
    return this.caller(first);
  }

  private expand(stack: Stack, activation: Activation): void {
    const inlined = this.symbols.framesAt(activation.lookup);
    const logical = inlined.length > 0 ? inlined : [undefined];
    logical.forEach((found, inlineLevel) => {
      const line = found ? undefined : this.symbols.lineAt(activation.lookup);
      const frame: Frame = {
        id: this.nextId++,
        activation,
        inlineLevel,
        name: found?.name ?? this.nameOf(activation),
        inlined: found?.inlined ?? false,
        file: found?.file ?? line?.file,
        line: found?.line ?? line?.line ?? 0,
        column: found?.column ?? line?.column ?? 0,
      };
      stack.frames.push(frame);
      this.byId.set(frame.id, frame);
    });
  }

  /** `name+0x10` of where a frame goes on, by the function that holds the instruction being executed. */
  private nameOf({ pc, lookup }: Activation): string {
    const found = this.symbols.symbolAt(lookup);
    if (!found) return `0x${pc.toString(16)}`;
    return pc === found.address ? found.name : `${found.name}+0x${(pc - found.address).toString(16)}`;
  }

  private async innermost(cpu: number): Promise<Activation> {
    const { target } = this;
    const bitness = target.bitness(cpu);
    const [rip, rsp] = await Promise.all([target.readRegister(cpu, 'rip'), target.readRegister(cpu, 'rsp')]);
    const pc = await this.linear(cpu, bitness, 'cs', rip);
    const sp = await this.linear(cpu, bitness, 'ss', rsp);
    return this.activation(cpu, 0, bitness, pc, pc, sp, (name) => target.readRegister(cpu, name));
  }

  private async linear(cpu: number, bitness: number, segment: 'cs' | 'ss', offset: bigint): Promise<bigint> {
    if (bitness === 64 || !this.names.find(`${segment}.base`)) return offset;
    const base = await this.target.readRegister(cpu, `${segment}.base`);
    return BigInt.asUintN(32, base + BigInt.asUintN(bitness, offset));
  }

  private activation(
    cpu: number,
    level: number,
    bitness: 16 | 32 | 64,
    pc: bigint,
    lookup: bigint,
    sp: bigint,
    read: (name: string) => Promise<bigint | undefined>,
  ): Activation {
    const model: RegisterModel = bitness === 64 ? x86_64 : i386;
    const register = async (name: string): Promise<bigint | undefined> => {
      const part = this.names.find(name);
      if (!part) return undefined;
      const whole = await read(part.name);
      return whole === undefined ? undefined : BigInt.asUintN(part.width, whole >> BigInt(part.shift));
    };
    const context: FrameContext = {
      pc: lookup,
      register: async (number) => {
        const name = registerName(model, number);
        return name === undefined ? undefined : register(name);
      },
      read: (address, length) => this.target.readMemory('virtual', cpu, address, length),
    };
    return { cpu, level, bitness, pc, lookup, sp, register, context };
  }

  private async caller(frame: Activation): Promise<Activation | undefined> {
    if (frame.outermost) return undefined;
    const known = await this.unwind(frame);
    if (known?.outermost) return undefined;
    const found = (known && this.callerByFrameInformation(frame, known)) ?? (await this.callerByFramePointer(frame));
    if (!found || found.pc === 0n) return undefined;
    if (found.sp <= frame.sp && !known?.otherStack) return undefined;
    // Pages of user space may be absent.
    if (found.outermost) return found;
    const code = await this.target.readMemory('virtual', frame.cpu, found.pc, 1);
    return code.length > 0 ? found : undefined;
  }

  private unwind({ bitness, cpu, pc, lookup, context }: Activation): Promise<UnwindResult | undefined> {
    const { symbols } = this;
    if (bitness !== 64 || pc !== lookup) return symbols.unwind(lookup, context);
    return unwindAhead(context, {
      unwind: (address, at) => symbols.unwind(address, at),
      isReturnAddress: (address) => this.isReturnAddress(cpu, address),
    });
  }

  /** Whether an address of 64-bit code is behind a call, in a function that symbols know. */
  private async isReturnAddress(cpu: number, address: bigint): Promise<boolean> {
    const isCode = (at: bigint): boolean => (this.symbols.symbolAt(at)?.kind ?? 'object') !== 'object';
    if (!isCode(address - 1n)) return false;
    const bytes = await this.target.readMemory('virtual', cpu, address - BigInt(MAX_CALL), MAX_CALL);
    return callsBefore(bytes).some(
      ({ displacement }) => displacement === undefined || isCode(address + BigInt(displacement)),
    );
  }

  private callerByFrameInformation(frame: Activation, result: UnwindResult): Activation | undefined {
    if (result.returnAddress === undefined) return undefined;
    const model = frame.bitness === 64 ? x86_64 : i386;
    const { returnAddress, cfa, signalFrame } = result;
    const values = new Map<string, bigint>();
    for (const [number, value] of result.registers) {
      const part = this.names.find(registerName(model, number) ?? '');
      if (part) values.set(part.name, value);
    }
    values.set('rip', returnAddress);
    values.set('rsp', cfa);
    const lookup = signalFrame ? returnAddress : returnAddress - 1n;
    const selector = result.otherStack ? values.get('cs') : undefined;
    if (selector === undefined || (selector & 3n) !== 3n)
      return this.callerWith(frame, values, returnAddress, lookup, cfa);
    const bitness = selector === USER32_CS ? 32 : frame.bitness;
    return { ...this.callerWith({ ...frame, bitness }, values, returnAddress, lookup, cfa), outermost: true };
  }

  private callerWith(
    frame: Activation,
    values: Map<string, bigint>,
    pc: bigint,
    lookup: bigint,
    sp: bigint,
  ): Activation {
    const read = async (name: string): Promise<bigint | undefined> =>
      values.has(name) || FRAME_REGISTERS.test(name) ? values.get(name) : this.target.readRegister(frame.cpu, name);
    return this.activation(frame.cpu, frame.level + 1, frame.bitness, pc, lookup, sp, read);
  }

  private async callerByFramePointer(frame: Activation): Promise<Activation | undefined> {
    const { bitness, cpu } = frame;
    const width = bitness / 8;
    const word = BigInt(width);
    const load = async (address: bigint): Promise<bigint | undefined> => {
      const bytes = await this.target.readMemory('virtual', cpu, address, width);
      return bytes.length < width ? undefined : littleEndian(bytes);
    };
    const rbp = await frame.register('rbp');
    if (rbp === undefined) return undefined;
    const pushed = frame.level === 0 ? await this.prologuePushes(frame) : undefined;
    let slot: bigint; // where the return address is
    let callersRbp: bigint | undefined;
    if (pushed !== undefined) {
      slot = frame.sp + BigInt(pushed) * word;
      callersRbp = pushed === 0 ? rbp : await load(frame.sp);
    } else {
      const base = await this.linear(cpu, bitness, 'ss', rbp);
      if (base < frame.sp && frame.level > 0) return undefined;
      if (base === 0n) return undefined;
      slot = base + word;
      callersRbp = await load(base);
    }
    const offset = await load(slot);
    if (offset === undefined || callersRbp === undefined || offset === 0n) return undefined;
    const pc = await this.linear(cpu, bitness, 'cs', offset);
    const values = new Map([
      ['rip', offset],
      ['rsp', slot + word],
      ['rbp', callersRbp],
    ]);
    return this.callerWith(frame, values, pc, pc - 1n, slot + word);
  }

  /**
   * Where the frame pointer is still the caller's: words between the stack pointer and the return address. 0 before `push rbp` and in
   * functions that keep no frame pointer, 1 right after it; undefined where the frame pointer is this frame's, or nothing is known.
   */
  private async prologuePushes(frame: Activation): Promise<0 | 1 | undefined> {
    const start = this.symbols.functionAt(frame.pc)?.low ?? this.symbols.symbolAt(frame.pc)?.address;
    if (start === undefined || frame.pc < start) return undefined;
    const code = await this.target.readMemory('virtual', frame.cpu, start, 5);
    const endbr =
      code.length >= 4 && code[0] === 0xf3 && code[1] === 0x0f && code[2] === 0x1e && (code[3] & 0xfe) === 0xfa;
    const push = endbr ? 4 : 0;
    const done = frame.pc - start;
    if (code[push] === 0x55) return done <= BigInt(push) ? 0 : done === BigInt(push + 1) ? 1 : undefined;
    // No frame pointer here: believe the word at the stack pointer when the instruction before it calls this very function.
    const width = frame.bitness / 8;
    const word = await this.target.readMemory('virtual', frame.cpu, frame.sp, width);
    if (word.length < width) return undefined;
    const returnAddress = await this.linear(frame.cpu, frame.bitness, 'cs', littleEndian(word));
    const length = frame.bitness === 16 ? 3 : 5; // E8 and a displacement of 16 or 32 bits
    const call = await this.target.readMemory('virtual', frame.cpu, returnAddress - BigInt(length), length);
    if (call.length < length || call[0] !== 0xe8) return undefined;
    const displacement = BigInt.asIntN((length - 1) * 8, littleEndian(call.subarray(1)));
    return BigInt.asUintN(frame.bitness, returnAddress + displacement) === BigInt.asUintN(frame.bitness, start)
      ? 0
      : undefined;
  }
}
