/** Data movement: moves, exchanges, stack, conditional moves, flags transfer. */
import { State } from '../../cpu/layout';
import { Flag } from '../../cpu/vcpu';
import { CONDITIONS, Gpr, type Bits, type Builder, type Condition } from '../../translate/builder';
import { i32, i32c, i64, i64c, select } from '../../translate/wasm';
import { flagsImage } from './flagsImage';
import { rows, type Family, type Instruction } from './instruction';

/** iced-x86 names the conditions by their first alias, as here. */
const CONDITION_NAMES: Record<Condition, string> = {
  o: 'o',
  no: 'no',
  b: 'b',
  ae: 'ae',
  e: 'e',
  ne: 'ne',
  be: 'be',
  a: 'a',
  s: 's',
  ns: 'ns',
  p: 'p',
  np: 'np',
  l: 'l',
  ge: 'ge',
  le: 'le',
  g: 'g',
};

function exchange(b: Builder): void {
  const x = b.modify(0);
  const y = b.let(b.read(1));
  b.write(0, y);
  b.write(1, x);
}

function pop(b: Builder): void {
  const bits = b.operandBits;
  const pointer = b.let(b.stackPointer());
  const value = b.let(b.stackLoad(bits, pointer));
  if (b.kind(0) === 'm') {
    b.write(0, value);
    b.setStackPointer(i64.add(pointer, i64c(bits / 8)));
  } else {
    b.setStackPointer(i64.add(pointer, i64c(bits / 8)));
    b.write(0, value);
  }
}

function leave(b: Builder): void {
  const bits = b.operandBits;
  const frame = b.let(b.reg(Gpr.rbp, 64));
  const value = b.let(b.stackLoad(bits, frame));
  b.setStackPointer(i64.add(frame, i64c(bits / 8)));
  b.setReg(Gpr.rbp, bits, value);
}

const pushImmediate = (mnemonic: string, operandBits: 16 | 32 | 64): Instruction => ({
  mnemonic,
  operands: /^imm/,
  operandBits,
  manual: 'PUSH—Push Word, Doubleword, or Quadword Onto the Stack',
  semantics: (b) => b.push(operandBits, b.readSigned(0)),
});
const pushSegment = (mnemonic: string, operandBits: 16 | 32 | 64): Instruction => ({
  mnemonic,
  operands: /^[CDEFGS]S$/,
  operandBits,
  manual: 'PUSH—Push Word, Doubleword, or Quadword Onto the Stack',
  // "all recent Intel Core and Intel Atom processors perform a 16-bit move": the manual's page, "Description".
  note: 'The upper half of a 32-bit slot stays as it is; the processors of other vendors write zeros',
  semantics: (b) => b.push(operandBits, b.read(0), operandBits === 32 ? 16 : operandBits),
});
const popSegment = (mnemonic: string, operandBits: 16 | 32 | 64): Instruction => ({
  mnemonic,
  operands: /^[DEFGS]S$/,
  operandBits,
  manual: 'POP—Pop a Value From the Stack',
  assist: 'popSegment',
  endsBlock: true,
});

/** RFLAGS as PUSHF pushes them: VM and RF are 0 in the image. Virtual-8086 mode has rules of its own. */
function pushFlags(b: Builder, bits: Bits): void {
  const flags = b.let(b.systemFlags());
  b.assistWhen(i32.and(flags, i32c(Flag.VM)));
  b.push(bits, flagsImage(b, flags));
}

