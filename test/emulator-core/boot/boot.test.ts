import assert from 'node:assert/strict';
import { BootError, bootGuest, detectProtocol } from '../../../emulator-core/boot/boot';
import { Writer } from '../../../emulator-core/writer';
import { elf, Memory, note, request, sum, words, type ElfParts } from './images';

const hlt = (length: number): Uint8Array => new Uint8Array(length).fill(0xf4);

/** Multiboot 1 header words followed by code. */
function multiboot(flags: number, fields: number[] = []): Uint8Array {
  return new Writer()
    .bytes(words(0x1badb002, flags, -(0x1badb002 + flags), ...fields))
    .bytes(hlt(64))
    .done();
}

/** Multiboot 2 header with tags, each `[type, flags, ...words]`, and the end tag. */
function multiboot2(...tags: number[][]): Uint8Array {
  const w = new Writer();
  for (const [type, flags, ...values] of [...tags, [0, 0]]) {
    w.align(8)
      .u16(type)
      .u16(flags)
      .u32(8 + values.length * 4)
      .bytes(words(...values));
  }
  const body = w.align(8).done();
  const length = 16 + body.length;
  return new Writer()
    .bytes(words(0xe85250d6, 0, length, -(0xe85250d6 + length)))
    .bytes(body)
    .bytes(hlt(64))
    .done();
}

const at1M = (data: Uint8Array, more: Partial<ElfParts> = {}): Uint8Array =>
  elf({ bits: 32, entry: 0x100040, segments: [{ type: 1, physical: 0x100000, memorySize: 0x3000, data }], ...more });

const refuses = (kernel: Uint8Array, message: RegExp, more: Parameters<typeof request>[1] = {}): void =>
  assert.throws(
    () => bootGuest(request(kernel, more)),
    (e) => e instanceof BootError && (assert.match(e.message, message), true),
  );

