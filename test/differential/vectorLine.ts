/**
 * A case and what the processor made of it as one line of text, and back: `name mode bytes | inputs | outputs`, numbers in
 * hexadecimal, as in test/vectors, with more to name. README.md beside this file lists the words.
 */
import { Decoder, DecoderOptions, InstructionInfoFactory, Register, RegisterExt } from 'iced-x86';
import { analyze } from './analyze';
import type { Sequence } from './generate';
import { applyPatches } from './native';
import { CODE, Case, CaseFlag, DATA, DATA_BYTES, HLT, LINE, Outcome, SLOT, TEMPLATE } from './protocol';

const GPR = 'rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15'.split(' ');
const SEGMENTS = 'es cs ss ds fs gs'.split(' ');
const DEFAULT_SELECTORS = { 64: [0x2b, 0x33, 0x2b, 0x2b, 0, 0], 32: [0x2b, 0x23, 0x2b, 0x2b, 0, 0] } as const;
/** Where a line's code stands when it does not say: slot 32, as in test/vectors. */
const DEFAULT_RIP = CODE + 32 * SLOT;
/** MXCSR, x87 control and status word, registers that are not empty: what they are when a line does not say. */
const DEFAULT_CONTROL = { mxcsr: 0x1f80, cw: 0x37f, sw: 0, valid: 0 };
const FLAGS_INPUT = 0xcd5;

/** Registers that the code names or implies: all others are zero in the line. */
function usedRegisters(sequence: Sequence): Set<string> {
  const used = new Set<string>(['rsp']);
  const decoder = new Decoder(sequence.mode, sequence.code, DecoderOptions.None);
  const factory = new InstructionInfoFactory();
  while (decoder.canDecode) {
    const x = decoder.decode();
    const info = factory.info(x);
    for (const one of info.usedRegisters()) {
      const full = RegisterExt.fullRegister(one.register);
      used.add(Register[full].toLowerCase().replace('zmm', 'ymm'));
    }
    for (const one of info.usedMemory())
      for (const register of [one.base, one.index])
        used.add(Register[RegisterExt.fullRegister(register)].toLowerCase().replace('zmm', 'ymm'));
    info.free();
    x.free();
  }
  decoder.free();
  factory.free();
  return used;
}

const number = (bytes: Uint8Array): string =>
  Buffer.from(bytes)
    .reverse()
    .toString('hex')
    .replace(/^0+(?=.)/, '');
const isZero = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0);

/** A register that plays no part is zero in the line, before and after. */
function hide(before: Buffer, after: Buffer, at: number, bytes: number): void {
  if (!before.subarray(at, at + bytes).equals(after.subarray(at, at + bytes))) return;
  before.fill(0, at, at + bytes);
  after.fill(0, at, at + bytes);
}

/** @param want what the processor did, for the outputs */
export function caseLine(sequence: Sequence, cases: Buffer, at: number, want: Outcome): string {
  const before = initialOutcome(cases, at);
  const used = usedRegisters(sequence);
  const inputs: string[] = [];
  if (sequence.rip !== DEFAULT_RIP) inputs.push(`at=${sequence.rip.toString(16)}`);
  for (let r = 0; r < 16; r++) {
    const value = before.gpr.subarray(r * 8, r * 8 + 8);
    if (!used.has(GPR[r])) hide(before.gpr, want.gpr, r * 8, 8);
    if (!isZero(value)) inputs.push(`${GPR[r]}=${number(value)}`);
  }
  inputs.push(`flags=${(before.rflags & FLAGS_INPUT).toString(16)}`);
  for (const [i, name] of ['fsbase', 'gsbase'].entries()) {
    const value = before.bases.subarray(i * 8, i * 8 + 8);
    if (!isZero(value)) inputs.push(`${name}=${number(value)}`);
  }
  if (cases.readUInt32LE(at + Case.flags) & CaseFlag.extended) {
    for (const [name, value] of Object.entries(DEFAULT_CONTROL)) {
      const now = { mxcsr: before.mxcsr, cw: before.fcw, sw: before.fsw, valid: before.valid }[name]!;
      if (now !== value) inputs.push(`${name}=${now.toString(16)}`);
    }
    for (let r = 0; r < 8; r++) {
      const value = before.x87.subarray(r * 16, r * 16 + 10);
      if (!isZero(value)) inputs.push(`f${r}=${number(value)}`);
    }
    for (let r = 0; r < 16; r++) {
      const value = before.ymm.subarray(r * 32, r * 32 + 32);
      if (!used.has('ymm' + r)) hide(before.ymm, want.ymm, r * 32, 32);
      if (!isZero(value)) inputs.push(`ymm${r}=${number(value)}`);
    }
  }
  applyPatches(cases, at, (address, bytes) =>
    inputs.push(`[${(address - DATA).toString(16)}]=${Buffer.from(bytes).toString('hex')}`),
  );
  const name = sequence.instructions.map((one) => one.form.info.row.mnemonic.toLowerCase()).join('+');
  return `${name} ${sequence.mode} ${Buffer.from(sequence.code).toString('hex')} | ${inputs.join(' ')} | ${outputs(sequence, before, want).join(' ')}`;
}

