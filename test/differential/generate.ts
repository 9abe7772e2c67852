/**
 * Makes batches of cases: a few hundred code sequences, each with many sets of registers and memory. What a batch holds follows
 * from seed and batch number alone.
 */
import { encode, SLOTS, slotAddress, type Encoded, type MemoryUse } from './encode';
import type { Form } from './forms';
import type { Batch } from './native';
import { CODE, Case, CaseFlag, DATA, DATA_BYTES, HLT, SLOT, STATUS } from './protocol';
import { needsAlignment } from './processors';
import { severalInstructions } from './sequences';
import { pickTarget } from './targets';
import { Random, Values, type ValueKind } from './values';

export interface Sequence {
  /** Of the form, or what kind of sequence it is. */
  name: string;
  mode: 32 | 64;
  rip: number;
  instructions: Encoded[];
  code: Uint8Array;
}
export interface GeneratedBatch extends Batch {
  sequences: Sequence[];
  /** Index into sequences and byte offset in `cases`, by case. */
  sequenceOf: Uint16Array;
  offsets: Uint32Array;
}

/** Sequences of several instructions for one of a single instruction. */
const SEQUENCES = 0.15;
const LARGEST_CASE = Case.end + 3000;
const CX = 1;

export class Generator {
  private readonly buffer: Buffer;
  private readonly words: Uint32Array;
  /** Forms of which no encoding was found. */
  readonly unencoded = new Set<string>();
  /** Of the case being written. */
  private patches = 0;
  private readonly scratch = new Uint32Array(256);
  private readonly scratchBytes = Buffer.from(this.scratch.buffer);

  /** @param datasets cases per sequence */
  constructor(
    private readonly seed: number,
    private readonly sequences: number,
    private readonly datasets: number,
  ) {
    if (sequences * 2 > SLOTS) throw new Error(`at most ${SLOTS / 2} sequences fit the code region`);
    const bytes = sequences * datasets * 1300 + LARGEST_CASE;
    this.buffer = Buffer.from(new ArrayBuffer(Math.ceil(bytes / 8) * 8));
    this.words = new Uint32Array(this.buffer.buffer);
  }

  /** The forms in order, `sequences` of them from `first` on, around the list. The buffers are used again by the next call. */
  batch(number: number, forms: readonly Form[], first: number): GeneratedBatch {
    const random = new Random(Math.imul(this.seed, 0x9e3779b1) + number * 0x85ebca6b);
    const values = new Values(random);
    const sequences: Sequence[] = [];
    for (let i = 0; i < this.sequences; i++) {
      const form = forms[(first + i) % forms.length];
      const rip = slotAddress(sequences.length);
      const sequence = single(random, form, rip);
      if (sequence) sequences.push(sequence);
      else this.unencoded.add(form.name);
      if (sequence && random.chance(SEQUENCES)) {
        const several = severalInstructions(random, forms, form.mode, slotAddress(sequences.length));
        if (several) sequences.push(several);
      }
    }
    const code = new Uint8Array(sequences.length * SLOT).fill(HLT);
    sequences.forEach((sequence) => code.set(sequence.code, sequence.rip - CODE));
    const sequenceOf = new Uint16Array(sequences.length * this.datasets);
    const offsets = new Uint32Array(sequences.length * this.datasets);
    let at = 0;
    let count = 0;
    for (const [index, sequence] of sequences.entries())
      for (let i = 0; i < this.datasets && at + LARGEST_CASE <= this.buffer.length; i++) {
        sequenceOf[count] = index;
        offsets[count] = at;
        at += this.writeCase(random, values, sequence, at, count++);
      }
    return { code, cases: this.buffer.subarray(0, at), count, sequences, sequenceOf, offsets };
  }

  /** Writes a case at byte `at`, a multiple of 8; returns its size. */
  private writeCase(random: Random, values: Values, sequence: Sequence, at: number, id: number): number {
    const { words } = this;
    const w = at >> 2;
    const { instructions, mode } = sequence;
    const wide = instructions.some((one) => one.form.extended);
    const end = wide ? Case.end : Case.x87;
    words.fill(0, w, w + end / 4);
    words[w + Case.id / 4] = id;
    words[w + Case.flags / 4] = (mode === 32 ? CaseFlag.compatibility : 0) | (wide ? CaseFlag.extended : 0);
    words[w + Case.rip / 4] = sequence.rip;
    const direction = instructions.some((one) => one.memory.some((use) => use.string)) ? 0.4 : 0.02;
    words[w + Case.rflags / 4] = (random.u32() & STATUS & ~0x400) | (random.chance(direction) ? 0x400 : 0);
    this.writeControl(random, w, wide);
    const gpr = w + Case.gpr / 4;
    for (let r = 0; r < 16; r++) values.write('int', words, gpr + r * 2);
    // A stack that works, unless a memory use says otherwise.
    words[gpr + 8] = DATA + 0x1000 + random.below(0x80) * 8;
    words[gpr + 9] = 0;
    if (wide) this.writeExtended(random, values, sequence, w);
    let patch = at + end;
    this.patches = 0;
    for (const one of instructions) {
      if (one.repeated) this.writeCount(random, gpr, /^(Ins|Outs)/.test(one.form.info.name));
      if (one.form.values === 'selector') this.writeSelectors(random, values, gpr);
      for (const use of one.memory) patch = this.aim(random, values, sequence, one, use, w, patch);
      if (one.targetRegister >= 0 && random.chance(0.9)) {
        words[gpr + one.targetRegister * 2] = sequence.rip + SLOT - 1 - random.below(4);
        words[gpr + one.targetRegister * 2 + 1] = 0;
      }
    }
    if (instructions.some((one) => /^X(save|rstor)/.test(one.form.info.name))) {
      // Which components: not more than the machine has.
      words[gpr] &= 7;
      words[gpr + 4] = words[gpr + 5] = 0;
    }
    if (mode === 32) for (let r = 0; r < 16; r++) words[gpr + r * 2 + 1] = 0;
    words[w + Case.size / 4] = patch - at;
    words[w + Case.patches / 4] = this.patches;
    return patch - at;
  }

