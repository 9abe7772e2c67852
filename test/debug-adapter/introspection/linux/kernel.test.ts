import assert from 'node:assert/strict';
import { LinuxKernel } from '../../../../debug-adapter/introspection/linux/kernel';
import { SymbolStore } from '../../../../debug-adapter/symbols/symbolStore';
import type { HitContext, RegisterInfo, StopEvent, Target } from '../../../../debug-adapter/target';
import { buildKallsyms, LAYOUTS, testSymbols, type TestSymbol } from './kallsymsBuilder';
import { bzImage } from './images';

const BANNER = 'Linux version 6.6.1-test (someone@somewhere) (gcc 12) #1 SMP\n';
const LAYOUT = LAYOUTS['6.4, 64 bits'];
const TEXT = 0xffffffff81000000n;
const RODATA = 0xffffffff82000000n;
const OFFSET = 0x16400000n;
const SYSTEM_CALL = TEXT + 0x4000n;

/** .rodata: the banner, then kallsyms, which know where both are. */
function constants(moved = 0n): Uint8Array {
  const symbols: TestSymbol[] = testSymbols(1200, LAYOUT)
    .filter(({ name }) => name !== '_end')
    .concat([
      { type: 'T', name: 'entry_SYSCALL_64', address: SYSTEM_CALL + 0x4000n },
      { type: 'T', name: 'start_kernel', address: TEXT + 0x9000n },
      { type: 'D', name: 'linux_banner', address: RODATA },
    ])
    .map((symbol) => (symbol.perCpu ? symbol : { ...symbol, address: symbol.address + moved }));
  const { data } = buildKallsyms(symbols, LAYOUT, 0);
  const all = new Uint8Array(512 + data.length);
  all.set(new TextEncoder().encode(BANNER));
  all.set(data, 512);
  return all;
}

/** A guest whose kernel half holds `.rodata` and one page of text at an offset, once it is mapped. */
class Guest {
  offset = OFFSET;
  mapped = false;
  rodata = constants();
  registers: Record<string, bigint> = { rip: 0x100000n, cr0: 0x80050033n, IA32_LSTAR: 0n };
  readonly capabilities = { exits: true };

  bitness(): 64 {
    return 64;
  }
  registerInfo(): RegisterInfo[] {
    return Object.keys(this.registers).map((name) => ({ name, group: 'Registers', width: 64, writable: true }));
  }
  async readRegister(_cpu: number, name: string): Promise<bigint> {
    return this.registers[name];
  }
  async readMemory(_space: string, _cpu: number, address: bigint, length: number): Promise<Uint8Array> {
    const at = address - RODATA - this.offset;
    const start = TEXT + this.offset;
    if (this.mapped && at >= 0n && at < BigInt(this.rodata.length))
      return this.rodata.slice(Number(at), Number(at) + length);
    // All between text and constants is mapped, and zero.
    if (!this.mapped || address < start || at >= 0n) return new Uint8Array(0);
    return new Uint8Array(Math.min(length, Number(-at)));
  }
}

interface Bench {
  guest: Guest;
  kernel: LinuxKernel;
  symbols: SymbolStore;
  notes: string[];
  changes: number;
}

function bench(): Bench {
  const guest = new Guest();
  const symbols = new SymbolStore();
  const made: Bench = { guest, symbols, notes: [], changes: 0, kernel: undefined as never };
  made.kernel = new LinuxKernel(guest as unknown as Target, symbols, {
    changed: async () => void made.changes++,
    note: (text) => made.notes.push(text),
  });
  return made;
}

const hitAt = (rip: bigint, replaying = false): HitContext =>
  ({ replaying, register: () => rip }) as unknown as HitContext;
const own: StopEvent = { reason: 'exit', cpu: 0, breakpoints: [-1] };
const pause: StopEvent = { reason: 'pause', cpu: 0 };