function outputs(sequence: Sequence, before: Outcome, want: Outcome): string[] {
  const out: string[] = [];
  const end = sequence.rip + sequence.code.length;
  const finished = want.vector === 13 && want.error === 0 && want.rip[0] === end && want.rip[1] === 0;
  if (!finished) {
    out.push(`fault=${want.vector.toString(16)} error=${want.error.toString(16)} rip=${hex64(want.rip)}`);
    if (want.vector === 14) out.push(`address=${hex64(want.address)}`);
  }
  for (let r = 0; r < 16; r++) changed(out, GPR[r], before.gpr, want.gpr, r * 8, 8);
  out.push(`flags=${(want.rflags & ~0x10202).toString(16)}`);
  for (const [name, a, b] of [
    ['mxcsr', before.mxcsr, want.mxcsr],
    ['cw', before.fcw, want.fcw],
    ['sw', before.fsw, want.fsw],
    ['valid', before.valid, want.valid],
  ] as const)
    if (a !== b) out.push(`${name}=${b.toString(16)}`);
  for (let s = 0; s < 6; s++)
    if (want.selectors[s] !== before.selectors[s]) out.push(`${SEGMENTS[s]}=${want.selectors[s].toString(16)}`);
  changed(out, 'fsbase', before.bases, want.bases, 0, 8);
  changed(out, 'gsbase', before.bases, want.bases, 8, 8);
  for (let r = 0; r < 8; r++) changed(out, 'f' + r, before.x87, want.x87, r * 16, 10);
  for (let r = 0; r < 16; r++) changed(out, 'ymm' + r, before.ymm, want.ymm, r * 32, 32);
  for (let i = 0; i < DATA_BYTES; i++) {
    if (want.memory[i] === before.memory[i]) continue;
    let to = i + 1;
    while (to < DATA_BYTES && to < i + LINE && want.memory[to] !== before.memory[to]) to++;
    out.push(`[${i.toString(16)}]=${want.memory.toString('hex', i, to)}`);
    i = to - 1;
  }
  return out;
}

function hex64(words: Uint32Array): string {
  return ((BigInt(words[1]) << 32n) | BigInt(words[0])).toString(16);
}

function changed(out: string[], name: string, a: Buffer, b: Buffer, at: number, bytes: number): void {
  if (!a.subarray(at, at + bytes).equals(b.subarray(at, at + bytes)))
    out.push(`${name}=${number(b.subarray(at, at + bytes))}`);
}

/** State that a case begins with. */
function initialOutcome(cases: Buffer, at: number): Outcome {
  const out = new Outcome();
  const flags = cases.readUInt32LE(at + Case.flags);
  out.rflags = cases.readUInt32LE(at + Case.rflags);
  out.mxcsr = cases.readUInt32LE(at + Case.mxcsr);
  out.fcw = cases.readUInt16LE(at + Case.fcw);
  out.fsw = cases.readUInt16LE(at + Case.fsw);
  out.valid = cases.readUInt16LE(at + Case.valid);
  cases.copy(out.bases, 0, at + Case.fsBase, at + Case.fsBase + 16);
  cases.copy(out.gpr, 0, at + Case.gpr, at + Case.gpr + 128);
  out.selectors.set(DEFAULT_SELECTORS[flags & CaseFlag.compatibility ? 32 : 64]);
  if (flags & CaseFlag.extended) {
    cases.copy(out.x87, 0, at + Case.x87, at + Case.x87 + 128);
    cases.copy(out.ymm, 0, at + Case.ymm, at + Case.ymm + 512);
  }
  out.memory.set(TEMPLATE);
  applyPatches(cases, at, (address, bytes) => out.memory.set(bytes, address - DATA));
  return out;
}

export interface ParsedLine {
  sequence: Sequence;
  /** The code region and the one case, as a batch has them. */
  code: Uint8Array;
  cases: Buffer;
  want: Outcome;
}

function words(text: string): [name: string, value: string][] {
  return text.trim().split(/\s+/).filter(Boolean).map((word) => {
    const cut = word.indexOf('=');
    return [word.slice(0, cut), word.slice(cut + 1)];
  }); // prettier-ignore
}

/** Little-endian bytes of a hexadecimal number. */
function bytesOf(value: string, length: number): Buffer {
  return Buffer.from(value.padStart(length * 2, '0'), 'hex').reverse();
}

