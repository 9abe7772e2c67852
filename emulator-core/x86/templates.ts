/**
 * What instructions were decoded to, to be used again: micro-ops by the bytes before an instruction's constants (displacement and
 * immediate), which alone are read anew. Kernels consist of a few thousand of these heads.
 */
import { ConstantOffsets, OpKind, type Decoder, type Instruction } from 'iced-x86';
import { PAGE, Uop } from '../cpu/layout';
import { doubled } from '../doubled';
import type { MachineMemory } from '../mmu/memory';

const WORDS = Uop.bytes / 4;
/** Nodes of all trees, 1 KiB each, over which all of them are forgotten; and how many there are at first. */
const MAX_NODES = 8192;
const FIRST_NODES = 256;
/** Templates over which all are forgotten: 96 bytes each. */
const MAX_TEMPLATES = 65536;

/** Bytes of an instruction that are a number, from its first byte on. */
interface Constant {
  at: number;
  size: number;
}

/** Where an instruction's constants are, if a template can be made of it. */
export interface Constants {
  displacement?: Constant;
  immediate?: Constant & { signed: boolean; branch: boolean };
}

/** What a template is made of, besides the micro-op. */
export interface TemplateFacts extends Constants {
  code: number;
  length: number;
  repeats: boolean;
  addressBits: number;
  /** The displacement counts from the end of the instruction. */
  relative: boolean;
  /** What the micro-op's displacement has in addition. */
  more: number;
}

/** A template's words: those of the micro-op, then these. */
const Record = {
  /** Code, then length. */
  instruction: WORDS,
  /** Where the displacement is, its size and address bits, a byte each; 0: none. */
  displacement: WORDS + 1,
  immediate: WORDS + 2,
  more: WORDS + 3,
  flags: WORDS + 4,
  words: WORDS + 8,
} as const;
const Flags = { repeats: 1, relative: 2, signed: 4, branch: 8 } as const;

const SIGNED = new Set<number>([
  OpKind.Immediate8to16,
  OpKind.Immediate8to32,
  OpKind.Immediate8to64,
  OpKind.Immediate32to64,
  OpKind.NearBranch16,
  OpKind.NearBranch32,
  OpKind.NearBranch64,
]);
const BRANCHES = new Set<number>([OpKind.NearBranch16, OpKind.NearBranch32, OpKind.NearBranch64]);
const UNSIGNED = new Set<number>([OpKind.Immediate8, OpKind.Immediate16, OpKind.Immediate32, OpKind.Immediate64]);

/** undefined: the constants are of a kind that is rare (two immediates, far pointers). */
export function constantsOf(decoder: Decoder, x: Instruction): Constants | undefined {
  let kind: number | undefined;
  for (let i = 0; i < x.opCount; i++) {
    const one = x.opKind(i);
    if (!SIGNED.has(one) && !UNSIGNED.has(one)) continue;
    if (kind !== undefined) return undefined;
    kind = one;
  }
  const offsets = decoder.getConstantOffsets(x);
  const found = constants(offsets, kind);
  offsets.free();
  return found;
}

function constants(offsets: ConstantOffsets, kind: number | undefined): Constants | undefined {
  if (offsets.hasImmediate2 || offsets.hasImmediate !== (kind !== undefined)) return undefined;
  const found: Constants = {};
  if (offsets.hasDisplacement) {
    found.displacement = { at: offsets.displacementOffset, size: offsets.displacementSize };
  }
  if (kind !== undefined) {
    const at = { at: offsets.immediateOffset, size: offsets.immediateSize };
    found.immediate = { ...at, signed: SIGNED.has(kind), branch: BRANCHES.has(kind) };
  }
  return found;
}

export class Templates {
  /** By node and byte: 0, a further node, or (negative) a template. */
  private nodes = new Int32Array(FIRST_NODES * 256);
  private usedNodes = 1;
  private records = new Int32Array(FIRST_NODES * Record.words);
  private count = 0;
  /** First nodes, by what decoding depends on besides the bytes. */
  private roots = new WeakMap<object, number>();

  constructor(private readonly memory: MachineMemory) {}

  /** The first node for instructions decoded in a context. */
  root(context: object): number {
    let root = this.roots.get(context);
    if (root !== undefined) return root;
    if (this.usedNodes >= MAX_NODES) this.clear();
    this.roots.set(context, (root = this.node()));
    return root;
  }

  /** The template for the instruction at `position`; -1: there is none, or it would go beyond the bytes. */
  find(root: number, bytes: Uint8Array, position: number): number {
    const { nodes } = this;
    let node = root;
    for (let i = position; i < bytes.length; i++) {
      node = nodes[node * 256 + bytes[i]];
      if (node > 0) continue;
      if (node === 0) return -1;
      const template = ~node * Record.words;
      return position + this.length(template) > bytes.length ? -1 : template;
    }
    return -1;
  }