describe('multiboot', () => {
  it('loads an ELF image and hands over all of the boot information', () => {
    const boot = request(at1M(multiboot(7)), {
      name: '/some where/my kernel',
      cmdline: 'a=1',
      initrd: hlt(3),
      modules: [{ name: 'mod', data: hlt(5000), cmdline: 'x' }],
    });
    const { entry, protocol } = bootGuest(boot);
    const m = new Memory(boot.memory);
    assert.equal(protocol, 'multiboot');
    assert.equal(entry.rip, 0x100040);
    assert.equal(entry.registers.rax, 0x2badb002);
    assert.equal(entry.cr0, 0x11);
    const info = entry.registers.rbx!;
    assert.equal(m.u32(info), 0x124d);
    assert.deepEqual([m.u32(info + 4), m.u32(info + 8)], [639, 0xef0000 / 1024]);
    assert.equal(m.text(m.u32(info + 16)), 'my_kernel a=1');
    assert.equal(m.u32(info + 20), 2);
    const modules = m.u32(info + 24);
    assert.ok(m.u32(modules) >= 0x103000 && m.u32(modules) % 0x1000 === 0);
    assert.equal(m.u32(modules + 4) - m.u32(modules), 3);
    assert.equal(m.text(m.u32(modules + 24)), 'mod x');
    assert.equal(m.bytes[m.u32(modules + 20) - 1], 0xf4);
    const [length, map] = [m.u32(info + 44), m.u32(info + 48)];
    assert.equal(length, 9 * 24);
    assert.deepEqual([m.u32(map), m.u64(map + 4), m.u64(map + 12), m.u32(map + 20)], [20, 0, 0x9fc00, 1]);
    assert.equal(m.text(m.u32(info + 64)), 'Ringside');
    assert.deepEqual(
      [m.u64(info + 88), m.u32(info + 96), m.u32(info + 100), m.u32(info + 104)],
      [0xb8000, 160, 80, 25],
    );
    assert.deepEqual([m.bytes[info + 108], m.bytes[info + 109]], [16, 2]);
  });

  it('hands over a framebuffer: direct RGB, positions and sizes of the colours', () => {
    const boot = request(at1M(multiboot(7)), { framebuffer: { width: 640, height: 480 } });
    const { entry, framebuffer } = bootGuest(boot);
    const m = new Memory(boot.memory);
    const info = entry.registers.rbx!;
    assert.deepEqual(
      [m.u64(info + 88), m.u32(info + 96), m.u32(info + 100), m.u32(info + 104)],
      [framebuffer!.gpa, 2560, 640, 480],
    );
    assert.deepEqual([...m.bytes.subarray(info + 108, info + 116)], [32, 1, 16, 8, 8, 8, 0, 8]);
  });

  it('loads symbol and string tables beside an ELF image', () => {
    const sections = [
      { name: '.symtab', type: 2, entrySize: 16, link: 2, data: hlt(16) },
      { name: '.strtab', type: 3, data: Uint8Array.of(0, 0x61, 0) },
    ];
    const boot = request(at1M(multiboot(0), { sections }));
    const info = bootGuest(boot).entry.registers.rbx!;
    const m = new Memory(boot.memory);
    assert.ok(m.u32(info) & 0x20);
    assert.deepEqual([m.u32(info + 28), m.u32(info + 32), m.u32(info + 40)], [4, 40, 3]);
    const strtab = m.u32(m.u32(info + 36) + 2 * 40 + 12);
    assert.deepEqual([...m.bytes.subarray(strtab, strtab + 3)], [0, 0x61, 0]);
  });

  it('translates a higher-half entry of an ELF64 image', () => {
    const data = multiboot(0);
    const segments = [{ type: 1, virtual: 0x7fff_0000_0000, physical: 0x100000, data }];
    assert.equal(bootGuest(request(elf({ entry: 0x7fff_0000_0020, segments }))).entry.rip, 0x100020);
  });

  it('loads by address fields, with bss', () => {
    const boot = request(multiboot(0x10000, [0x200000, 0x200000, 0, 0x201000, 0x200020]));
    boot.memory.fill(0xff, 0x200000, 0x202000);
    const { entry } = bootGuest(boot);
    assert.equal(entry.rip, 0x200020);
    assert.equal(new Memory(boot.memory).u32(0x200000), 0x1badb002);
    assert.equal(boot.memory[0x200fff], 0);
    assert.equal(boot.memory[0x201000], 0xff);
  });

  it('refuses what it cannot load', () => {
    refuses(hlt(100), /no multiboot header/, { protocol: 'multiboot' });
    refuses(multiboot(0x10), /require 0x10, which is unknown/);
    refuses(multiboot(0), /must have address fields/);
    refuses(multiboot(0x10000, [0x200000, 0x300000, 0, 0, 0x200020]), /lies before the start of the file/);
    refuses(multiboot(0x10000, [0x200000, 0x200000, 0x900000, 0, 0x200020]), /lies outside the file/);
    refuses(multiboot(0x10000, [0x200000, 0x200000, 0x200040, 0x200010, 0x200020]), /bss end .* before/);
    refuses(multiboot(0x10000, [0x200000, 0x200000, 0, 0, 0x900000]), /entry 0x900000 lies outside/);
    refuses(multiboot(0x10000, [0x80000000, 0x80000000, 0, 0, 0x80000000]), /needs "memory" of at least 2049 MiB/);
    refuses(at1M(multiboot(0), { entry: 0x900000 }), /entry 0x900000 lies outside the loaded segments/);
    refuses(at1M(multiboot(0), { machine: 40 }), /machine 40, expected 3 \(386\) or 62/);
    const low = { bits: 32 as const, entry: 0xb8000, segments: [{ type: 1, physical: 0xb8000, data: multiboot(0) }] };
    refuses(elf(low), /overlaps video memory and the BIOS/);
    refuses(at1M(multiboot(0)), /"cmdline" contains a NUL/, { cmdline: 'a\0b' });
  });
});

