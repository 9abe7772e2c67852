/**
 * Decoded code: micro-ops per physical page and code context. A store into decoded bytes drops the page's micro-ops
 * (self-modifying code); a full cache is emptied.
 */
import { PAGE, Uop } from '../cpu/layout';
import { doubled } from '../doubled';
import type { MachineMemory } from '../mmu/memory';
import { InstructionDecoder, Pseudo, SpecialCode, type DecodeContext } from './decode';

const MAX_BLOCK = 64;
const MAX_CONTEXTS = 480;
/** Pages with micro-ops, over all contexts: each keeps 8 KiB and its micro-ops. */
const MAX_PAGES = 8192;

/** What a micro-op is to its block. */
const Role = { counts: 1, ends: 2, links: 4 } as const;

/** In CodePage.places: a byte of an instruction behind its first. */
const INSIDE = 0xffff;
const NOTHING = new Uint16Array(0);
/** Micro-ops that a page has room for at first. */
const FIRST_UOPS = 16;

export class CodePage {
  /** By page offset: 0, INSIDE, or 1 more than the index in `list`. */
  private places = new Uint16Array(PAGE);
  /** Micro-ops of the instructions decoded, and how many there are: hundreds of thousands in all, too many for JavaScript's heap. */
  private list = new Uint32Array(FIRST_UOPS);
  private count = 0;
  valid = true;
  constructor(
    readonly physical: number,
    readonly context: CodeContext,
  ) {}

  /** The micro-op at a page offset; undefined: none, also beyond the page. */
  uop(offset: number): number | undefined {
    const place = this.places[offset];
    return place === undefined || place === 0 || place === INSIDE ? undefined : this.list[place - 1];
  }

  /** Micro-ops of the instructions decoded. */
  get uops(): Uint32Array {
    return this.list.subarray(0, this.count);
  }

  /** A byte belongs to a decoded instruction. */
  holds(offset: number): boolean {
    return this.places[offset] !== 0;
  }

  /** An instruction was decoded. */
  add(offset: number, uop: number): void {
    if (this.count === this.list.length) this.list = doubled(this.list);
    this.list[this.count++] = uop;
    this.places[offset] = this.count;
  }

  /** Its micro-ops are no longer used. What still refers to the page keeps little of it. */
  release(): void {
    this.valid = false;
    this.places = NOTHING;
    this.list = new Uint32Array(FIRST_UOPS);
    this.count = 0;
  }

  /** Bytes from one offset to before another belong to instructions. */
  cover(from: number, to: number): void {
    for (let i = from; i < to; i++) if (this.places[i] === 0) this.places[i] = INSIDE;
  }
}

export class CodeContext {
  readonly pages = new Map<number, CodePage>();
  constructor(
    readonly id: number,
    readonly decode: DecodeContext,
    /** Page offsets with breakpoints, for the contexts of pages that have some. */
    readonly breakpoints?: ReadonlySet<number>,
  ) {}
}

export class CodeCache {
  private contexts = new Map<string, CodeContext>();
  private readonly byPhysical = new Map<number, CodePage[]>();
  private nextUop: number;
  private pages = 0;
  /** Called when everything was dropped: jump caches must forget. */
  onFlush: () => void = () => {};
  /** Called when a physical page begins or ends to hold decoded code. */
  onCodePage: (physical: number, holdsCode: boolean) => void = () => {};
  /** Called when a page's micro-ops are no longer used, and when the memory of all micro-ops is used anew. */
  onDropped: (page: CodePage) => void = () => {};
  onForgotten: () => void = () => {};
  flushes = 0;
  /** Instructions decoded since the machine was made. */
  decoded = 0;
  /** First micro-ops of what was decoded at a time, in order, and their pages. */
  private readonly starts: number[] = [];
  private readonly startPages: CodePage[] = [];
  /** Of the block that is being decoded, by micro-op. */
  private readonly roles = new Uint8Array(MAX_BLOCK * 2 + 2);

  constructor(
    private readonly memory: MachineMemory,
    private readonly decoder: InstructionDecoder,
  ) {
    this.nextUop = memory.uopBase;
  }

  /** Uop.heat of micro-ops from now on. */
  set heat(heat: number) {
    this.decoder.heat = heat;
  }
  get heat(): number {
    return this.decoder.heat;
  }

