import { atOnce } from '../../introspection/slices';
import { sortedOrder } from '../radixSort';
import { SharedWork } from '../sharedWork';
import { Growing } from './growing';
import { Cursor, DwarfError, hexOffset } from './reader';
import { DebugSections, lastAtOrBelow } from './sections';
import { messageOf } from './unit';

/** How a caller's register is found. DWARF 5, 6.4.1 "Structure of Call Frame Information". */
export type RegisterRule =
  | { kind: 'undefined' }
  | { kind: 'same value' }
  /** Saved at CFA + offset. */
  | { kind: 'offset'; offset: bigint }
  /** Is CFA + offset. */
  | { kind: 'value offset'; offset: bigint }
  | { kind: 'register'; register: number }
  /** Saved at the address that the expression gives. */
  | { kind: 'expression'; expression: Uint8Array }
  | { kind: 'value expression'; expression: Uint8Array };

export type CfaRule =
  { kind: 'register'; register: number; offset: bigint } | { kind: 'expression'; expression: Uint8Array };

/** The rules in effect at one address. */
export interface FrameRules {
  cfa: CfaRule;
  registers: Map<number, RegisterRule>;
  returnAddress: number;
  /** The frame was entered by an interrupt or signal: its address is not one behind a call. */
  signalFrame: boolean;
}

interface CommonEntry {
  codeAlignment: number;
  dataAlignment: bigint;
  returnAddress: number;
  signalFrame: boolean;
  encoding: number;
  hasAugmentation: boolean;
  addressSize: number;
  instructions: [start: number, end: number];
}

/** A frame description entry (FDE). */
interface DescriptionEntry {
  low: bigint;
  high: bigint;
  common: CommonEntry;
  instructions: [start: number, end: number];
}

/** DW_EH_PE_omit: no value. Linux Standard Base, "DWARF Extensions". */
const OMIT = 0xff;

const MAX_REMEMBERED = 64;

/** Entries read between two pauses. */
const STEP = 512;

/** Call frame information of .debug_frame or .eh_frame. Where entries are is found once, by their lengths and addresses. */
export class FrameTable {
  private bytes: Uint8Array | undefined;
  private readonly base: bigint;
  private readonly isEh: boolean;
  private readonly commons = new Map<number, CommonEntry | undefined>();
  /** Addresses and section offsets of all entries, by address. */
  private lows = new BigUint64Array(0);
  private offsets = new Uint32Array(0);
  private readonly scanning = new SharedWork(() => this.scan());

  constructor(
    private readonly sections: DebugSections,
    readonly section: '.debug_frame' | '.eh_frame',
  ) {
    this.base = sections.address(section);
    this.isEh = section === '.eh_frame';
  }

  private get data(): Uint8Array {
    return (this.bytes ??= this.sections.data(this.section));
  }

  /** Rules at an address as linked; undefined when no entry covers it. Throws a DwarfError on a malformed entry. */
  rulesAt(address: bigint): FrameRules | undefined {
    atOnce(this.prepare());
    for (let i = lastAtOrBelow(this.lows, address), tries = 0; i >= 0 && tries < 4; i--, tries++) {
      const entry = this.entryAt(this.offsets[i]!).entry!;
      if (address < entry.high) return this.execute(entry, address);
    }
    return undefined;
  }

  private cursor(start: number, end = this.data.length): Cursor {
    return new Cursor(this.data, start, end, this.section);
  }

  /** The entry at a section offset, undefined when it describes no code, and the offset behind it. */
  private entryAt(start: number): { entry: DescriptionEntry | undefined; next: number } {
    const cursor = this.cursor(start);
    const { end, is64 } = cursor.initialLength();
    if (end === cursor.position) return { entry: undefined, next: end }; // terminator of .eh_frame, also between joined parts
    const next = Math.max(end, start + 4);
    const idOffset = cursor.position;
    const id = is64 ? cursor.u64() : BigInt(cursor.u32());
    const isCommon = this.isEh ? id === 0n : id === (is64 ? 0xffffffffffffffffn : 0xffffffffn);
    if (isCommon) return { entry: undefined, next };
    return { entry: this.readDescription(cursor.position, end, this.isEh ? BigInt(idOffset) - id : id), next };
  }

  /** Finds all entries. */
  prepare(): Generator<void, void> {
    return this.scanning.run();
  }

  private *scan(): Generator<void, void> {
    const lows = new Growing((length) => new BigUint64Array(length));
    const offsets = new Growing((length) => new Uint32Array(length));
    try {
      for (let at = 0; at + 4 <= this.data.length;) {
        if (offsets.length % STEP === 0) yield;
        const { entry, next } = this.entryAt(at);
        if (entry) {
          lows.push(entry.low);
          offsets.push(at);
        }
        at = next;
      }
    } catch (error) {
      this.sections.warnings.add(messageOf(error));
    }
    const { length } = offsets;
    const order = yield* sortedOrder(lows.items.slice(0, length), new Uint8Array(length));
    this.lows = BigUint64Array.from(order, (i) => lows.items[i]!);
    this.offsets = order.map((i) => offsets.items[i]!);
  }

