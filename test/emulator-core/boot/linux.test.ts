import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { BootError, bootGuest } from '../../../emulator-core/boot/boot';
import { bzImage, Memory, request } from './images';

describe('Linux boot protocol', () => {
  it('enters a 64-bit image at load + 200h with zero page, identity page tables and the prescribed GDT', () => {
    const boot = request(bzImage(), { cmdline: 'console=ttyS0', initrd: new Uint8Array(5000).fill(7) });
    const { entry, protocol } = bootGuest(boot);
    const m = new Memory(boot.memory);
    assert.equal(protocol, 'linux');
    assert.equal(entry.rip, 0x400200);
    assert.equal(m.bytes[0x400200], 0xf4);
    assert.equal(entry.cr0 >>> 0, 0x80000011);
    assert.equal(entry.efer, 0x500);
    assert.equal(entry.cr4 & 0x20, 0x20);
    assert.equal(entry.rflags, 2);
    assert.equal(entry.segments.cs.selector, 0x10);
    assert.equal(entry.segments.ds.selector, 0x18);
    // Flat descriptors: 64-bit code, writable data. SDM Vol. 3A, "Segment Descriptors".
    const gdt = [0x10, 0x14, 0x18, 0x1c].map((offset) => m.u32(entry.gdtr.base + offset));
    assert.deepEqual(gdt, [0x0000ffff, 0x00af9b00, 0x0000ffff, 0x00cf9300]);
    // Linear 0xfee00000 maps onto itself.
    const pdpt = m.u64(entry.cr3) - 3;
    const directory = m.u64(pdpt + 3 * 8) - 3;
    assert.equal(m.u64(directory + ((0xfee00000 >>> 21) & 511) * 8), 0xfee00083);
    const zp = entry.registers.rsi!;
    assert.equal(m.u32(zp + 0x202), 0x53726448);
    assert.equal(m.bytes[zp + 0x210], 0xff);
    assert.equal(m.u32(zp + 0x214), 0x400000);
    assert.equal(m.text(m.u32(zp + 0x228)), 'console=ttyS0');
    const initrd = m.u32(zp + 0x218);
    assert.equal(m.u32(zp + 0x21c), 5000);
    assert.equal(initrd % 0x1000, 0);
    assert.equal(m.bytes[initrd + 4999], 7);
    assert.equal(m.u64(zp + 0x070), 0xf5a00);
    // E820: 0 to 9fc00h RAM, 1 MiB to the ACPI area RAM.
    assert.equal(m.bytes[zp + 0x1e8], 9);
    const range = (i: number): number[] => [
      m.u64(zp + 0x2d0 + i * 20),
      m.u64(zp + 0x2d8 + i * 20),
      m.u32(zp + 0x2e0 + i * 20),
    ];
    assert.deepEqual(range(0), [0, 0x9fc00, 1]);
    assert.deepEqual(range(3), [0x100000, 0xef0000, 1]);
    assert.deepEqual(range(4), [0xff0000, 0xf000, 3]);
  });

  it('enters an image without 64-bit entry in 32-bit protected mode', () => {
    const { entry } = bootGuest(request(bzImage({ xloadflags: 0 })));
    assert.equal(entry.rip, 0x400000);
    assert.equal(entry.cr0, 0x11);
    assert.equal(entry.efer, 0);
    assert.equal(entry.segments.cs.attributes, 0xc09b);
  });

  it('enters a 64-bit image in 32-bit protected mode when told to, registers as prescribed', () => {
    const boot = request(bzImage(), { linuxEntry: '32-bit' });
    const { entry } = bootGuest(boot);
    // "32-bit Boot Protocol": flat 4-GiB segments in __BOOT_CS 10h and __BOOT_DS 18h, paging and interrupts off,
    // ESI the zero page, EBP, EDI and EBX zero.
    assert.equal(entry.rip, 0x400000);
    assert.deepEqual([entry.cr0, entry.cr4, entry.efer, entry.rflags & 0x200], [0x11, 0, 0, 0]);
    const { cs, ds, es, ss } = entry.segments;
    assert.deepEqual([cs, ds, es, ss].map((s) => [s.selector, s.base, s.limit]), [0x10, 0x18, 0x18, 0x18].map((s) => [s, 0, 0xffffffff])); // prettier-ignore
    assert.deepEqual(Object.keys(entry.registers), ['rsi']);
    const m = new Memory(boot.memory);
    assert.equal(m.u32(entry.registers.rsi! + 0x202), 0x53726448);
    assert.equal(m.u32(entry.registers.rsi! + 0x214), 0x400000);
  });

  it('moves a relocatable kernel that does not fit where it prefers', () => {
    const memory = new Uint8Array(4 << 20);
    const { entry } = bootGuest(request(bzImage({ relocatable: true }), { memory }));
    assert.equal(entry.rip, 0x200200);
  });

  const refuses = (name: string, image: Uint8Array, message: RegExp, more: Parameters<typeof request>[1] = {}) =>
    it(`refuses ${name}`, () =>
      assert.throws(
        () => bootGuest(request(image, { protocol: 'linux', ...more })),
        (e) => e instanceof BootError && (assert.match(e.message, message), true),
      ));
  refuses('a file without header', new Uint8Array(4096), /^k\.elf: no Linux setup header/);
  refuses('a truncated image', bzImage().subarray(0, 0x600), /truncated: the setup header promises 0x800 bytes/);
  refuses('a long command line', bzImage({ cmdlineSize: 4 }), /"cmdline": 5 bytes, .* at most 4/, { cmdline: 'abcde' });
  refuses('too little memory', bzImage({ initSize: 0x4000000 }), /needs "memory" of at least 69 MiB/);
  refuses('modules', bzImage(), /"modules"/, { modules: [{ name: 'm', data: new Uint8Array(1), cmdline: '' }] });
  refuses('an initrd without room', bzImage({ initrdMax: 0x1fffff }), /no room for initrd/, {
    initrd: new Uint8Array(0x200000),
  });
  refuses('memory above 3 GiB', bzImage(), /expected 2 MiB to 3072 MiB/, {
    memory: { length: 0x100000000 } as Uint8Array,
  });

  it('loads memtest86+ as it is on Debian', function () {
    const file = '/boot/memtest86+x64.bin';
    if (!existsSync(file)) {
      console.log('      skipped: package memtest86+ is not installed');
      this.skip();
    }
    const kernel = readFileSync(file);
    const boot = request(kernel, { cmdline: 'console=ttyS0,115200' });
    const { entry } = bootGuest(boot);
    assert.equal(entry.rip, 0x100200);
    assert.deepEqual(
      Buffer.from(boot.memory.subarray(0x100000, 0x100000 + kernel.length - 1536)),
      Buffer.from(kernel.subarray(1536)),
    );
    const half = kernel.subarray(0, 70000);
    assert.throws(() => bootGuest(request(half)), /truncated/);
  });
});