  private writeControl(random: Random, w: number, wide: boolean): void {
    const { words } = this;
    let mxcsr = 0x1f80;
    let control = 0x37f;
    let status = 0;
    let valid = 0;
    if (wide) {
      // Rounding mode, DAZ and FTZ, flags raised already, and now and then some exceptions unmasked.
      const masks = random.chance(0.8) ? 0x1f80 : random.u32() & 0x1f80;
      mxcsr = masks | (random.u32() & (random.chance(0.4) ? 0xe07f : 0x603f));
      if (random.chance(0.5)) mxcsr &= ~0x3f;
      control =
        (random.chance(0.75) ? 0x3f : random.u32() & 0x3f) |
        0x40 |
        (random.u32() & 0xc00) |
        (random.pick([0, 2, 3, 3, 1]) << 8);
      if (random.chance(0.05)) control |= random.u32() & 0x1000;
      status = random.u32() & 0x7f00;
      if (random.chance(0.3)) status |= random.u32() & 0x7f;
      if (!random.chance(0.05)) status &= ~(~control & 0x3f);
      if (status & ~control & 0x3f) status |= 0x8080;
      valid = random.chance(0.7) ? 0xff : random.u32() & 0xff;
    }
    words[w + Case.mxcsr / 4] = mxcsr;
    words[w + Case.fcw / 4] = control | (status << 16);
    words[w + Case.valid / 4] = valid;
  }

  private writeExtended(random: Random, values: Values, sequence: Sequence, w: number): void {
    const { words } = this;
    const kinds = sequence.instructions.map((one) => one.form.values);
    const kind = (): ValueKind =>
      random.chance(0.1) ? random.pick(['int', 'f32', 'f64', 'f16'] as const) : random.pick(kinds);
    for (let r = 0; r < 8; r++) {
      values.write('f80', words, w + Case.x87 / 4 + r * 4);
      // An MMX register is an x87 register with all exponent bits set.
      if (kinds[0] !== 'f80' && random.chance(0.8)) {
        values.write('int', words, w + Case.x87 / 4 + r * 4);
        words[w + Case.x87 / 4 + r * 4 + 2] = 0xffff;
        words[w + Case.x87 / 4 + r * 4 + 3] = 0;
      }
    }
    for (let r = 0; r < 16; r++) {
      const one = kind();
      values.writeMany(
        one === 'f80' || one === 'bcd' || one === 'selector' ? 'int' : one,
        words,
        w + Case.ymm / 4 + r * 8,
        32,
      );
    }
  }

  private writeCount(random: Random, gpr: number, some: boolean): void {
    const n = random.below(20);
    const { words } = this;
    words[gpr + CX * 2 + 1] = random.chance(0.1) ? random.u32() : 0;
    // Whether INS and OUTS check their port when they repeat zero times depends on the processor.
    const count = n < 2 ? 0 : n < 17 ? 1 + random.below(24) : n < 19 ? random.below(600) : random.u32();
    words[gpr + CX * 2] = some ? Math.max(1, count) : count;
  }

  private writeSelectors(random: Random, values: Values, gpr: number): void {
    for (let r = 0; r < 16; r++)
      if (r !== 4 && random.chance(0.8)) {
        values.write('selector', this.words, gpr + r * 2);
        if (random.chance(0.5)) this.words[gpr + r * 2] |= random.u32() & 0xffff0000;
      }
  }

