/**
 * Listings around an address. Forward is plain decoding; backward starts from where an instruction is known to begin (a symbol, a line of
 * source) or, without any, from where decoding falls into step with what follows. Unreadable memory gives 'invalid' rows.
 */
import { disassemble, type DisassembledInstruction } from '../emulator-core/x86/disassembler';
import { rests } from './introspection/slices';
import type { SymbolStore } from './symbols/symbolStore';
import type { AddressSpace, Target } from './target';

export interface ListingRow {
  address: bigint;
  /** Empty where memory can't be read. */
  bytes: Uint8Array;
  text: string;
  valid: boolean;
  /** 'main', 'main+0x10'. */
  symbol?: string;
  file?: string;
  line?: number;
  column?: number;
}

const MAX_LENGTH = 15;
/** How far back to look for a symbol to start from. */
const MAX_ANCHOR_DISTANCE = 4096n;
/** Bytes decoded ahead of an address to fall into step when there is no symbol. */
const SYNC_DISTANCE = 64n;
/** Bytes decoded forward at once: some milliseconds. */
const FORWARD_BYTES = 1024;
const TOP = (1n << 64n) - 1n;

export class Listing {
  private readonly rest = rests();

  constructor(
    private readonly target: Target,
    private readonly symbols: SymbolStore,
    private readonly cpu: number,
    private readonly space: AddressSpace,
    private readonly bitness: 16 | 32 | 64,
  ) {}

  /** Exactly `count` rows; the row number -instructionOffset is the one at `address`. */
  async rows(address: bigint, instructionOffset: number, count: number): Promise<ListingRow[]> {
    const before = Math.max(0, -instructionOffset);
    const skip = Math.max(0, instructionOffset);
    const after = Math.max(0, count + skip - before);
    const list: DisassembledInstruction[] = before > 0 ? await this.backward(address, before) : [];
    const wantedBefore = list.slice(0, Math.min(before, count));
    const forward = after > 0 ? (await this.forward(address, after)).slice(skip) : [];
    const rows: ListingRow[] = [];
    for (const instruction of [...wantedBefore, ...forward].slice(0, count)) {
      await this.rest();
      rows.push(this.annotate(instruction));
    }
    return rows;
  }

  private annotate(instruction: DisassembledInstruction): ListingRow {
    const { address, bytes, text, valid } = instruction;
    const row: ListingRow = { address, bytes, text, valid };
    if (this.space !== 'virtual') return row;
    const symbol = this.symbols.describeAddress(address);
    if (symbol) row.symbol = symbol;
    const line = this.symbols.lineAt(address);
    if (line) Object.assign(row, { file: line.file, line: line.line, column: line.column });
    return row;
  }

  private readonly resolve = (address: bigint): string | undefined =>
    this.space === 'virtual' ? this.symbols.describeAddress(address) : undefined;

  private read(address: bigint, length: number): Promise<Uint8Array> {
    return this.target.readMemory(this.space, this.cpu, address, length);
  }

  private invalid(address: bigint): DisassembledInstruction {
    return { address, length: 1, bytes: new Uint8Array(0), text: '??', valid: false, isCall: false };
  }

  private async forward(address: bigint, count: number): Promise<DisassembledInstruction[]> {
    const rows: DisassembledInstruction[] = [];
    let at = address;
    while (rows.length < count && at <= TOP) {
      await this.rest();
      const wanted = Math.min((count - rows.length) * MAX_LENGTH, FORWARD_BYTES);
      const bytes = await this.read(at, wanted);
      const found = disassemble(bytes, at, this.bitness, count - rows.length, this.resolve);
      rows.push(...found);
      for (const { length } of found) at += BigInt(length);
      if (found.length > 0) continue;
      // Nothing here, or an instruction that runs into unmapped memory.
      const ahead = bytes.length;
      for (let i = 0; i < Math.max(1, ahead) && rows.length < count; i++, at += 1n) {
        rows.push(
          i < ahead
            ? {
                ...this.invalid(at),
                bytes: bytes.slice(i, i + 1),
                text: `db 0x${bytes[i].toString(16).padStart(2, '0')}`,
              }
            : this.invalid(at),
        );
      }
    }
    while (rows.length < count) rows.push(this.invalid(TOP));
    return rows;
  }

  /** The `count` instructions that end at `address`. */
  private async backward(address: bigint, count: number): Promise<DisassembledInstruction[]> {
    let rows: DisassembledInstruction[] = [];
    let end = address;
    while (rows.length < count && end > 0n) {
      await this.rest();
      const found = await this.stretchBefore(end);
      const add = found.length > 0 ? found : [this.invalid(end - 1n)];
      rows = [...add, ...rows];
      end = add[0].address;
    }
    // Below address 0 there is nothing; clients still expect as many rows as they asked for.
    const missing = Array.from({ length: Math.max(0, count - rows.length) }, () => this.invalid(0n));
    return [...missing, ...rows].slice(-count);
  }

  /** Some instructions that end exactly at `end`; empty where the byte before it can't be read. */
  private async stretchBefore(end: bigint): Promise<DisassembledInstruction[]> {
    const anchor = this.anchorBefore(end);
    const lowest = end > SYNC_DISTANCE ? end - SYNC_DISTANCE : 0n;
    const starts: bigint[] = [];
    if (anchor !== undefined) starts.push(anchor);
    // The farthest start gives decoding the most room to fall into step; a symbol in between is a better start.
    for (let start = anchor !== undefined && anchor > lowest ? anchor + 1n : lowest; start < end; start += 1n)
      starts.push(start);
    const from = starts.reduce((least, start) => (start < least ? start : least), end);
    const memory = await this.readBack(from, end);
    let best: DisassembledInstruction[] = [];
    for (const start of starts) {
      if (start < memory.start) continue;
      const offset = Number(start - memory.start);
      const decoded = disassemble(
        memory.bytes.subarray(offset),
        start,
        this.bitness,
        Number.MAX_SAFE_INTEGER,
        this.resolve,
      );
      const last = decoded[decoded.length - 1];
      if (!last || last.address + BigInt(last.length) !== end) continue;
      if (start === anchor) return decoded;
      if (decoded.every(({ valid }) => valid)) {
        best = decoded;
        break;
      }
      if (best.length === 0) best = decoded;
    }
    // Without an anchor, the first few may still be out of step: keep what follows them.
    return best.length > 8 && anchor === undefined ? best.slice(-(best.length - 4)) : best;
  }

  /** The readable bytes that end at `end`, from `from` at the earliest. */
  private async readBack(from: bigint, end: bigint): Promise<{ start: bigint; bytes: Uint8Array }> {
    const length = Number(end - from);
    const whole = await this.read(from, length);
    if (whole.length === length) return { start: from, bytes: whole };
    // Unmapped memory is in pages: the mapped part begins at the start of one.
    const page = (end - 1n) & ~0xfffn;
    if (page <= from) return { start: end, bytes: new Uint8Array(0) };
    return this.readBack(page, end);
  }

  /** The nearest address before `end` where an instruction surely begins. */
  private anchorBefore(end: bigint): bigint | undefined {
    if (this.space !== 'virtual' || end === 0n) return undefined;
    const before = end - 1n;
    const candidates = [
      this.symbols.lineAt(before)?.low,
      this.symbols.symbolAt(before)?.address,
      this.symbols.functionAt(before)?.low,
    ];
    let best: bigint | undefined;
    for (const address of candidates) {
      if (address === undefined || address > before || end - address > MAX_ANCHOR_DISTANCE) continue;
      if (best === undefined || address > best) best = address;
    }
    return best;
  }
}