  code(template: number): number {
    return this.records[template + Record.instruction] & 0xffff;
  }
  /** Of the instruction, in bytes. */
  length(template: number): number {
    return this.records[template + Record.instruction] >>> 16;
  }
  /** It has a REP or REPNE prefix. */
  repeats(template: number): boolean {
    return (this.records[template + Record.flags] & Flags.repeats) !== 0;
  }

  /**
   * Keeps what the instruction at `position` was decoded to, the micro-op at `uop`. Returns the first node for the context, which may
   * be another now.
   */
  add(context: object, bytes: Uint8Array, position: number, uop: number, facts: TemplateFacts): number {
    const { length, displacement, immediate } = facts;
    const head = Math.min(displacement?.at ?? length, immediate?.at ?? length);
    if (this.usedNodes + head > MAX_NODES || this.count >= MAX_TEMPLATES) this.clear();
    let node = this.root(context);
    for (let i = 0; i < head - 1; i++) {
      const place = node * 256 + bytes[position + i];
      const next = this.nodes[place] || this.node();
      this.nodes[place] = next;
      node = next;
    }
    this.nodes[node * 256 + bytes[position + head - 1]] = ~this.record(uop, facts);
    return this.root(context);
  }

  private record(uop: number, facts: TemplateFacts): number {
    const { displacement: d, immediate: i } = facts;
    const at = this.count * Record.words;
    if (at === this.records.length) this.records = doubled(this.records);
    const { records } = this;
    const { i32 } = this.memory;
    for (let word = 0; word < WORDS; word++) records[at + word] = i32[(uop >> 2) + word];
    records[at + Record.instruction] = facts.code | (facts.length << 16);
    records[at + Record.displacement] = d ? d.at | (d.size << 8) | (facts.addressBits << 16) : 0;
    records[at + Record.immediate] = i ? i.at | (i.size << 8) : 0;
    records[at + Record.more] = facts.more;
    let flags = 0;
    if (facts.repeats) flags |= Flags.repeats;
    if (facts.relative) flags |= Flags.relative;
    if (i?.signed) flags |= Flags.signed;
    if (i?.branch) flags |= Flags.branch;
    records[at + Record.flags] = flags;
    return this.count++;
  }

  private node(): number {
    if ((this.usedNodes + 1) * 256 > this.nodes.length) this.nodes = doubled(this.nodes);
    return this.usedNodes++;
  }

  private clear(): void {
    this.nodes.fill(0);
    this.usedNodes = 1;
    this.count = 0;
    this.roots = new WeakMap();
  }

  /** Writes the micro-op of the instruction at `position` to `at`. */
  write(template: number, bytes: Uint8Array, position: number, at: number, ip: number): void {
    const { i32 } = this.memory;
    const { records } = this;
    const to = at >> 2;
    for (let i = 0; i < WORDS; i++) i32[to + i] = records[template + i];
    i32[to + (Uop.ip >> 2)] = ip;
    const displacement = records[template + Record.displacement];
    const immediate = records[template + Record.immediate];
    if (displacement) this.displace(template, displacement, bytes, position, at, ip);
    if (immediate) this.fill(template, immediate, bytes, position, at, ip);
  }

  private displace(template: number, place: number, bytes: Uint8Array, position: number, at: number, ip: number): void {
    const { records } = this;
    const from = position + (place & 0xff);
    const size = (place >> 8) & 0xff;
    const addressBits = place >>> 16;
    if (size === 8) {
      this.copy(bytes, from, at + Uop.displacement);
      return;
    }
    let value = signed(bytes, from, size);
    if (records[template + Record.flags] & Flags.relative) value += ip + this.length(template);
    if (addressBits === 32) value >>>= 0;
    else if (addressBits === 16) value &= 0xffff;
    this.put(at + Uop.displacement, value + records[template + Record.more]);
  }

  private fill(template: number, place: number, bytes: Uint8Array, position: number, at: number, ip: number): void {
    const from = position + (place & 0xff);
    const size = (place >> 8) & 0xff;
    if (size === 8) {
      this.copy(bytes, from, at + Uop.immediate);
      return;
    }
    const flags = this.records[template + Record.flags];
    let value = signed(bytes, from, size);
    if (!(flags & Flags.signed)) value = size === 4 ? value >>> 0 : value & (size === 2 ? 0xffff : 0xff);
    this.put(at + Uop.immediate, value);
    if (!(flags & Flags.branch)) return;
    const target = ip + this.length(template) + value;
    this.memory.i32[(at + Uop.target) >> 2] = target >= 0 && target < PAGE ? 0 : -1;
  }

  private put(at: number, value: number): void {
    const { i32 } = this.memory;
    i32[at >> 2] = value | 0;
    i32[(at >> 2) + 1] = Math.floor(value / 0x100000000);
  }

  private copy(bytes: Uint8Array, from: number, to: number): void {
    for (let i = 0; i < 8; i++) this.memory.u8[to + i] = bytes[from + i];
  }
}

function signed(bytes: Uint8Array, at: number, size: number): number {
  if (size === 1) return (bytes[at] << 24) >> 24;
  const low = bytes[at] | (bytes[at + 1] << 8);
  return size === 2 ? (low << 16) >> 16 : low | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
}
