/**
 * The Linux kernel of a session: knows its symbols without a file of symbols, and finds where KASLR put it in time for breakpoints on its
 * first functions.
 *
 * The names come from the bzImage's payload, at their linked addresses, before the guest runs. Once the kernel runs at its virtual address
 * (it loads control registers there, long before start_kernel), the machine stops for a moment that no client sees: the offset is looked
 * for, symbols and breakpoints move, and the run goes on.
 */
import { isElf } from '../../../emulator-core/boot/elf';
import type { LaunchFile } from '../../engines/launch';
import { messageOf } from '../../errors';
import { BtfTypes } from '../../symbols/btf/btfTypes';
import type { SymbolStore } from '../../symbols/symbolStore';
import type { ExitBreakpoint, StopEvent, Target } from '../../target';
import { inSlices, turn } from '../slices';
import { findPlace, inKernelHalf, type KernelPlace } from './kaslr';
import { readKernelImage, readKernelMemory, type KernelImage } from './kernelImage';
import { DEFAULT_TEXT, KERNEL_HALF, kernelAddress, readMemoryImage } from './memoryImage';
import { bzImagePayload, expandPayload } from './payload';

/** Id of the kernel's own breakpoint: those of clients count from 1. */
const OWN_BREAKPOINT = -1;
/** Searches of memory for symbols: each reads the whole kernel. */
const MAX_SEARCHES = 3;
/** Own stops without result, after which only stops of the user's are used. */
const MAX_ATTEMPTS = 64;

export interface KernelListener {
  /** Symbols came or moved, or the own breakpoint did. */
  changed(): Promise<void>;
  note(text: string): void;
}

export class LinuxKernel {
  image: KernelImage | undefined;
  private types: BtfTypes | undefined;
  /** Where the kernel runs; undefined before that is known. */
  place: KernelPlace | undefined;
  /** Resolves when the image has been read, whatever came of it. */
  ready: Promise<void> = Promise.resolve();
  /** A Linux image was booted and its place will show. */
  private awaited = false;
  private attempts = 0;
  /** Looks for symbols in memory so far. */
  private searches = 0;
  private fromMemory = false;
  private problem: string | undefined;

  constructor(
    private readonly target: Target,
    private readonly symbols: SymbolStore,
    private readonly listener: KernelListener,
  ) {}

  /** Begins to read the symbols of what is booted, where it is a bzImage, or a kernel's ELF file without symbols. */
  prepare({ bytes }: LaunchFile): void {
    const payload = bzImagePayload(bytes);
    const stripped = !payload && isElf(bytes) && !this.symbols.files.some(({ symbols }) => symbols.size > 0);
    if (!payload && !stripped) return;
    this.awaited = payload !== undefined;
    this.symbols.loading = 'the symbols of the kernel are being read';
    this.ready = this.read(payload ?? bytes);
  }

  private async read(payload: Uint8Array): Promise<void> {
    await turn(); // a machine has just been made: that was long enough
    try {
      this.use(await readKernelImage(await expandPayload(payload), 'the image of the kernel'));
      if (!this.awaited) this.place = { offset: 0n, how: 'being started where it was linked, as an ELF file' };
    } catch (error) {
      this.problem = messageOf(error);
      if (this.awaited)
        this.listener.note(`kernel: no symbols from its image: ${this.problem}; they are looked for in memory`);
    }
    this.symbols.loading = undefined;
    await this.listener.changed();
  }

  private use(image: KernelImage): void {
    this.image = image;
    this.symbols.runtime = image.symbols;
    for (const problem of image.problems) this.listener.note(`kernel: ${problem}`);
    this.types = image.btf && new BtfTypes('vmlinux (BTF)', image.btf);
    if (!this.types) return;
    this.symbols.addTypes(this.types);
    void inSlices(this.types.prepare()); // whoever needs them earlier goes on with it
  }

  /** What must stop the machine, unseen by the client: control register accesses in the kernel's half, while its place is wanted. */
  get exitBreakpoints(): ExitBreakpoint[] {
    const wanted = this.awaited && !this.place && this.attempts < MAX_ATTEMPTS && this.target.capabilities.exits;
    if (!wanted) return [];
    const hit: ExitBreakpoint['hit'] = (context) =>
      // Before the image is read: anything above the identity-mapped part.
      !context.replaying && inKernelHalf(context, this.image?.signature.lowest ?? KERNEL_HALF.narrow);
    return [{ id: OWN_BREAKPOINT, exit: 'CR_ACCESS', hit }];
  }

