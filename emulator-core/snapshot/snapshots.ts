/** Snapshots of one machine: all of it as sections of a file, and back. Nothing runs meanwhile. */
import { PAGE } from '../cpu/layout';
import { clearTransient } from '../cpu/savedVcpu';
import { BLOCK } from '../disk/disk';
import { DiskStateBuilder, runsOf } from '../disk/diskState';
import { restoreMachine, saveMachine, type SavedMachine, type StateParts } from '../machine/machineState';
import { clear, isZero } from '../zeros';
import { Writer } from '../writer';
import { checkState, type SnapshotState } from './checkState';
import { section, type Section } from './format';
import { checkHeader, headerOf, mismatch, remarks, type HeaderParts, type SnapshotHeader } from './header';
import { decodePlain, encodePlain } from './plainData';
import { misfit, shapeOf, type Shape } from './shape';
import { SnapshotError } from './snapshotError';
import { sectionsOf, type SnapshotFile, type Turn } from './snapshotFile';

/** Pages or blocks of a section. */
const RUN = 64;
/** Pages that are looked at, or zeroed, between two turns of the event loop. */
const STRIDE = 2048;
/** Bytes of RAM that a checked snapshot keeps expanded; of a larger one the file is expanded anew. */
const KEPT_BYTES = 512 << 20;
/** Exits that go along. */
const EXITS = 1024;
const PAGE_WORDS = PAGE / 4;
const DISK_HEADER = 24;
const RAM_HEADER = 8;

export type Progress = (done: number) => void;

/** A file that has been checked in every part, for the machine that checked it. */
export interface CheckedSnapshot {
  header: SnapshotHeader;
  state: SnapshotState;
  disks: SavedMachine['disks'];
  file: SnapshotFile;
  /** Its sections with RAM, where they are not too many. */
  ram?: Section[];
  /** What the user should know: it was taken with another kernel file, say. */
  remarks: string[];
}

export class Snapshots {
  private readonly shape: Shape;
  /** What the machine says of itself: its files are read once. */
  private own?: SnapshotHeader;

  /** @param parts at power-on: what any later state looks like */
  constructor(
    private readonly parts: StateParts,
    private readonly about: Omit<HeaderParts, 'icount' | 'memory' | 'platform'>,
  ) {
    this.shape = shapeOf(this.state(saveMachine(parts, undefined)));
  }

  private state(saved: SavedMachine): SnapshotState {
    const { retired, clock, scheduler, keys, vcpus, ept, vmm, delivery, guest, monitors, platform } = saved;
    vcpus.forEach(clearTransient);
    const exits = this.parts.vmm.log.newest(EXITS);
    return { retired, clock, scheduler, keys, vcpus, ept, vmm, delivery, guest, monitors, platform, exits };
  }

  private *header(): Generator<void, SnapshotHeader> {
    const { memory, platform, core } = this.parts;
    this.own ??= yield* headerOf({ ...this.about, memory, platform, icount: 0 });
    return { ...this.own, icount: core.retired };
  }

  /** The machine as sections, with undefined where a while has passed. @throws SnapshotError for disks that are too large */
  *sections(progress: Progress = () => undefined): Generator<Uint8Array | undefined, void> {
    const saved = saveMachine(this.parts, undefined);
    const state = this.state(saved);
    const problem = misfit(state, this.shape);
    if (problem) throw new Error(`the machine is in no state to be saved: ${problem}`);
    let count = 0;
    const counted = (bytes: Uint8Array): Uint8Array => {
      count++;
      return bytes;
    };
    const header = this.header();
    let step = header.next();
    for (; !step.done; step = header.next()) yield undefined;
    yield counted(section('HEAD', encodePlain(step.value)));
    yield counted(section('STAT', encodePlain(state)));
    for (const [disk, written] of saved.disks.entries()) {
      const checked = new DiskStateBuilder(this.parts.disks[disk].size);
      for (const { first, contents } of runsOf(written, RUN)) {
        const blocks = typeof contents === 'number' ? [] : contents;
        const number = typeof contents === 'number' ? contents : contents.length;
        const problem = checked.count(first, number, typeof contents === 'number');
        if (problem) throw new SnapshotError(`disk ${disk}: ${problem}`);
        yield counted(section('DISK', new Writer().u32(disk).u32(BLOCK).u64(first).u64(number).done(), ...blocks));
      }
    }
    for (const bytes of this.ramSections(progress)) yield bytes && counted(bytes);
    yield section('END_', new Writer().u32(count).done());
  }

  private *ramSections(progress: Progress): Generator<Uint8Array | undefined, void> {
    const { ram } = this.parts.memory;
    const words = new Int32Array(ram.buffer, ram.byteOffset, ram.length / 4);
    const pages = ram.length / PAGE;
    let start = -1;
    for (let page = 0; page <= pages; page++) {
      const used = page < pages && !isZero(words, page * PAGE_WORDS, (page + 1) * PAGE_WORDS);
      if (start >= 0 && (!used || page - start === RUN)) {
        yield section('RAM_', new Writer().u64(start).done(), ram.subarray(start * PAGE, page * PAGE));
        start = -1;
      }
      if (used && start < 0) start = page;
      if (page % STRIDE === 0) {
        progress(page / pages);
        yield undefined;
      }
    }
  }