describe('the kernel of a session', () => {
  it('has names before boot, at their linked addresses, and moves them once it runs in its half', async () => {
    const { kernel, symbols, guest, notes } = bench();
    kernel.prepare({ name: 'vmlinuz', bytes: bzImage(elfOf(guest.rodata)) });
    assert.match(symbols.loading!, /symbols of the kernel are being read/);
    await kernel.ready;
    assert.equal(symbols.loading, undefined);
    assert.equal(symbols.findSymbol('start_kernel')!.address, TEXT + 0x9000n);
    assert.deepEqual(symbols.addressesForFunction('start_kernel'), [{ address: TEXT + 0x9000n, line: 0 }]);

    // The decompressor accesses control registers, too; history that is replayed is known.
    const [breakpoint] = kernel.exitBreakpoints;
    assert.equal(breakpoint.exit, 'CR_ACCESS');
    assert.equal(breakpoint.hit!(hitAt(0x4a000a0n)), false);
    assert.equal(breakpoint.hit!(hitAt(TEXT + OFFSET, true)), false);
    assert.equal(breakpoint.hit!(hitAt(TEXT + OFFSET)), true);
    assert.ok(kernel.owns(own) && !kernel.owns(pause) && !kernel.owns({ ...own, breakpoints: [-1, 3] }));

    await kernel.stopped(own);
    assert.equal(kernel.place, undefined);
    assert.match(kernel.describe(), /not known yet/);
    guest.mapped = true;
    await kernel.stopped(own);
    assert.equal(kernel.place!.offset, OFFSET);
    assert.equal(symbols.findSymbol('start_kernel')!.address, TEXT + 0x9000n + OFFSET);
    assert.equal(symbols.describeAddress(TEXT + 0x9000n), undefined);
    assert.equal(symbols.describeAddress(TEXT + 0x9005n + OFFSET), 'start_kernel+0x5');
    assert.deepEqual(kernel.exitBreakpoints, []);
    assert.match(notes.join(), /Linux 6\.6\.1-test, KASLR offset 0x16400000 \(linux_banner at 0xffffffff98400000\)/);

    // Another boot may put it elsewhere.
    await kernel.reset();
    assert.equal(kernel.exitBreakpoints.length, 1);
    assert.equal(symbols.findSymbol('start_kernel')!.address, TEXT + 0x9000n);
    guest.offset = 0n;
    await kernel.stopped(pause);
    assert.equal(kernel.place!.offset, 0n);
  });

  it('takes the place of system calls in user space, where little of the kernel is mapped', async () => {
    const { kernel, guest } = bench();
    kernel.prepare({ name: 'vmlinuz', bytes: bzImage(elfOf(guest.rodata)) });
    await kernel.ready;
    guest.registers.IA32_LSTAR = SYSTEM_CALL + 0x4000n + OFFSET + 8n;
    await kernel.stopped(pause);
    assert.equal(kernel.place, undefined, 'no multiple of 2 MiB');
    guest.registers.IA32_LSTAR = SYSTEM_CALL + 0x4000n + OFFSET;
    await kernel.stopped(pause);
    assert.deepEqual(kernel.place, { offset: OFFSET, how: 'IA32_LSTAR' });
  });

  it('does not look while paging is off', async () => {
    const { kernel, symbols, guest } = bench();
    kernel.prepare({ name: 'vmlinuz', bytes: bzImage(elfOf(guest.rodata)) });
    await kernel.stopped(pause); // while the image is being read: nobody waits
    assert.ok(symbols.loading);
    await kernel.ready;
    guest.mapped = true;
    guest.registers.cr0 = 0x11n;
    await kernel.stopped(pause);
    assert.equal(kernel.place, undefined);
  });

  it('reads the symbols in memory where the image could not be read', async () => {
    const { kernel, symbols, guest, notes } = bench();
    kernel.prepare({
      name: 'vmlinuz',
      bytes: bzImage(Uint8Array.from([0x42, 0x5a, 0x68, 0x39, 0, 0, 0, 0, 1, 0, 0, 0])),
    });
    await kernel.ready;
    assert.match(notes[0], /no symbols from its image: bzip2: .*; they are looked for in memory/);
    await kernel.stopped(pause);
    assert.equal(symbols.runtime, undefined);
    // What the kernel moved is moved in its table.
    guest.rodata = constants(OFFSET);
    guest.mapped = true;
    guest.registers.rip = TEXT + OFFSET + 0x100n;
    assert.equal(kernel.exitBreakpoints[0].hit!(hitAt(guest.registers.rip)), true);
    await kernel.stopped(own);
    assert.deepEqual(kernel.place, { offset: OFFSET, how: 'its symbols in memory' });
    assert.equal(symbols.findSymbol('start_kernel')!.address, TEXT + 0x9000n + OFFSET);
    assert.match(
      kernel.describe(),
      /^Linux version 6\.6\.1-test .*\nKASLR offset: 0x16400000, found by its symbols in memory\ntext: from 0xffffffff97400000/,
    );
    await kernel.reset();
    assert.equal(symbols.runtime, undefined);
  });

  it('gives up after some searches, and stops asking after some exits', async () => {
    const { kernel, guest, notes } = bench();
    kernel.prepare({
      name: 'vmlinuz',
      bytes: bzImage(Uint8Array.from([0x42, 0x5a, 0x68, 0x39, 0, 0, 0, 0, 1, 0, 0, 0])),
    });
    guest.mapped = true;
    guest.rodata = new Uint8Array(1000);
    guest.registers.rip = TEXT + OFFSET;
    for (let i = 0; i < 64; i++) await kernel.stopped(own);
    assert.deepEqual(kernel.exitBreakpoints, []);
    assert.match(notes[1], /no symbols in memory: kallsyms: expected a token table/);
    assert.equal(notes.length, 2);
  });

  it("takes a kernel's ELF file without symbols at its linked addresses", async () => {
    const { kernel, symbols, guest } = bench();
    kernel.prepare({ name: 'vmlinux', bytes: elfOf(guest.rodata) });
    await kernel.ready;
    assert.deepEqual(kernel.exitBreakpoints, []);
    assert.equal(kernel.place!.offset, 0n);
    assert.equal(symbols.describeAddress(TEXT + 0x9000n), 'start_kernel');
  });

  it('has nothing to do with other guests', async () => {
    const { kernel, symbols, notes } = bench();
    kernel.prepare({ name: 'boot.bin', bytes: new Uint8Array(4096) });
    await kernel.stopped(pause);
    assert.deepEqual(kernel.exitBreakpoints, []);
    assert.equal(symbols.loading, undefined);
    assert.deepEqual(notes, []);
    assert.match(kernel.describe(), /no Linux kernel is known here/);
  });
});