describe('multiboot2', () => {
  const tagsOf = (m: Memory, info: number): Map<number, number> => {
    const tags = new Map<number, number>();
    for (let at = info + 8; ; at += Math.ceil(m.u32(at + 4) / 8) * 8) {
      tags.set(m.u32(at), at);
      if (m.u32(at) === 0) {
        assert.equal(at + 8 - info, m.u32(info));
        return tags;
      }
    }
  };

  it('hands over its information tags', () => {
    const sections = [{ name: '.text', type: 1, flags: 2, data: hlt(4) }];
    const boot = request(at1M(multiboot2([1, 0, 4, 6], [5, 0, 80, 25, 0]), { sections }), {
      cmdline: 'quiet',
      modules: [{ name: 'ramdisk', data: hlt(10), cmdline: '' }],
    });
    const { entry, protocol } = bootGuest(boot);
    const m = new Memory(boot.memory);
    assert.equal(protocol, 'multiboot2');
    assert.equal(entry.rip, 0x100040);
    assert.equal(entry.registers.rax, 0x36d76289);
    assert.equal(entry.registers.rbx! % 8, 0);
    const tags = tagsOf(m, entry.registers.rbx!);
    assert.deepEqual([...tags.keys()], [1, 2, 3, 4, 6, 8, 9, 14, 15, 0]);
    assert.equal(m.text(tags.get(1)! + 8), 'k.elf quiet');
    assert.equal(m.text(tags.get(2)! + 8), 'Ringside');
    assert.equal(m.u32(tags.get(3)! + 12) - m.u32(tags.get(3)! + 8), 10);
    assert.equal(m.text(tags.get(3)! + 16), 'ramdisk');
    assert.deepEqual([m.u32(tags.get(6)! + 4), m.u32(tags.get(6)! + 8)], [16 + 9 * 24, 24]);
    assert.deepEqual(
      [m.u64(tags.get(8)! + 8), m.u32(tags.get(8)! + 16), m.bytes[tags.get(8)! + 29]],
      [0xb8000, 160, 2],
    );
    assert.deepEqual([m.u32(tags.get(9)! + 8), m.u32(tags.get(9)! + 12)], [3, 40]);
    assert.equal(sum(m.bytes.subarray(tags.get(15)! + 8, tags.get(15)! + 44)), 0);
  });

  it('takes address and entry tags', () => {
    const file = multiboot2([2, 0, 0x400000, 0xffffffff, 0, 0x402000], [3, 0, 0x400060]);
    const boot = request(file);
    assert.equal(bootGuest(boot).entry.rip, 0x400060);
    assert.equal(new Memory(boot.memory).u32(0x400000), 0xe85250d6);
  });

  it('moves a relocatable image and tells where it lies', () => {
    const file = at1M(multiboot2([10, 0, 0x200000, 0xffffffff, 0x200000, 1]));
    const boot = request(file);
    const { entry } = bootGuest(boot);
    const m = new Memory(boot.memory);
    assert.equal(entry.rip, 0x200040);
    assert.equal(m.u32(0x200000), 0xe85250d6);
    assert.equal(m.u32(tagsOf(m, entry.registers.rbx!).get(21)! + 8), 0x200000);
  });

  it('refuses what it cannot do, and nothing optional', () => {
    refuses(at1M(multiboot2([77, 0])), /type 77 is required, but unknown/);
    bootGuest(request(at1M(multiboot2([77, 1], [1, 1, 99]))));
    refuses(at1M(multiboot2([1, 0, 99])), /requires unknown information 99/);
    refuses(at1M(multiboot2([4, 0, 1])), /EGA text/);
    refuses(at1M(multiboot2([3, 0])), /size 0x8 of type 3, expected 0xc/);
    refuses(multiboot2([2, 0, 0x400000, 0x400000, 0, 0]), /needs an entry address tag/);
    refuses(at1M(multiboot2([10, 0, 0, 0xffffffff, 3, 0])), /expected a power of two/);
    const endless = multiboot2();
    new DataView(endless.buffer).setUint32(20, 0, true);
    refuses(at1M(endless), /size 0x0 does not fit/);
  });
});

