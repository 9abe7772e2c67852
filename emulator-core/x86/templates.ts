/**
 * What instructions were decoded to, to be used again: micro-ops by the bytes before an instruction's constants (displacement and
 * immediate), which alone are read anew. Kernels consist of a few thousand of these heads.
 */
import { ConstantOffsets, OpKind, type Decoder, type Instruction } from 'iced-x86';
import { PAGE, Uop } from '../cpu/layout';
import type { MachineMemory } from '../mmu/memory';

const WORDS = Uop.bytes / 4;
/** Nodes of all trees, 1 KiB each, over which all of them are forgotten; and how many there are at first. */
const MAX_NODES = 8192;
const FIRST_NODES = 256;

/** Bytes of an instruction that are a number, from its first byte on. */
interface Constant {
  at: number;
  size: number;
}

interface Displacement extends Constant {
  addressBits: number;
  /** It counts from the end of the instruction. */
  relative: boolean;
  /** What the micro-op has in addition. */
  more: number;
}

interface Immediate extends Constant {
  signed: boolean;
  /** It is a branch's. */
  branch: boolean;
}

export interface Template {
  code: number;
  length: number;
  repeats: boolean;
  words: Uint32Array;
  displacement?: Displacement;
  immediate?: Immediate;
}

/** Where an instruction's constants are, if a template can be made of it. */
export interface Constants {
  displacement?: Constant;
  immediate?: Immediate;
}

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
  private used = 1;
  private templates: Template[] = [];
  /** First nodes, by what decoding depends on besides the bytes. */
  private roots = new WeakMap<object, number>();

  constructor(private readonly memory: MachineMemory) {}

  /** The first node for instructions decoded in a context. */
  root(context: object): number {
    let root = this.roots.get(context);
    if (root === undefined) this.roots.set(context, (root = this.node()));
    return root;
  }

  /** The template for the instruction at `position`; undefined: there is none, or it would go beyond the bytes. */
  find(root: number, bytes: Uint8Array, position: number): Template | undefined {
    const { nodes } = this;
    let node = root;
    for (let i = position; i < bytes.length; i++) {
      node = nodes[node * 256 + bytes[i]];
      if (node > 0) continue;
      if (node === 0) return undefined;
      const template = this.templates[~node];
      return position + template.length > bytes.length ? undefined : template;
    }
    return undefined;
  }

  /** Keeps what the instruction at `position` was decoded to. Returns the first node for the context, which may be another now. */
  add(context: object, bytes: Uint8Array, position: number, template: Template): number {
    const { length, displacement, immediate } = template;
    const head = Math.min(displacement?.at ?? length, immediate?.at ?? length);
    if (this.used + head > MAX_NODES) this.clear();
    let node = this.root(context);
    for (let i = 0; i < head - 1; i++) {
      const place = node * 256 + bytes[position + i];
      let next = this.nodes[place];
      // node() may make other nodes of this.nodes.
      if (next === 0) this.nodes[place] = next = this.node(place);
      node = next;
    }
    this.nodes[node * 256 + bytes[position + head - 1]] = ~this.templates.length;
    this.templates.push(template);
    return this.root(context);
  }

  private node(from?: number): number {
    if ((this.used + 1) * 256 > this.nodes.length) {
      const more = new Int32Array(this.nodes.length * 2);
      more.set(this.nodes);
      this.nodes = more;
    }
    const node = this.used++;
    if (from !== undefined) this.nodes[from] = node;
    return node;
  }

  private clear(): void {
    this.nodes.fill(0);
    this.used = 1;
    this.templates = [];
    this.roots = new WeakMap();
  }

  /** Writes the micro-op of the instruction at `position` to `at`. */
  write(template: Template, bytes: Uint8Array, position: number, at: number, ip: number): void {
    const { u32, i32 } = this.memory;
    const { words, displacement, immediate } = template;
    const to = at >> 2;
    for (let i = 0; i < WORDS; i++) u32[to + i] = words[i];
    i32[(at + Uop.ip) >> 2] = ip;
    const end = ip + template.length;
    if (displacement) {
      const { size, addressBits, relative, more } = displacement;
      const from = position + displacement.at;
      if (size === 8) this.copy(bytes, from, at + Uop.displacement);
      else {
        let value = signed(bytes, from, size);
        if (relative) value += end;
        if (addressBits === 32) value >>>= 0;
        else if (addressBits === 16) value &= 0xffff;
        this.put(at + Uop.displacement, value + more);
      }
    }
    if (!immediate) return;
    const from = position + immediate.at;
    if (immediate.size === 8) {
      this.copy(bytes, from, at + Uop.immediate);
      return;
    }
    let value = signed(bytes, from, immediate.size);
    if (!immediate.signed) value = immediate.size === 4 ? value >>> 0 : value & (immediate.size === 2 ? 0xffff : 0xff);
    this.put(at + Uop.immediate, value);
    if (!immediate.branch) return;
    const target = end + value;
    i32[(at + Uop.target) >> 2] = target >= 0 && target < PAGE ? 0 : -1;
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