export const data: Family = [
  {
    mnemonic: 'Mov',
    manual: 'MOV—Move',
    operands: /^(rm|r|AL|AX|EAX|RAX|moffs)\d*_(rm|r|imm|moffs|AL|AX|EAX|RAX)\d*$/,
    semantics: (b) => b.write(0, b.read(1)),
  },
  {
    mnemonic: 'Mov',
    manual: 'MOV—Move',
    operands: /^r(m|32m|64m)16_Sreg$/,
    semantics: (b) => b.write(0, b.read(1)),
  },
  { mnemonic: 'Mov', manual: 'MOV—Move', operands: /^Sreg_/, assist: 'loadSegment', endsBlock: true },
  {
    mnemonic: 'Mov',
    manual: 'MOV—Move to/from Control Registers',
    operands: /_cr$/,
    assist: 'readControlRegister',
    // CR2, which page faults want, never exits.
    semantics: (b) => {
      b.assistWhen(i32.or(b.privilegeLevel(), i32.ne(b.controlRegister(), i32c(2))));
      b.write(0, b.state64(State.cr2));
    },
  },
  {
    mnemonic: 'Mov',
    manual: 'MOV—Move to/from Control Registers',
    operands: /^cr_/,
    assist: 'writeControlRegister',
    endsBlock: true,
  },
  { mnemonic: 'Mov', manual: 'MOV—Move to/from Debug Registers', operands: /_dr$/, assist: 'readDebugRegister' },
  {
    mnemonic: 'Mov',
    manual: 'MOV—Move to/from Debug Registers',
    operands: /^dr_/,
    assist: 'writeDebugRegister',
    endsBlock: true,
  },
  { mnemonic: 'Movzx', manual: 'MOVZX—Move With Zero-Extend', semantics: (b) => b.write(0, b.read(1)) },
  { mnemonic: 'Movsx', manual: 'MOVSX/MOVSXD—Move With Sign-Extension', semantics: (b) => b.write(0, b.readSigned(1)) },
  {
    mnemonic: 'Movsxd',
    manual: 'MOVSX/MOVSXD—Move With Sign-Extension',
    semantics: (b) => b.write(0, b.readSigned(1)),
  },
  {
    mnemonic: 'Movnti',
    feature: 'sse2',
    manual: 'MOVNTI—Store Doubleword Using Non-Temporal Hint',
    semantics: (b) => b.write(0, b.read(1)),
  },
  { mnemonic: 'Lea', manual: 'LEA—Load Effective Address', semantics: (b) => b.write(0, b.effectiveAddress()) },
  { mnemonic: 'Xchg', manual: 'XCHG—Exchange Register/Memory With Register', semantics: exchange },
  ...rows(CONDITIONS, (cc) => ({
    mnemonic: 'Cmov' + CONDITION_NAMES[cc],
    feature: 'cmov',
    manual: 'CMOVcc—Conditional Move',
    // The source is read, and a 32-bit destination zero-extended, whatever the condition.
    semantics: (b: Builder) => {
      const source = b.let(b.read(1));
      b.write(0, select(b.condition(cc), source, b.read(0)));
    },
  })),
  ...rows(CONDITIONS, (cc) => ({
    mnemonic: 'Set' + CONDITION_NAMES[cc],
    manual: 'SETcc—Set Byte on Condition',
    semantics: (b: Builder) => b.write(0, i64.extendU(b.condition(cc))),
  })),
  {
    mnemonic: 'Push',
    manual: 'PUSH—Push Word, Doubleword, or Quadword Onto the Stack',
    semantics: (b) => b.push(b.operandBits, b.readSigned(0)),
  },
  pushImmediate('Pushw', 16),
  pushImmediate('Pushd', 32),
  pushImmediate('Pushq', 64),
  pushSegment('Pushw', 16),
  pushSegment('Pushd', 32),
  pushSegment('Pushq', 64),
  { mnemonic: 'Pop', manual: 'POP—Pop a Value From the Stack', semantics: pop },
  popSegment('Popw', 16),
  popSegment('Popd', 32),
  popSegment('Popq', 64),
  { mnemonic: 'Pushaw', manual: 'PUSHA/PUSHAD—Push All General-Purpose Registers', assist: 'pushAll', operandBits: 16 },
  { mnemonic: 'Pushad', manual: 'PUSHA/PUSHAD—Push All General-Purpose Registers', assist: 'pushAll', operandBits: 32 },
  { mnemonic: 'Popaw', manual: 'POPA/POPAD—Pop All General-Purpose Registers', assist: 'popAll', operandBits: 16 },
  { mnemonic: 'Popad', manual: 'POPA/POPAD—Pop All General-Purpose Registers', assist: 'popAll', operandBits: 32 },
  ...rows(
    [
      ['Pushfw', 16],
      ['Pushfd', 32],
      ['Pushfq', 64],
    ] as const,
    ([mnemonic, operandBits]) => ({
      mnemonic,
      operandBits,
      manual: 'PUSHF/PUSHFD/PUSHFQ—Push EFLAGS Register Onto the Stack',
      assist: 'pushFlags',
      semantics: (b: Builder) => pushFlags(b, operandBits),
    }),
  ),
  ...rows(
    [
      ['Popfw', 16],
      ['Popfd', 32],
      ['Popfq', 64],
    ] as const,
    ([mnemonic, operandBits]) => ({
      mnemonic,
      operandBits,
      manual: 'POPF/POPFD/POPFQ—Pop Stack Into EFLAGS Register',
      assist: 'popFlags',
    }),
  ),
  ...rows(
    [
      ['Leavew', 16],
      ['Leaved', 32],
      ['Leaveq', 64],
    ] as [string, 16 | 32 | 64][],
    ([mnemonic, operandBits]) => ({
      mnemonic,
      operandBits,
      manual: 'LEAVE—High Level Procedure Exit',
      semantics: leave,
    }),
  ),
  ...rows(
    [
      ['Enterw', 16],
      ['Enterd', 32],
      ['Enterq', 64],
    ] as [string, 16 | 32 | 64][],
    ([mnemonic, operandBits]) => ({
      mnemonic,
      operandBits,
      manual: 'ENTER—Make Stack Frame for Procedure Parameters',
      assist: 'enter',
    }),
  ),
  {
    mnemonic: 'Lahf',
    manual: 'LAHF—Load Status Flags Into AH Register',
    semantics: (b) => b.setAh(b.lowFlags()),
  },
  { mnemonic: 'Sahf', manual: 'SAHF—Store AH Into Flags', semantics: (b) => b.setLowFlags(b.ah()) },
  { mnemonic: 'Clc', manual: 'CLC—Clear Carry Flag', semantics: (b) => b.setCarry(i64c(0)) },
  { mnemonic: 'Stc', manual: 'STC—Set Carry Flag', semantics: (b) => b.setCarry(i64c(1)) },
  {
    mnemonic: 'Cmc',
    manual: 'CMC—Complement Carry Flag',
    semantics: (b) => b.setCarry(b.let(i64.xor(b.flag('cf'), i64c(1)))),
  },
  ...rows(['Les', 'Lds', 'Lss', 'Lfs', 'Lgs'], (mnemonic) => ({
    mnemonic,
    manual: 'LDS/LES/LFS/LGS/LSS—Load Far Pointer',
    assist: 'loadFarPointer',
    endsBlock: true,
  })),
  { mnemonic: 'Xlat', manual: 'XLAT/XLATB—Table Look-up Translation', assist: 'translateByte' },
  {
    mnemonic: 'Movbe',
    manual: 'MOVBE—Move Data After Swapping Bytes',
    feature: 'movbe',
    semantics: (b) => {
      const bits: Bits = b.bits(0);
      const x = b.let(b.read(1));
      const at = (from: number) => i64.and(i64.shrU(x, i64c(from)), i64c(0xff));
      let result = i64c(0);
      for (let i = 0; i < bits; i += 8) result = i64.or(result, i64.shl(at(i), i64c(bits - 8 - i)));
      b.write(0, result);
    },
  },
];