  private common(at: bigint): CommonEntry | undefined {
    if (at < 0n || at >= BigInt(this.data.length)) return undefined;
    const offset = Number(at);
    if (!this.commons.has(offset)) {
      let common: CommonEntry | undefined;
      try {
        common = this.readCommon(offset);
      } catch (error) {
        this.sections.warnings.add(messageOf(error));
      }
      this.commons.set(offset, common);
    }
    return this.commons.get(offset);
  }

  private readCommon(offset: number): CommonEntry {
    const start = this.cursor(offset);
    const { end, is64 } = start.initialLength();
    const cursor = this.cursor(start.position, end);
    cursor.skip(is64 ? 8 : 4);
    const version = cursor.u8();
    if (version !== 1 && version !== 3 && version !== 4) cursor.fail(`a CIE of version 1, 3 or 4, not ${version},`);
    const augmentation = cursor.string();
    let addressSize = this.sections.is64 ? 8 : 4;
    if (augmentation === 'eh') cursor.skip(addressSize);
    if (version === 4) {
      addressSize = cursor.u8();
      cursor.skip(1); // segment selector size
    }
    const codeAlignment = cursor.uleb();
    const dataAlignment = cursor.slebBig();
    const returnAddress = version === 1 ? cursor.u8() : cursor.uleb();
    let encoding = 0;
    let signalFrame = false;
    const hasAugmentation = augmentation.startsWith('z');
    let instructions = cursor.position;
    if (hasAugmentation) {
      const length = cursor.uleb();
      instructions = cursor.position + length;
      for (const letter of augmentation.slice(1)) {
        if (letter === 'R') encoding = cursor.u8();
        else if (letter === 'L') cursor.skip(1);
        else if (letter === 'S') signalFrame = true;
        else if (letter === 'P') this.encoded(cursor, cursor.u8(), addressSize);
        else if (letter !== 'B') break;
      }
    } else if (augmentation === 'S') {
      // What assemblers write into .debug_frame for .cfi_signal_frame: a letter that has no data.
      signalFrame = true;
    } else if (augmentation !== '' && augmentation !== 'eh') {
      cursor.fail(`a known augmentation, not "${augmentation.slice(0, 16)}",`);
    }
    this.cursor(instructions, end);
    return {
      codeAlignment,
      dataAlignment,
      returnAddress,
      signalFrame,
      encoding,
      hasAugmentation,
      addressSize,
      instructions: [instructions, end],
    };
  }

  private readDescription(start: number, end: number, commonAt: bigint): DescriptionEntry | undefined {
    const common = this.common(commonAt);
    if (!common) return undefined;
    const cursor = this.cursor(start, end);
    const low = this.encoded(cursor, common.encoding, common.addressSize);
    // The length has the same format but is never relative to anything.
    const length = BigInt.asUintN(64, this.encoded(cursor, common.encoding & 0x0f, common.addressSize));
    if (common.hasAugmentation) cursor.skip(cursor.uleb());
    if (length === 0n || (low === 0n && !this.sections.codeAtZero)) return undefined;
    return { low, high: low + length, common, instructions: [cursor.position, end] };
  }

  /** Pointer encoding DW_EH_PE_*: format in the low four bits, what it is relative to in the next three. */
  private encoded(cursor: Cursor, encoding: number, addressSize: number): bigint {
    if (encoding === OMIT) return 0n;
    const at = this.base + BigInt(cursor.position);
    let value: bigint;
    switch (encoding & 0x0f) {
      case 0x00:
        value = cursor.unsigned(addressSize);
        break;
      case 0x01:
        value = cursor.ulebBig();
        break;
      case 0x02:
        value = BigInt(cursor.u16());
        break;
      case 0x03:
        value = BigInt(cursor.u32());
        break;
      case 0x04:
      case 0x0c:
        value = cursor.u64();
        break;
      case 0x09:
        value = cursor.slebBig();
        break;
      case 0x0a:
        value = BigInt.asIntN(16, BigInt(cursor.u16()));
        break;
      case 0x0b:
        value = BigInt(cursor.i32());
        break;
      default:
        return cursor.fail(`a known pointer encoding, not 0x${encoding.toString(16)},`);
    }
    switch (encoding & 0x70) {
      case 0x10:
        value += at;
        break;
      case 0x20: // relative to the text section
        value += this.sections.address('.text');
        break;
      case 0x30: // relative to data: the GOT on x86
        value += this.sections.address('.got');
        break;
      default:
    }
    return BigInt.asUintN(addressSize * 8, value);
  }

  /** Runs the CIE's and then the FDE's instructions up to `address`. DWARF 5, 6.4.2 "Call Frame Instructions". */
  private execute(entry: DescriptionEntry, address: bigint): FrameRules {
    const { common } = entry;
    const state: State = { cfa: undefined, registers: new Map() };
    this.interpret(common.instructions, entry, state, undefined, address);
    const initial = new Map(state.registers);
    this.interpret(entry.instructions, entry, state, initial, address);
    if (!state.cfa) {
      throw new DwarfError(`${this.section}: no CFA rule for the code at 0x${entry.low.toString(16)}`);
    }
    const { returnAddress, signalFrame } = common;
    return { cfa: state.cfa, registers: state.registers, returnAddress, signalFrame };
  }