/** A stripped ELF64 file with .rodata. gABI, "ELF Header", "Sections". */
function elfOf(rodata: Uint8Array): Uint8Array {
  const names = new TextEncoder().encode('\0.rodata\0.shstrtab\0');
  const data = 64;
  const strings = data + rodata.length + ((8 - (rodata.length % 8)) % 8);
  const sections = strings + 24;
  const file = new Uint8Array(sections + 3 * 64);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, true); // ET_EXEC
  view.setUint16(18, 62, true); // EM_X86_64
  view.setUint32(20, 1, true);
  view.setBigUint64(40, BigInt(sections), true);
  view.setUint16(52, 64, true);
  view.setUint16(58, 64, true);
  view.setUint16(60, 3, true);
  view.setUint16(62, 2, true);
  file.set(rodata, data);
  file.set(names, strings);
  const section = (
    i: number,
    name: number,
    type: number,
    flags: bigint,
    address: bigint,
    at: number,
    size: number,
  ): void => {
    const header = sections + 64 * i;
    view.setUint32(header, name, true);
    view.setUint32(header + 4, type, true);
    view.setBigUint64(header + 8, flags, true);
    view.setBigUint64(header + 16, address, true);
    view.setBigUint64(header + 24, BigInt(at), true);
    view.setBigUint64(header + 32, BigInt(size), true);
  };
  section(1, 1, 1, 2n, RODATA, data, rodata.length); // SHT_PROGBITS, SHF_ALLOC
  section(2, 9, 3, 0n, 0n, strings, names.length); // SHT_STRTAB
  return file;
}