  /** The page that a micro-op was decoded from; it may no longer be valid. */
  pageOf(uop: number): CodePage | undefined {
    const { starts } = this;
    let low = 0;
    let high = starts.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (starts[middle] <= uop) low = middle + 1;
      else high = middle;
    }
    return this.startPages[low - 1];
  }

  context(key: string, create: () => { decode: DecodeContext; breakpoints?: ReadonlySet<number> }): CodeContext {
    let context = this.contexts.get(key);
    if (!context) {
      if (this.contexts.size >= MAX_CONTEXTS) this.flush();
      const { decode, breakpoints } = create();
      context = new CodeContext(this.contexts.size, decode, breakpoints);
      this.contexts.set(key, context);
    }
    return context;
  }

  /** Everything is forgotten. */
  flush(): void {
    for (const [physical, pages] of this.byPhysical) {
      for (const page of pages) {
        page.valid = false;
        page.context.pages.delete(physical);
        this.onDropped(page);
      }
      this.onCodePage(physical, false);
    }
    this.onForgotten();
    this.starts.length = 0;
    this.startPages.length = 0;
    this.pages = 0;
    this.contexts = new Map();
    this.byPhysical.clear();
    this.nextUop = this.memory.uopBase;
    this.flushes++;
    this.onFlush();
  }

  page(context: CodeContext, physical: number): CodePage {
    let page = context.pages.get(physical);
    if (!page) {
      if (this.pages >= MAX_PAGES) this.flush();
      this.pages++;
      page = new CodePage(physical, context);
      context.pages.set(physical, page);
      const list = this.byPhysical.get(physical);
      if (list) list.push(page);
      else {
        this.byPhysical.set(physical, [page]);
        this.onCodePage(physical, true);
      }
    }
    return page;
  }

  /** A store to [offset, offset + length) of a physical page: true when it hit decoded code, which is then gone. */
  written(physical: number, offset: number, length: number): boolean {
    const pages = this.byPhysical.get(physical);
    if (!pages) return false;
    const end = Math.min(PAGE, offset + length);
    let hit = false;
    for (const page of pages) for (let i = offset; i < end && !hit; i++) if (page.holds(i)) hit = true;
    if (hit) this.drop(physical);
    return hit;
  }

  /** Drops the micro-ops of a physical page in all contexts. */
  drop(physical: number): void {
    const pages = this.byPhysical.get(physical);
    if (!pages) return;
    for (const page of pages) {
      page.valid = false;
      page.context.pages.delete(physical);
      this.onDropped(page);
      // Jump caches and links may still lead here.
      for (const uop of page.uops) this.memory.i32[(uop + Uop.handler) >> 2] = Pseudo.stale;
      page.release();
    }
    this.pages -= pages.length;
    this.byPhysical.delete(physical);
    this.onCodePage(physical, false);
  }

  /** The micro-op at `offset` of the page, decoded now if need be. `host` is the page's host-physical address. */
  find(page: CodePage, offset: number, host: number): number {
    return page.uop(offset) ?? this.decodeBlock(page, offset, host);
  }

  private decodeBlock(page: CodePage, start: number, host: number): number {
    const room = (MAX_BLOCK * 2 + 2) * Uop.bytes;
    if (this.nextUop + room > this.memory.uopEnd) {
      // The page object stays usable by its owner; the run loop looks everything up again.
      this.flush();
      page = this.page(page.context, page.physical);
    }
    const { decoder, memory } = this;
    const context = page.context;
    const first = this.nextUop;
    this.starts.push(first);
    this.startPages.push(page);
    const { roles } = this;
    let count = 0;
    let at = first;
    let offset = start;
    decoder.begin(context.decode.bitness, memory.u8.subarray(host + start, host + PAGE), start, context.decode);
    for (let instructions = 0; ; instructions++) {
      if (instructions > 0 && (instructions === MAX_BLOCK || offset >= PAGE)) {
        decoder.writePseudo(at, Pseudo.pageEnd, offset);
        at += Uop.bytes;
        break;
      }
      const known = instructions > 0 ? page.uop(offset) : undefined;
      if (known !== undefined) {
        decoder.writePseudo(at, Pseudo.goto, offset);
        memory.i32[(at + Uop.target) >> 2] = known;
        at += Uop.bytes;
        break;
      }
      let status = decoder.next();
      const { end } = context.decode;
      if (end !== undefined && (status === 'truncated' || offset + decoder.length > end)) {
        decoder.refuse(SpecialCode.unfetchable);
        status = 'invalid';
      }
      if (status === 'truncated') {
        // The instruction goes on in the next page: each time it is fetched with both pages as they are mapped.
        decoder.writePseudo(at, instructions > 0 ? Pseudo.pageEnd : Pseudo.assist, offset, SpecialCode.crossPage);
        page.cover(offset, PAGE);
        if (instructions === 0) {
          roles[count++] = Role.counts;
          page.add(offset, at);
          // From the assist to what it has fetched.
          at += Uop.bytes;
          decoder.writePseudo(at, Pseudo.goto, offset);
        }
        at += Uop.bytes;
        break;
      }
      page.add(offset, at);
      if (context.breakpoints?.has(offset)) {
        decoder.writePseudo(at, Pseudo.assist, offset, SpecialCode.breakpoint);
        roles[count++] = 0;
        at += Uop.bytes;
      }
      decoder.write(at, offset, context.decode);
      const ends = decoder.endsBlock;
      roles[count++] = Role.counts | (ends ? Role.ends : 0) | (decoder.linksAhead ? Role.links : 0);
      at += Uop.bytes;
      page.cover(offset + 1, offset + decoder.length);
      offset += decoder.length;
      if (ends && !decoder.fallsThrough) {
        decoder.writePseudo(at, Pseudo.pageEnd, offset);
        at += Uop.bytes;
        break;
      }
    }
    this.nextUop = at;
    this.decoded += count;
    let left = 0;
    for (let i = count - 1; i >= 0; i--) {
      const uop = first + i * Uop.bytes;
      if (roles[i] & Role.ends) left = 0;
      if (roles[i] & Role.counts) left++;
      memory.i32[(uop + Uop.left) >> 2] = left;
      if (roles[i] & Role.links) this.link(page, uop);
    }
    return first;
  }

  /** Links a direct branch to where it goes, if that has been decoded. (What is decoded later, it is linked to when it goes there.) */
  private link(page: CodePage, uop: number): void {
    const { i32 } = this.memory;
    const at = (uop + Uop.target) >> 2;
    if (i32[at] !== 0) return;
    const to = i32[(uop + Uop.ip) >> 2] + i32[(uop + Uop.length) >> 2] + i32[(uop + Uop.immediate) >> 2];
    // A branch to beyond CS's limit has not happened.
    if (to < (page.context.decode.end ?? PAGE)) i32[at] = page.uop(to) ?? 0;
  }
}