  private interpret(
    [start, end]: [number, number],
    entry: DescriptionEntry,
    state: State,
    initial: Map<number, RegisterRule> | undefined,
    address: bigint,
  ): void {
    const { common } = entry;
    const cursor = this.cursor(start, end);
    const remembered: State[] = [];
    let location = entry.low;
    const code = BigInt(common.codeAlignment);
    const set = (register: number, rule: RegisterRule): void => {
      // x86 has less than 130 columns; a bound keeps hostile entries small.
      if (register < 1024) state.registers.set(register, rule);
    };
    const restore = (register: number): void => {
      const rule = initial?.get(register);
      if (rule) set(register, rule);
      else state.registers.delete(register);
    };
    const offset = (value: bigint): RegisterRule => ({ kind: 'offset', offset: value * common.dataAlignment });
    const cfaRegister = (): Extract<CfaRule, { kind: 'register' }> =>
      state.cfa?.kind === 'register' ? state.cfa : cursor.fail('a CFA in a register before its change');

    while (cursor.remaining > 0) {
      const op = cursor.u8();
      const low = op & 0x3f;
      let advance = -1n;
      if (op >= 0xc0) restore(low);
      else if (op >= 0x80) set(low, offset(cursor.ulebBig()));
      else if (op >= 0x40) advance = BigInt(low);
      else {
        switch (op) {
          case 0x00: // nop
            break;
          case 0x01: // set_loc
            location = this.encoded(cursor, common.encoding, common.addressSize);
            if (location > address) return;
            break;
          case 0x02:
            advance = BigInt(cursor.u8());
            break;
          case 0x03:
            advance = BigInt(cursor.u16());
            break;
          case 0x04:
            advance = BigInt(cursor.u32());
            break;
          case 0x05: // offset_extended
            set(cursor.uleb(), offset(cursor.ulebBig()));
            break;
          case 0x06: // restore_extended
            restore(cursor.uleb());
            break;
          case 0x07:
            set(cursor.uleb(), { kind: 'undefined' });
            break;
          case 0x08:
            set(cursor.uleb(), { kind: 'same value' });
            break;
          case 0x09:
            set(cursor.uleb(), { kind: 'register', register: cursor.uleb() });
            break;
          case 0x0a: // remember_state
            if (remembered.length >= MAX_REMEMBERED) cursor.fail(`at most ${MAX_REMEMBERED} remembered states`);
            remembered.push({ cfa: state.cfa, registers: new Map(state.registers) });
            break;
          case 0x0b: {
            // restore_state
            const saved = remembered.pop() ?? cursor.fail('a remembered state');
            state.cfa = saved.cfa;
            state.registers = saved.registers;
            break;
          }
          case 0x0c: // def_cfa
            state.cfa = { kind: 'register', register: cursor.uleb(), offset: cursor.ulebBig() };
            break;
          case 0x0d: // def_cfa_register
            state.cfa = { ...cfaRegister(), register: cursor.uleb() };
            break;
          case 0x0e: // def_cfa_offset
            state.cfa = { ...cfaRegister(), offset: cursor.ulebBig() };
            break;
          case 0x0f: // def_cfa_expression
            state.cfa = { kind: 'expression', expression: cursor.bytes(cursor.uleb()) };
            break;
          case 0x10:
            set(cursor.uleb(), { kind: 'expression', expression: cursor.bytes(cursor.uleb()) });
            break;
          case 0x11: // offset_extended_sf
            set(cursor.uleb(), offset(cursor.slebBig()));
            break;
          case 0x12: // def_cfa_sf
            state.cfa = {
              kind: 'register',
              register: cursor.uleb(),
              offset: cursor.slebBig() * common.dataAlignment,
            };
            break;
          case 0x13: // def_cfa_offset_sf
            state.cfa = { ...cfaRegister(), offset: cursor.slebBig() * common.dataAlignment };
            break;
          case 0x14: // val_offset
            set(cursor.uleb(), { kind: 'value offset', offset: cursor.ulebBig() * common.dataAlignment });
            break;
          case 0x15: // val_offset_sf
            set(cursor.uleb(), { kind: 'value offset', offset: cursor.slebBig() * common.dataAlignment });
            break;
          case 0x16:
            set(cursor.uleb(), { kind: 'value expression', expression: cursor.bytes(cursor.uleb()) });
            break;
          case 0x2e: // GNU_args_size
            cursor.skipLeb();
            break;
          case 0x2f: // GNU_negative_offset_extended
            set(cursor.uleb(), offset(-cursor.ulebBig()));
            break;
          default:
            throw new DwarfError(
              `${this.section}: unknown call frame instruction 0x${op.toString(16)} at ${hexOffset(cursor.position - 1)}`,
            );
        }
      }
      if (advance >= 0n) {
        location += advance * code;
        if (location > address) return;
      }
    }
  }
}

interface State {
  cfa: CfaRule | undefined;
  registers: Map<number, RegisterRule>;
}
