/** What there is to test: every encoding that a row describes, in register and memory form, and what is left out and why. */
import { Code, CodeExt, MemorySize, MemorySizeExt, OpCodeOperandKind, type OpCodeInfo } from 'iced-x86';
import { CODES, type CodeInfo } from '../../emulator-core/x86/codes';
import type { ValueKind } from './values';

export interface Form {
  info: CodeInfo;
  opcode: OpCodeInfo;
  mode: 32 | 64;
  /** An operand that can be register or memory is memory here. */
  memory: boolean;
  /** As in "Add_rm32_r32 64 mem". */
  name: string;
  /** Kinds of the operands, as iced-x86 names them: 'r32_or_mem', 'xmm_vvvv' ... */
  operands: string[];
  /** A string instruction. */
  string: boolean;
  /** Works on x87, MMX or vector registers or their control registers, whose state then varies too. */
  extended: boolean;
  /** What the bits of its operands mean. */
  values: ValueKind;
  /** Bytes that its memory operand has; 0: none. */
  bytes: number;
}

/** Mnemonics that cannot be compared, by reason. */
const EXCLUDED: readonly (readonly [reason: string, mnemonics: string])[] = [
  ['a system call: the kernel answers, not the processor', 'Syscall Sysenter Int'],
  ["delivered through the IDT, whose gates are the kernel's", 'Int3 Int1 Into'],
  ['the result is not determined by the state', 'Rdtsc Rdtscp Rdpmc Rdpid Cpuid Xgetbv Rdrand Rdseed'],
  ['under UMIP the kernel emulates it', 'Sgdt Sidt Sldt Str Smsw'],
  ['leaves the virtual machine that the host may be', 'Vmcall Vmmcall'],
  ['would lock the runner out of its own memory', 'Wrpkru'],
  ['waits', 'Monitorw Monitord Monitorq Mwait Monitorx Mwaitx Umonitor Umwait Tpause'],
];
/** Codes that are left out, by reason. */
const EXCLUDED_CODES: readonly (readonly [reason: string, codes: RegExp])[] = [
  ['AMD processors read a doubleword', /^Movsxd_r16_rm16/],
  ['an encoding of PREFETCH on AMD processors, #UD with a register', /^Reservednop_\w+_0F0D/],
  ['64-bit mode only on Intel processors', /^Sysretd/],
];
const REASONS = new Map(EXCLUDED.flatMap(([reason, names]) => names.split(' ').map((name) => [name, reason] as const)));

const OPERAND_NAMES = OpCodeOperandKind as unknown as Record<number, string>;
const CODE_NAMES = Code as unknown as Record<number, string>;

function operandName(opcode: OpCodeInfo, operand: number): string {
  return OPERAND_NAMES[opcode.opKind(operand)];
}

const eitherWay = (name: string): boolean => /_or_mem/.test(name);
const alwaysMemory = (name: string): boolean => /^(mem|sibmem)/.test(name);

function valueKind(opcode: OpCodeInfo, name: string): ValueKind {
  if (/Sreg|^(Lar|Lsl|Verr|Verw)_/.test(name)) return 'selector';
  const element = MemorySize[MemorySizeExt.elementType(opcode.memorySize)];
  if (element === 'Float16' || element === 'BFloat16') return 'f16';
  if (element === 'Float32') return 'f32';
  if (element === 'Float64') return 'f64';
  if (element === 'Float80') return 'f80';
  if (element === 'Bcd') return 'bcd';
  if (/^F[a-z]+[0-9]*(_|$)/.test(name) && /st0|sti/i.test(name)) return 'f80';
  return 'int';
}

function isExtended(info: CodeInfo, opcode: OpCodeInfo, operands: string[]): boolean {
  return (
    info.row.assist === 'x87' ||
    info.row.unit !== undefined ||
    opcode.isSaveRestore ||
    operands.some((name) => /^(mm|xmm|ymm|st)/.test(name)) ||
    /mxcsr$|^Emms|^Vzero/i.test(info.row.mnemonic)
  );
}

export function makeForm(info: CodeInfo, opcode: OpCodeInfo, mode: 32 | 64, memory: boolean): Form {
  const operands = Array.from({ length: opcode.opCount }, (_, i) => operandName(opcode, i));
  const way = operands.some(eitherWay) ? (memory ? ' mem' : ' reg') : '';
  return {
    info,
    opcode,
    mode,
    memory,
    name: `${info.name} ${mode}${way}`,
    operands,
    string: operands.some((name) => /r[SD]I$/.test(name)),
    extended: isExtended(info, opcode, operands),
    values: valueKind(opcode, info.name),
    bytes: memory ? Math.max(1, MemorySizeExt.size(opcode.memorySize)) : 0,
  };
}

export interface FormList {
  forms: Form[];
  /** Codes that are left out, by reason. */
  excluded: Map<string, string[]>;
}

/**
 * @param features of host and machine: rows that need others are left out
 * @param only forms whose name matches
 */
export function listForms(features: ReadonlySet<string>, only?: RegExp): FormList {
  const forms: Form[] = [];
  const excluded = new Map<string, string[]>();
  const leaveOut = (reason: string, name: string): void => {
    const names = excluded.get(reason);
    if (names) names.push(name);
    else excluded.set(reason, [name]);
  };
  for (const info of CODES) {
    if (!info) continue;
    const reason = exclusion(info, features);
    if (reason) {
      leaveOut(reason, info.name);
      continue;
    }
    const opcode = CodeExt.opCode(info.code);
    for (const mode of [64, 32] as const) {
      if (!(mode === 64 ? opcode.mode64 : opcode.mode32)) continue;
      const [intel, amd] =
        mode === 64 ? [opcode.intelDecoder64, opcode.amdDecoder64] : [opcode.intelDecoder32, opcode.amdDecoder32];
      if (!intel || !amd) {
        leaveOut('Intel and AMD processors decode these bytes differently', `${info.name} ${mode}`);
        continue;
      }
      const names = Array.from({ length: opcode.opCount }, (_, i) => operandName(opcode, i));
      const always = names.some(alwaysMemory);
      const ways = always ? [true] : names.some(eitherWay) ? [false, true] : [false];
      for (const memory of ways) {
        const form = makeForm(info, opcode, mode, memory);
        if (!only || only.test(form.name)) forms.push(form);
      }
    }
  }
  return { forms, excluded };
}

function exclusion(info: CodeInfo, features: ReadonlySet<string>): string | undefined {
  const { mnemonic, feature } = info.row;
  const reason = REASONS.get(mnemonic);
  if (reason) return reason;
  const excluded = EXCLUDED_CODES.find(([, codes]) => codes.test(info.name));
  if (excluded) return excluded[0];
  if (feature && !features.has(feature)) return `this host or the machine lacks ${feature}`;
  return undefined;
}

export function codeName(code: number): string {
  return CODE_NAMES[code] ?? `code ${code}`;
}