  /** Sets the registers of a memory operand so that it lies in a place chosen, and puts values there. Returns the end of the patches. */
  private aim(
    random: Random,
    values: Values,
    sequence: Sequence,
    one: Encoded,
    use: MemoryUse,
    w: number,
    patch: number,
  ): number {
    const { words } = this;
    const gpr = w + Case.gpr / 4;
    let address: number;
    if (use.fixed !== undefined) address = use.fixed;
    else {
      const target = pickTarget(random, use.bytes);
      address = target.address;
      if (needsAlignment(one.form)) address &= ~15;
      if (use.vector) this.writeIndices(random, use, w);
      let base = address - use.displacement;
      if (use.segment !== 'none') {
        const segment = w + (use.segment === 'fs' ? Case.fsBase : Case.gsBase) / 4;
        const value = random.below(0x400000);
        words[segment] = value;
        base -= value;
      }
      if (use.index >= 0) {
        const index = random.chance(0.8) ? random.below(256) - 128 : random.u32() | 0;
        if (use.base < 0) {
          setWide(words, gpr + use.index * 2, Math.round(base / use.scale));
          address = -1;
        } else {
          setWide(words, gpr + use.index * 2, index);
          base -= index * use.scale;
        }
      }
      if (use.base >= 0) {
        setWide(words, gpr + use.base * 2, base);
        const high = gpr + use.base * 2 + 1;
        if (use.addressBits === 32 && random.chance(0.5)) words[high] = random.u32();
        else if (target.nonCanonical && use.addressBits === 64 && use.segment === 'none')
          words[high] ^= random.pick([0x8000, 0x800000, 0x80000000]);
      }
    }
    if (address < DATA || address + 8 > DATA + DATA_BYTES) return patch;
    return this.patchValues(random, values, sequence, one, use, address, patch);
  }

  /** Elements of a vector index: mostly near, so that most gathered elements lie in data memory. */
  private writeIndices(random: Random, use: MemoryUse, w: number): void {
    const { register, elements, bytes } = use.vector!;
    const at = w + Case.ymm / 4 + register * 8;
    for (let i = 0; i < elements; i++) {
      const value = random.chance(0.97) ? random.below(64) - 32 : random.u32() | 0;
      this.words[at + (i * bytes) / 4] = value;
      if (bytes === 8) this.words[at + i * 2 + 1] = value < 0 ? -1 : 0;
    }
  }

  private patchValues(
    random: Random,
    values: Values,
    sequence: Sequence,
    one: Encoded,
    use: MemoryUse,
    address: number,
    patch: number,
  ): number {
    const { scratch, scratchBytes, words, buffer } = this;
    let bytes = Math.ceil(use.bytes / 8) * 8;
    if (use.target) {
      scratch[0] = sequence.rip + SLOT - 1 - random.below(4);
      scratch[1] = random.chance(0.95) ? 0 : random.u32();
      if (one.form.opcode.operandSize === 16 && random.chance(0.2)) scratch[0] &= 0xffff;
    } else if (use.string) {
      // Repetitions of one element, so that comparisons go on for a while.
      bytes = 64;
      values.write('int', scratch, 0);
      const size = Math.min(8, use.bytes);
      for (let i = size; i < 64; i++)
        scratchBytes[i] = random.chance(0.02) ? random.below(256) : scratchBytes[i - size];
      if (random.chance(0.5)) scratchBytes.fill(0, 0, 64);
      // From where the string runs down, or up.
      if (random.chance(0.3)) address -= 56;
    } else {
      const { values: kind } = one.form;
      bytes = Math.max(8, Math.min(bytes, 512));
      if (kind === 'f80' || kind === 'bcd') bytes = Math.max(16, bytes);
      values.writeMany(kind, scratch, 0, bytes);
      if (/^(Fxrstor|Xrstor|Ldmxcsr|VEX_Vldmxcsr)/.test(one.form.info.name)) this.fixState(random, one);
    }
    const from = Math.max(address, DATA);
    const to = Math.min(address + bytes, DATA + DATA_BYTES);
    if (to <= from) return patch;
    this.patches++;
    words[patch >> 2] = from;
    words[(patch >> 2) + 1] = to - from;
    const padded = (to - from + 7) & ~7;
    buffer.fill(0, patch + 8, patch + 8 + padded);
    scratchBytes.copy(buffer, patch + 8, from - address, to - address);
    return patch + 8 + padded;
  }

  /** Makes an image of MXCSR or FXSAVE mostly loadable: reserved bits clear. */
  private fixState(random: Random, one: Encoded): void {
    const { scratch } = this;
    const at = /mxcsr/i.test(one.form.info.name) ? 0 : 6;
    // AMD processors have a bit more: misaligned exception mask.
    scratch[at] &= ~0x20000;
    if (random.chance(0.1)) return;
    scratch[at] &= 0xffff;
    // Header of an XSAVE area: which components it holds; no compaction.
    if (/^Xrstor/.test(one.form.info.name)) scratch.fill(0, 128, 144);
  }
}

function setWide(words: Uint32Array, at: number, value: number): void {
  words[at] = value % 0x100000000;
  words[at + 1] = Math.floor(value / 0x100000000);
}

function single(random: Random, form: Form, rip: number): Sequence | undefined {
  for (let attempt = 0; attempt < 100; attempt++) {
    const one = encode(random, form, rip, 40);
    if (one) return { name: form.name, mode: form.mode, rip, instructions: [one], code: one.bytes };
  }
  return undefined;
}
