/** Control transfer: jumps, calls, returns, loops, interrupts, and instructions that do nothing. */
import { CONDITIONS, Gpr, type Bits, type Builder } from '../../translate/builder';
import { i32, i64, i64c, type Expr } from '../../translate/wasm';
import { interruptReturn64, systemCall, systemReturn } from './privilege';
import { rows, type Family, type Instruction } from './instruction';

function returnNear(b: Builder, operandBits: Bits, release: Expr): void {
  const pointer = b.let(b.stackPointer());
  const target = b.let(b.stackLoad(operandBits, pointer));
  b.setStackPointer(i64.add(pointer, i64.add(release, i64c(operandBits / 8))));
  b.jump(target, 'return');
}

const ret = (mnemonic: string, operandBits: 16 | 32 | 64): Instruction[] => [
  {
    mnemonic,
    operandBits,
    operands: /^$/,
    endsBlock: true,
    manual: 'RET—Return From Procedure',
    semantics: (b) => returnNear(b, operandBits, i64c(0)),
  },
  {
    mnemonic,
    operandBits,
    operands: /^imm16$/,
    endsBlock: true,
    manual: 'RET—Return From Procedure',
    semantics: (b) => returnNear(b, operandBits, b.read(0)),
  },
];

/** Counter register of LOOP and JrCXZ by the last part of the Code name. */
const COUNTERS = [
  ['CX', 16],
  ['ECX', 32],
  ['RCX', 64],
] as const;

function loopRows(mnemonic: string, extra?: (b: Builder) => Expr): Instruction[] {
  return COUNTERS.map(([counter, bits]) => ({
    mnemonic,
    operands: new RegExp(`_${counter}$`),
    endsBlock: true,
    manual: 'LOOP/LOOPcc—Loop According to ECX Counter',
    semantics: (b) => {
      const count = b.let(i64.sub(b.reg(Gpr.rcx, bits), i64c(1)));
      b.setReg(Gpr.rcx, bits, count);
      const more = i64.ne(b.reg(Gpr.rcx, bits), i64c(0));
      b.branch(extra ? i32.and(more, extra(b)) : more);
    },
  }));
}

export const nothing = (mnemonic: string, manual: string, operands?: RegExp): Instruction => ({
  mnemonic,
  manual,
  operands,
  semantics: () => {},
});

const UNREACHABLE =
  'Where the target cannot be fetched, the return address stays below the stack pointer, which is as before';

