/** Objects of a stopped Linux kernel in guest memory, by its own types: what lists of tasks, modules and messages are read with. */
import { littleEndian } from '../../expression/access';
import { strip, type Type } from '../../symbols/dwarf/types';
import type { SymbolStore } from '../../symbols/symbolStore';
import type { Target } from '../../target';
import { rests } from '../slices';

/** Where a member is in its struct: bytes, and for a bit field its bits. */
export interface Field {
  offset: number;
  size: number;
  bitOffset?: number;
  bitSize?: number;
}

/** No struct of the kernel's that is read here has more bytes; types may be the guest's. */
const LARGEST = 1 << 16;

/** Bytes that are read at a time. */
const PIECE = 1 << 20;

export interface KernelContext {
  target: Pick<Target, 'readMemory'>;
  symbols: Pick<SymbolStore, 'findSymbol' | 'findType'>;
  /** The vCPU whose page tables are used. */
  cpu: number;
  /** The kernel is a 64-bit one. */
  wide: boolean;
  /** The client gives the command up. */
  signal?: AbortSignal;
}

export class KernelMemory {
  /** Bytes of a pointer and of a long. */
  readonly word: 4 | 8;
  private readonly rest = rests();

  /** @param what is wanted of the kernel, for messages: 'info tasks' */
  constructor(
    private readonly context: KernelContext,
    private readonly what: string,
  ) {
    this.word = context.wide ? 8 : 4;
  }

  /** Run-time address of one of the kernel's own. @throws Error when the kernel has it not */
  address(name: string): bigint {
    const found = this.context.symbols.findSymbol(name);
    if (found) return found.address;
    const hint = 'its table has data only with CONFIG_KALLSYMS_ALL';
    throw new Error(`${this.what}: expected the symbol ${name}, which this kernel has not (${hint})`);
  }

  /** A struct of the kernel's. @throws Error when its types are not known, or it has it not */
  struct(name: string): Struct {
    const type = this.context.symbols.findType(`struct ${name}`);
    const found = type && strip(type);
    if (found?.kind === 'struct' && found.size && found.size <= LARGEST) return new Struct(name, found, this.what);
    const why = this.context.symbols.findType('struct list_head')
      ? `struct ${name}, which this kernel has not`
      : 'the types of the kernel: BTF (CONFIG_DEBUG_INFO_BTF), or a vmlinux with debug information in "symbols"';
    throw new Error(`${this.what}: expected ${why}`);
  }

  /** All of `length` bytes. @throws Error when they are not mapped, or the client has given up */
  async bytes(address: bigint, length: number, whose: string): Promise<Uint8Array> {
    if (length <= PIECE) return this.piece(address, length, whose);
    const whole = new Uint8Array(length);
    for (let at = 0; at < length; at += PIECE)
      whole.set(await this.piece(address + BigInt(at), Math.min(PIECE, length - at), whose), at);
    return whole;
  }

  private async piece(address: bigint, length: number, whose: string): Promise<Uint8Array> {
    const { target, cpu, signal } = this.context;
    if (signal?.aborted) throw new Error(`${this.what}: cancelled`);
    await this.rest();
    const data = await target.readMemory('virtual', cpu, address, length);
    if (data.length === length) return data;
    const at = BigInt.asUintN(64, address + BigInt(data.length)).toString(16);
    throw new Error(`${this.what}: ${whose} at 0x${address.toString(16)} can't be read: 0x${at} is not mapped`);
  }

  /** The bytes of an object. @throws Error when they are not mapped */
  async object(struct: Struct, address: bigint): Promise<KernelObject> {
    return new KernelObject(address, await this.bytes(address, struct.size, `struct ${struct.name}`), this.word);
  }

  async pointer(address: bigint, whose: string): Promise<bigint> {
    return littleEndian(await this.bytes(address, this.word, whose));
  }

  /** Characters up to a NUL. */
  async text(address: bigint, length: number, whose: string): Promise<string> {
    return untilNul(await this.bytes(address, length, whose));
  }