/** Throws an Error for a line that is no vector. */
export function parseLine(line: string): ParsedLine {
  const [head, inputs, outputs] = line.split('|');
  const [name, mode, hex] = head.trim().split(/\s+/);
  if (outputs === undefined || !/^(32|64)$/.test(mode) || !/^([0-9a-f]{2})+$/.test(hex))
    throw new Error(`not a vector: ${line}`);
  const rip = parseInt(new Map(words(inputs)).get('at') ?? DEFAULT_RIP.toString(16), 16);
  const sequence = analyze(name, mode === '32' ? 32 : 64, Buffer.from(hex, 'hex'), rip);
  const code = new Uint8Array(rip - CODE + SLOT).fill(HLT);
  code.set(sequence.code, rip - CODE);
  const cases = Buffer.alloc(Case.end + 16384);
  const control = { ...DEFAULT_CONTROL, flags: 0 };
  const patches: Buffer[] = [];
  for (const [word, value] of words(inputs)) {
    if (setState(cases, word, value)) continue;
    if (word in control) control[word as keyof typeof control] = parseInt(value, 16);
    else if (word.startsWith('[')) patches.push(patch(DATA + parseInt(word.slice(1), 16), Buffer.from(value, 'hex')));
    else if (word !== 'at') throw new Error(`unknown input '${word}'`);
  }
  cases.writeUInt32LE((mode === '32' ? CaseFlag.compatibility : 0) | CaseFlag.extended, Case.flags);
  cases.writeUInt32LE(patches.length, Case.patches);
  cases.writeUInt32LE(rip, Case.rip);
  cases.writeUInt32LE(control.flags, Case.rflags);
  cases.writeUInt32LE(control.mxcsr, Case.mxcsr);
  cases.writeUInt16LE(control.cw, Case.fcw);
  cases.writeUInt16LE(control.sw, Case.fsw);
  cases.writeUInt16LE(control.valid, Case.valid);
  const all = Buffer.concat(patches);
  all.copy(cases, Case.end);
  const size = Case.end + all.length;
  cases.writeUInt32LE(size, Case.size);
  const want = initialOutcome(cases, 0);
  readOutputs(outputs, sequence, want);
  return { sequence, code, cases: cases.subarray(0, size), want };
}

function patch(address: number, bytes: Buffer): Buffer {
  const out = Buffer.alloc(8 + ((bytes.length + 7) & ~7));
  out.writeUInt32LE(address, 0);
  out.writeUInt32LE(bytes.length, 4);
  bytes.copy(out, 8);
  return out;
}

/** A register of a case; false for other words. */
function setState(cases: Buffer, word: string, value: string): boolean {
  const r = GPR.indexOf(word);
  const vector = /^(f|ymm)(\d+)$/.exec(word);
  if (r >= 0) bytesOf(value, 8).copy(cases, Case.gpr + r * 8);
  else if (word === 'fsbase') bytesOf(value, 8).copy(cases, Case.fsBase);
  else if (word === 'gsbase') bytesOf(value, 8).copy(cases, Case.gsBase);
  else if (vector?.[1] === 'f') bytesOf(value, 10).copy(cases, Case.x87 + Number(vector[2]) * 16);
  else if (vector) bytesOf(value, 32).copy(cases, Case.ymm + Number(vector[2]) * 32);
  else return false;
  return true;
}

function readOutputs(text: string, sequence: Sequence, want: Outcome): void {
  want.vector = 13;
  want.rip[0] = sequence.rip + sequence.code.length;
  const wide = (words: Uint32Array, value: string): void => {
    words[0] = Number(BigInt('0x' + value) & 0xffffffffn);
    words[1] = Number(BigInt('0x' + value) >> 32n);
  };
  for (const [word, value] of words(text)) {
    const n = parseInt(value, 16);
    const r = GPR.indexOf(word);
    const s = SEGMENTS.indexOf(word);
    const vector = /^(f|ymm)(\d+)$/.exec(word);
    if (r >= 0) bytesOf(value, 8).copy(want.gpr, r * 8);
    else if (s >= 0) want.selectors[s] = n;
    else if (word === 'fsbase') bytesOf(value, 8).copy(want.bases, 0);
    else if (word === 'gsbase') bytesOf(value, 8).copy(want.bases, 8);
    else if (vector?.[1] === 'f') bytesOf(value, 10).copy(want.x87, Number(vector[2]) * 16);
    else if (vector) bytesOf(value, 32).copy(want.ymm, Number(vector[2]) * 32);
    else if (word.startsWith('[')) Buffer.from(value, 'hex').copy(want.memory, parseInt(word.slice(1), 16));
    else if (word === 'rip') wide(want.rip, value);
    else if (word === 'address') wide(want.address, value);
    else if (word === 'fault') want.vector = n;
    else if (word === 'error') want.error = n;
    else if (word === 'flags') want.rflags = n | 0x202;
    else if (word === 'mxcsr') want.mxcsr = n;
    else if (word === 'cw') want.fcw = n;
    else if (word === 'sw') want.fsw = n;
    else if (word === 'valid') want.valid = n;
    else throw new Error(`unknown output '${word}'`);
  }
}