  /**
   * Checks all of a file: that it is whole, and that this machine can take it up.
   * @throws SnapshotError that names the file, the place in it and what was expected, or the attribute of launch.json that differs
   */
  async check(file: SnapshotFile, turn: Turn, progress?: Progress): Promise<CheckedSnapshot> {
    const { memory, disks, vcpus } = this.parts;
    const work = this.header();
    let step = work.next();
    for (; !step.done; step = work.next()) await turn();
    const own = step.value;
    const { name } = file;
    let header: SnapshotHeader | undefined;
    let state: unknown;
    const builders = disks.map(({ size }) => new DiskStateBuilder(size));
    let nextPage = 0;
    let ram: Section[] | undefined = [];
    let kept = 0;
    for await (const each of sectionsOf(file, turn, progress)) {
      const where = { name: `'${name}'`, offset: each.offset };
      const wrong = (text: string): SnapshotError =>
        new SnapshotError(`${where.name}, offset 0x${each.offset.toString(16)} of what it expands to: ${text}`);
      if (each.name === 'HEAD') {
        header = checkHeader(name, decodePlain(each.contents, where), own);
        const difference = mismatch(header, own);
        if (difference) throw new SnapshotError(difference);
      } else if (each.name === 'STAT') {
        state = decodePlain(each.contents, where);
        const problem = checkState(state, this.shape, {
          cpus: vcpus.length,
          memory: memory.ramSize,
          eptBytes: memory.eptEnd - memory.eptBase,
          from: { tables: header!.eptBase, memory: header!.ramBase },
          to: { tables: memory.eptBase, memory: memory.ramBase },
        });
        if (problem) throw wrong(problem);
      } else if (each.name === 'DISK') {
        const problem = this.addBlocks(builders, each);
        if (problem) throw wrong(problem);
      } else if (each.name === 'RAM_') {
        const run = pagesOf(each);
        const end = run.first + run.contents.length / PAGE;
        if (!(run.first >= nextPage && end > run.first && Number.isInteger(end) && end * PAGE <= memory.ramSize)) {
          throw wrong(
            `expected pages from ${nextPage} to ${memory.ramSize / PAGE - 1}, got ${run.first} to ${end - 1}`,
          );
        }
        nextPage = end;
        kept += each.contents.length;
        if (kept > KEPT_BYTES) ram = undefined;
        ram?.push(each);
      }
    }
    return {
      header: header!,
      state: state as SnapshotState,
      disks: builders.map((each) => each.state),
      file,
      ram,
      remarks: remarks(header!, own),
    };
  }

  private addBlocks(builders: readonly DiskStateBuilder[], { contents }: Section): string | undefined {
    if (contents.length < DISK_HEADER) return `expected ${DISK_HEADER} bytes`;
    const view = new DataView(contents.buffer, contents.byteOffset, contents.length);
    const disk = view.getUint32(0, true);
    const size = view.getUint32(4, true);
    const first = Number(view.getBigUint64(8, true));
    const count = Number(view.getBigUint64(16, true));
    const bytes = contents.subarray(DISK_HEADER);
    const builder = builders[disk];
    if (!builder) return `expected a disk below ${builders.length}, got ${disk}`;
    if (this.parts.disks[disk].access === 'readonly') return `disk ${disk} can't be written to`;
    if (size !== BLOCK) return `expected blocks of ${BLOCK} bytes, got ${size}`;
    if (bytes.length !== 0 && bytes.length !== count * BLOCK)
      return `expected ${count} blocks, got ${bytes.length} bytes`;
    return builder.add(first, bytes.length === 0 ? count : bytes);
  }

  /**
   * Puts the machine into the state of a snapshot that it has checked.
   * @throws SnapshotError when some part does not take its state: the machine is then as before
   */
  async load(snapshot: CheckedSnapshot, turn: Turn): Promise<void> {
    const { state, disks, file } = snapshot;
    const { exits, ...rest } = state;
    rest.vcpus.forEach(clearTransient);
    const before = saveMachine(this.parts, undefined);
    try {
      restoreMachine(this.parts, { ...rest, disks, inputs: 0 });
    } catch (error) {
      restoreMachine(this.parts, before);
      throw new SnapshotError(`'${file.name}': its state can't be taken up: ${(error as Error).message}`);
    }
    this.parts.vmm.log.adopt(state.vmm.log, exits);
    await this.loadRam(snapshot, turn);
  }

  private async loadRam({ file, ram: kept }: CheckedSnapshot, turn: Turn): Promise<void> {
    const { memory, core } = this.parts;
    const { ram } = memory;
    core.code.flush();
    let page = 0;
    let since = 0;
    /** Up to page `end`: `contents` or zeros. */
    const fill = async (end: number, contents?: Uint8Array): Promise<void> => {
      if (contents) ram.set(contents, page * PAGE);
      while (page < end) {
        const to = Math.min(end, page + STRIDE);
        if (!contents) clear(ram, page * PAGE, to * PAGE);
        since += to - page;
        page = to;
        if (since >= STRIDE) {
          since = 0;
          await turn();
        }
      }
    };
    for await (const each of kept ?? sectionsOf(file, turn)) {
      if (each.name !== 'RAM_') continue;
      const { first, contents } = pagesOf(each);
      await fill(first);
      await fill(first + contents.length / PAGE, contents);
    }
    await fill(ram.length / PAGE);
  }
}

function pagesOf({ contents }: Section): { first: number; contents: Uint8Array } {
  if (contents.length < RAM_HEADER) return { first: NaN, contents };
  const view = new DataView(contents.buffer, contents.byteOffset, contents.length);
  return { first: Number(view.getBigUint64(0, true)), contents: contents.subarray(RAM_HEADER) };
}