describe('PVH', () => {
  const image = (description = words(0x100010)): Uint8Array =>
    elf({
      segments: [
        { type: 1, physical: 0x100000, data: hlt(64) },
        { type: 4, alignment: 4, data: note('Xen', 18, description) },
      ],
    });

  it('passes hvm_start_info version 1', () => {
    const boot = request(image(), { cmdline: 'nopat', initrd: hlt(9) });
    const { entry, protocol } = bootGuest(boot);
    const m = new Memory(boot.memory);
    assert.equal(protocol, 'pvh');
    assert.equal(entry.rip, 0x100010);
    const info = entry.registers.rbx!;
    assert.deepEqual([m.u32(info), m.u32(info + 4), m.u32(info + 8), m.u32(info + 12)], [0x336ec578, 1, 0, 1]);
    assert.equal(m.u64(m.u64(info + 16) + 8), 9);
    assert.equal(m.bytes[m.u64(m.u64(info + 16))], 0xf4);
    assert.equal(m.text(m.u64(info + 24)), 'nopat');
    assert.equal(m.text(m.u64(info + 32), 8), 'RSD PTR ');
    assert.equal(m.u32(info + 48), 9);
    assert.deepEqual([m.u64(m.u64(info + 40) + 8), m.u32(m.u64(info + 40) + 16)], [0x9fc00, 1]);
  });

  it('refuses a bad note or entry', () => {
    refuses(image(words(0x900000)), /PVH entry 0x900000 lies outside the loaded segments/);
    assert.throws(() => bootGuest(request(image(Uint8Array.of(1)))), /PHYS32_ENTRY\): 1 bytes, expected 4 or 8/);
    refuses(at1M(hlt(64)), /not a PVH image/, { protocol: 'pvh' });
  });
});

describe('flat binary and boot sector', () => {
  const sector = (length = 512): Uint8Array => {
    const image = new Uint8Array(length);
    image.set([0xeb, 0xfe]);
    image.set([0x55, 0xaa], 510);
    return image;
  };

  it('enters a flat binary at 1 MiB', () => {
    const boot = request(Uint8Array.of(0xeb, 0xfe), { protocol: 'raw' });
    const { entry } = bootGuest(boot);
    assert.equal(entry.rip, 0x100000);
    assert.equal(entry.segments.cs.attributes, 0xc09b);
    assert.equal(boot.memory[0x100000], 0xeb);
    refuses(hlt(4), /"cmdline": the raw protocol/, { protocol: 'raw', cmdline: 'x' });
    refuses(hlt(4), /"initrd": the raw protocol/, { protocol: 'raw', initrd: hlt(1) });
  });

  it('enters a boot sector at 7C00h in real mode with DL = 80h', () => {
    const boot = request(sector(2048));
    const { entry, protocol, portWrites } = bootGuest(boot);
    assert.equal(protocol, 'bios');
    assert.equal(entry.rip, 0x7c00);
    assert.equal(entry.registers.rdx, 0x80);
    assert.equal(entry.cr0 & 1, 0);
    assert.equal(entry.segments.cs.base, 0);
    assert.deepEqual([...boot.memory.subarray(0x7dfe, 0x7e01)], [0x55, 0xaa, 0]);
    assert.ok(portWrites.some((w) => w.port === 0x21 && w.value === 8));
    refuses(sector().subarray(0, 511), /511 bytes, expected a boot sector/, { protocol: 'bios' });
    refuses(hlt(512), /offset 0x1fe: f4 f4, expected the boot signature 55 aa/, { protocol: 'bios' });
  });
});

describe('protocol detection', () => {
  it('refuses files that declare none', () => {
    refuses(new Uint8Array(), /the file is empty/);
    refuses(hlt(100), /begins with f4 f4 f4 f4.*set "boot" to "raw"/);
    refuses(at1M(hlt(64)), /ELF file without multiboot/);
    refuses(Uint8Array.of(0x1f, 0x8b, 8, 0), /gzip data/);
    assert.equal(detectProtocol(hlt(2)), undefined);
  });
});