describe('a framebuffer', () => {
  const mode = { width: 800, height: 600 };

  it('is handed over in screen_info as a VESA mode, its memory reserved', () => {
    const boot = request(bzImage(), { framebuffer: mode });
    const { entry, framebuffer } = bootGuest(boot);
    const m = new Memory(boot.memory);
    const zp = entry.registers.rsi!;
    const { gpa } = framebuffer!;
    assert.deepEqual(framebuffer, { ...mode, gpa, pitch: 3200 });
    // struct screen_info: orig_video_isVGA VIDEO_TYPE_VLFB, lfb_width, lfb_height, lfb_depth, lfb_base, lfb_size, lfb_linelength.
    assert.equal(m.bytes[zp + 0x0f], 0x23);
    assert.deepEqual([0x12, 0x14, 0x16].map((at) => m.u32(zp + at) & 0xffff), [800, 600, 32]); // prettier-ignore
    assert.equal(m.u32(zp + 0x18), gpa);
    assert.equal(m.u32(zp + 0x1c) * 0x10000, 0x200000);
    assert.equal(m.u32(zp + 0x24) & 0xffff, 3200);
    // red_size, red_pos, green_size, green_pos, blue_size, blue_pos.
    assert.deepEqual([...m.bytes.subarray(zp + 0x26, zp + 0x2c)], [8, 16, 8, 8, 8, 0]);
    const map = Array.from({ length: m.bytes[zp + 0x1e8] }, (_, i) => {
      const at = zp + 0x2d0 + i * 20;
      return { base: m.u64(at), end: m.u64(at) + m.u64(at + 8), type: m.u32(at + 16) };
    });
    const holder = map.find(({ base, end }) => gpa >= base && gpa + 800 * 600 * 4 <= end);
    assert.equal(holder?.type, 2);
    assert.ok(
      map.every((range, i) => i === 0 || range.base >= map[i - 1].end),
      'ranges do not overlap',
    );
  });

  it('is refused where there is no way to hand it over, or no room', () => {
    assert.throws(
      () => bootGuest(request(Uint8Array.of(0xf4), { framebuffer: mode, protocol: 'raw' })),
      /"display": the raw protocol cannot hand over a framebuffer; linux, multiboot, multiboot2 can/,
    );
    assert.throws(
      () =>
        bootGuest(request(bzImage(), { framebuffer: { width: 1920, height: 1200 }, memory: new Uint8Array(0x800000) })),
      BootError,
    );
  });
});