  /**
   * Addresses of the objects of a list, as list_for_each_entry() comes to them.
   * @param head of its struct list_head
   * @param offset of the link in an object
   * @param most what no list of a sound kernel is longer than
   */
  async *list(head: bigint, offset: number, most: number, whose: string): AsyncGenerator<bigint, void> {
    const seen = new Set<bigint>([head]);
    let at = await this.pointer(head, whose);
    while (at !== head) {
      if (seen.has(at)) throw new Error(`${this.what}: ${whose} leads back to 0x${at.toString(16)}, not to its head`);
      if (seen.size > most) throw new Error(`${this.what}: ${whose} has more than ${most} entries`);
      seen.add(at);
      yield BigInt.asUintN(64, at - BigInt(offset));
      at = await this.pointer(at, whose);
    }
  }
}

export class Struct {
  readonly size: number;

  constructor(
    readonly name: string,
    private readonly type: Type & { kind: 'struct' },
    private readonly what: string,
  ) {
    this.size = type.size!;
  }

  /** A member, also one of an anonymous struct, or of one that is a member: 'core_layout.base'. */
  find(path: string): Field | undefined {
    let type: Type = this.type;
    let offset = 0;
    let field: Field | undefined;
    for (const name of path.split('.')) {
      const member = memberOf(type, name);
      if (!member) return undefined;
      offset += member.offset;
      type = member.type;
      field = { offset, size: strip(type).size ?? 0, bitOffset: member.bitOffset, bitSize: member.bitSize };
    }
    // What a type says is not taken for granted: the guest may have given it.
    return field && field.offset + field.size <= this.size ? field : undefined;
  }

  /** The same. @throws Error when there is none */
  field(path: string): Field {
    const found = this.find(path);
    if (!found) throw new Error(`${this.what}: expected struct ${this.name} to have ${path}, which it has not`);
    return found;
  }
}

/** Nesting of anonymous structs. */
const MAX_DEPTH = 8;

interface Place {
  type: Type;
  offset: number;
  bitOffset?: number;
  bitSize?: number;
}

function memberOf(type: Type, name: string, depth = 0): Place | undefined {
  const struct = strip(type);
  if (struct.kind !== 'struct' || depth > MAX_DEPTH) return undefined;
  for (const member of struct.members()) {
    if (member.name === name) return member;
    const inner = member.name === '' ? memberOf(member.type, name, depth + 1) : undefined;
    if (inner) return { ...inner, offset: member.offset + inner.offset };
  }
  return undefined;
}

/** The bytes of an object, as they were when it was read. */
export class KernelObject {
  constructor(
    readonly address: bigint,
    private readonly data: Uint8Array,
    private readonly word: 4 | 8,
  ) {}

  /** An unsigned number of any size up to 8 bytes; of a bit field, its bits. */
  wide({ offset, size, bitOffset = 0, bitSize }: Field): bigint {
    const value = littleEndian(this.data.subarray(offset, offset + Math.min(size, 8)));
    return bitSize ? BigInt.asUintN(bitSize, value >> BigInt(bitOffset)) : value;
  }

  number(field: Field): number {
    return Number(this.wide(field));
  }

  signed(field: Field): number {
    return Number(BigInt.asIntN(Math.min(field.size, 8) * 8, this.wide(field)));
  }

  pointer({ offset }: Field): bigint {
    return littleEndian(this.data.subarray(offset, offset + this.word));
  }

  /** Characters up to a NUL, what is not printable as in C. */
  text({ offset, size }: Field): string {
    return untilNul(this.data.subarray(offset, offset + size));
  }

  /** Address of a member. */
  at({ offset }: Field): bigint {
    return this.address + BigInt(offset);
  }
}

function untilNul(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return printable(end < 0 ? bytes : bytes.subarray(0, end));
}

/** UTF-8 as it is, but control characters, which would act on a terminal, as \\x1b. */
export function printable(bytes: Uint8Array): string {
  const text = new TextDecoder().decode(bytes);
  return text.replace(/[\x00-\x08\x0b-\x1f\x7f]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`);
}