export const control: Family = [
  {
    mnemonic: 'Jmp',
    manual: 'JMP—Jump',
    operands: /^rel/,
    endsBlock: true,
    semantics: (b) => b.branch(undefined),
  },
  {
    mnemonic: 'Jmp',
    manual: 'JMP—Jump',
    operands: /^rm/,
    endsBlock: true,
    note: 'A target that cannot be fetched is #GP(0) at the branch: on processors of both vendors, as the manual has it',
    semantics: (b) => b.jump(b.let(b.read(0))),
  },
  {
    mnemonic: 'Jmp',
    manual: 'JMP—Jump',
    operands: /^(ptr|m)\d/,
    endsBlock: true,
    assist: 'jumpFar',
    note: 'What a 16-bit TSS leaves of the upper halves of general registers is undefined: zero here',
  },
  ...rows(CONDITIONS, (cc) => ({
    mnemonic: 'J' + cc,
    manual: 'Jcc—Jump if Condition Is Met',
    endsBlock: true,
    semantics: (b: Builder) => b.branch(b.condition(cc)),
  })),
  {
    mnemonic: 'Call',
    manual: 'CALL—Call Procedure',
    operands: /^rel/,
    endsBlock: true,
    note: UNREACHABLE,
    semantics: (b) => {
      b.push(b.operandBits, b.nextRip());
      b.branch(undefined, 'call');
    },
  },
  {
    mnemonic: 'Call',
    manual: 'CALL—Call Procedure',
    operands: /^rm/,
    endsBlock: true,
    note: `${UNREACHABLE}: as Intel processors have it; on AMD ones nothing is pushed when it is not canonical`,
    semantics: (b) => {
      const target = b.let(b.read(0));
      b.push(b.operandBits, b.nextRip());
      b.jump(target, 'call');
    },
  },
  { mnemonic: 'Call', manual: 'CALL—Call Procedure', operands: /^(ptr|m)\d/, endsBlock: true, assist: 'callFar' },
  ...ret('Retnw', 16),
  ...ret('Retnd', 32),
  ...ret('Retnq', 64),
  ...rows(
    [
      ['Retfw', 16],
      ['Retfd', 32],
      ['Retfq', 64],
    ] as [string, 16 | 32 | 64][],
    ([mnemonic, operandBits]) => ({
      mnemonic,
      operandBits,
      endsBlock: true,
      manual: 'RET—Return From Procedure',
      assist: 'returnFar',
    }),
  ),
  ...loopRows('Loop'),
  ...loopRows('Loope', (b) => b.condition('e')),
  ...loopRows('Loopne', (b) => b.condition('ne')),
  ...rows(
    [
      ['Jcxz', 16],
      ['Jecxz', 32],
      ['Jrcxz', 64],
    ] as [string, 16 | 32 | 64][],
    ([mnemonic, bits]) => ({
      mnemonic,
      manual: 'Jcc—Jump if Condition Is Met',
      endsBlock: true,
      semantics: (b: Builder) => b.branch(i64.eqz(b.reg(Gpr.rcx, bits))),
    }),
  ),
  ...rows(
    [
      ['Iretw', 16],
      ['Iretd', 32],
      ['Iretq', 64],
    ] as [string, 16 | 32 | 64][],
    ([mnemonic, operandBits]) => ({
      mnemonic,
      operandBits,
      endsBlock: true,
      manual: 'IRET/IRETD/IRETQ—Interrupt Return',
      assist: 'interruptReturn',
      ...(operandBits === 64 ? { semantics: interruptReturn64 } : {}),
    }),
  ),
  {
    mnemonic: 'Int',
    manual: 'INT n/INTO/INT3/INT1—Call to Interrupt Procedure',
    endsBlock: true,
    assist: 'softwareInterrupt',
  },
  {
    mnemonic: 'Int3',
    manual: 'INT n/INTO/INT3/INT1—Call to Interrupt Procedure',
    endsBlock: true,
    assist: 'breakpointTrap',
  },
  {
    mnemonic: 'Int1',
    manual: 'INT n/INTO/INT3/INT1—Call to Interrupt Procedure',
    endsBlock: true,
    assist: 'debugTrap',
  },
  {
    mnemonic: 'Into',
    manual: 'INT n/INTO/INT3/INT1—Call to Interrupt Procedure',
    endsBlock: true,
    assist: 'overflowTrap',
  },
  {
    mnemonic: 'Syscall',
    feature: 'syscall',
    manual: 'SYSCALL—Fast System Call',
    endsBlock: true,
    operandBits: 64,
    assist: 'syscall',
    semantics: systemCall,
    note: '#UD outside of 64-bit mode on Intel processors; on AMD ones it works in compatibility and legacy mode',
  },
  {
    mnemonic: 'Sysretd',
    feature: 'syscall',
    manual: 'SYSRET—Return From Fast System Call',
    endsBlock: true,
    operandBits: 32,
    assist: 'sysret',
  },
  {
    mnemonic: 'Sysretq',
    feature: 'syscall',
    manual: 'SYSRET—Return From Fast System Call',
    note: 'A non-canonical RCX is #GP at CPL 0 on Intel processors, at the target and CPL 3 on AMD ones, which load only the selector of SS',
    endsBlock: true,
    operandBits: 64,
    assist: 'sysret',
    semantics: systemReturn,
  },
  {
    mnemonic: 'Sysenter',
    feature: 'sep',
    manual: 'SYSENTER—Fast System Call',
    endsBlock: true,
    assist: 'sysenter',
    note: '#UD in long mode on AMD processors, and so is SYSEXIT',
  },
  {
    mnemonic: 'Sysexitd',
    feature: 'sep',
    manual: 'SYSEXIT—Fast Return from Fast System Call',
    endsBlock: true,
    operandBits: 32,
    assist: 'sysexit',
  },
  {
    mnemonic: 'Sysexitq',
    feature: 'sep',
    manual: 'SYSEXIT—Fast Return from Fast System Call',
    endsBlock: true,
    operandBits: 64,
    assist: 'sysexit',
  },
  ...rows(['Ud0', 'Ud1', 'Ud2'], (mnemonic) => ({
    mnemonic,
    manual: 'UD—Undefined Instruction',
    endsBlock: true,
    semantics: (b: Builder) => b.faultIf(i64.eqz(i64c(0)), 6),
  })),
  nothing('Nop', 'NOP—No Operation'),
  nothing('Nopw', 'NOP—No Operation'),
  nothing('Nopd', 'NOP—No Operation'),
  nothing('Nopq', 'NOP—No Operation'),
  nothing('Reservednop', 'NOP—No Operation'),
  { ...nothing('Lfence', 'LFENCE—Load Fence'), feature: 'sse2' },
  { ...nothing('Mfence', 'MFENCE—Memory Fence'), feature: 'sse2' },
  { ...nothing('Sfence', 'SFENCE—Store Fence'), feature: 'sse' },
];