  /** Whether a stop is one of the kernel's own, and of nobody else's. */
  owns({ breakpoints }: StopEvent): boolean {
    return breakpoints?.length === 1 && breakpoints[0] === OWN_BREAKPOINT;
  }

  /** At every stop, before anybody looks at symbols: finds the kernel's place where it is still wanted. */
  async stopped(event: StopEvent): Promise<void> {
    if (!this.awaited || this.place) return;
    const own = event.breakpoints?.includes(OWN_BREAKPOINT) ?? false;
    // The kernel does not run before the own stop: only that one waits for its names.
    if (own) await this.ready;
    else if (this.symbols.loading) return;
    if (!this.image) await this.readMemory(event.cpu);
    else {
      const found = await findPlace(this.target, event.cpu, this.image.signature);
      if (found) await this.moveTo(found);
    }
    if (own && !this.place && ++this.attempts >= MAX_ATTEMPTS) await this.listener.changed();
  }

  /** The kernel's own table in memory, of a kernel whose image could not be read. */
  private async readMemory(cpu: number): Promise<void> {
    const inside = await kernelAddress(this.target, cpu);
    if (inside === undefined || this.searches >= MAX_SEARCHES) return;
    this.searches++;
    try {
      this.use(await readKernelMemory(await readMemoryImage(this.target, cpu, inside)));
      const { lowest, wide } = this.image!.signature;
      this.fromMemory = true;
      // Addresses in memory have been moved already.
      this.place = { offset: wide ? lowest - DEFAULT_TEXT : 0n, how: 'its symbols in memory' };
      this.listener.note(`kernel: ${this.summary()}`);
      await this.listener.changed();
    } catch (error) {
      this.problem = messageOf(error);
      if (this.searches === MAX_SEARCHES) this.listener.note(`kernel: no symbols in memory: ${this.problem}`);
    }
  }

  /** The machine stands in the middle of a run that nobody followed: a snapshot's. */
  async arrived(): Promise<void> {
    await this.ready;
    await this.stopped({ reason: 'entry', cpu: 0 });
  }

  /** The machine was reset, or became another: the kernel comes anew, and elsewhere. */
  async reset(): Promise<void> {
    this.attempts = 0;
    this.searches = 0;
    if (!this.place || !this.awaited) return;
    this.place = undefined;
    if (this.fromMemory) {
      this.image = undefined;
      this.symbols.runtime = undefined;
      if (this.types) this.symbols.removeTypes(this.types);
      this.types = undefined;
      this.fromMemory = false;
    } else this.setOffset(0n);
    await this.listener.changed();
  }

  private async moveTo(place: KernelPlace): Promise<void> {
    this.place = place;
    this.setOffset(place.offset);
    this.listener.note(`kernel: ${this.summary()}`);
    await this.listener.changed();
  }

  /** Moves the symbols, and files of the same kernel that launch.json gives no offset for. */
  private setOffset(offset: bigint): void {
    const { symbols, signature } = this.image!;
    for (const file of this.symbols.files) {
      if (file.offset !== 0n && file.offset !== symbols.offset) continue;
      if (file.symbols.find('linux_banner')?.address === signature.bannerAddress) file.setOffset(offset);
    }
    symbols.offset = offset;
  }

  private summary(): string {
    const release = /^Linux version (\S+)/.exec(this.image!.banner)?.[1] ?? '';
    const { offset, how } = this.place!;
    return `Linux ${release}, KASLR offset 0x${offset.toString(16)} (${how})`;
  }

  /** For `info kernel`. */
  describe(): string {
    const { image, place } = this;
    if (this.symbols.loading) return this.symbols.loading;
    if (!image) return this.problem ? `no symbols: ${this.problem}` : 'no Linux kernel is known here';
    const { symbols, signature, btf } = image;
    const where = place
      ? `KASLR offset: 0x${place.offset.toString(16)}, found by ${place.how}`
      : 'KASLR offset: not known yet, the kernel does not run at its virtual address';
    const text = signature.lowest + symbols.offset;
    return [
      image.banner,
      where,
      `text: from 0x${text.toString(16)}`,
      `symbols: ${symbols.status}`,
      `stacks: ${symbols.orc ? `ORC, ${symbols.orc.size} entries` : 'frame pointers'}`,
      `types: ${btf ? `BTF, ${btf.length} bytes` : 'none'}`,
    ].join('\n');
  }
}
