/** The 16-bit entry and what decides between entries. Facts: Linux, Documentation/arch/x86/boot.rst. */
import assert from 'node:assert/strict';
import { BootError, bootGuest, type BootRequest } from '../../../emulator-core/boot/boot';
import { videoMode } from '../../../emulator-core/boot/linuxRealMode';
import { Disk } from '../../../emulator-core/disk/disk';
import { memoryImage, rawContents } from '../../../emulator-core/disk/image';
import { fromHex, TestMachine } from '../testMachine';
import { bzImage, Memory, request } from './images';

/**
 * Real-mode code, from offset 268h of its segment on, as setup code does it: INT 15h E820 to offset 400h, prints '!' by INT 10h, opens
 * A20 by INT 15h 2401h, loads a GDT, goes to protected mode and jumps to code32_start. It halts when the BIOS reports a failure.
 */
const SETUP = fromHex(
  '66b820e800006631db66b91400000066ba50414d5366bf00040000cd157243b8210ebb0700cd10b80124cd157234fa66' +
    '31db8cdb66c1e30466678d83dc02000066a3d8020f0116d6020f20c00c010f22c066678d83fc02000066a3d00266ff2e' +
    'd002f4ebfd9090900000000010001f000000000000000000000000000000000000000000ffff0000009bcf00ffff0000' +
    '0093cf0066b818008ed88ed089deffa314020000',
);

describe('Linux entries', () => {
  describe('16-bit', () => {
    it('puts real-mode code, heap and command line as boot.rst lays them out', () => {
      const initrd = new Uint8Array(5000).fill(7);
      const boot = request(bzImage(), { linuxEntry: '16-bit', cmdline: 'vga=ask quiet', initrd });
      const { entry, realMode } = bootGuest(boot);
      const m = new Memory(boot.memory);
      assert.equal(realMode, true);
      // CS is 20h above the segment that DS, ES, SS, FS and GS have; IP is 0, SP the heap's end.
      const { cs, ...others } = entry.segments;
      const segment = cs.selector - 0x20;
      assert.deepEqual([entry.rip, entry.cr0 & 1, entry.rflags & 0x200], [0, 0, 0]);
      assert.equal(cs.base, cs.selector * 16);
      for (const each of Object.values(others)) assert.deepEqual([each.selector, each.base], [segment, segment * 16]);
      const base = segment * 16;
      assert.equal(entry.registers.rsp, m.u16(base + 0x224) + 0x200);
      assert.equal(m.u32(base + 0x202), 0x53726448);
      assert.equal(m.bytes[base + 0x210], 0xff);
      assert.equal(m.bytes[base + 0x211], 0x81); // LOADED_HIGH, CAN_USE_HEAP
      assert.equal(m.u16(base + 0x1fa), 0xfffd); // vga=ask
      assert.equal(m.u32(base + 0x214), 0x400000);
      const cmdline = m.u32(base + 0x228);
      assert.equal(m.text(cmdline), 'vga=ask quiet');
      assert.ok(cmdline >= base + entry.registers.rsp! && cmdline < 0xa0000);
      assert.deepEqual([m.bytes[m.u32(base + 0x218)], m.u32(base + 0x21c)], [7, 5000]);
      assert.equal(m.bytes[0x400000], 0xf4);
    });

    it('hands the command line of protocol 2.01 over at 90000h by magic number and offset', () => {
      const boot = request(bzImage({ version: 0x201 }), { cmdline: 'root=/dev/fd0' });
      const { entry } = bootGuest(boot);
      const m = new Memory(boot.memory);
      assert.equal(entry.segments.cs.selector, 0x9020);
      assert.equal(m.u16(0x90020), 0xa33f);
      assert.equal(m.text(0x90000 + m.u16(0x90022)), 'root=/dev/fd0');
      assert.equal(m.u16(0x90224), m.u16(0x90022) - 0x200);
      assert.equal(m.bytes[0x100000], 0xf4); // no pref_address yet
    });

    it("puts a zImage's protected-mode part at 10000h, the real-mode code at 90000h", () => {
      const boot = request(bzImage({ loadflags: 0 }));
      const { entry } = bootGuest(boot);
      assert.equal(entry.segments.cs.selector, 0x9020);
      assert.equal(boot.memory[0x10000], 0xf4);
      assert.equal(new Memory(boot.memory).u32(0x90214), 0x100000); // as in the image
    });

    it('runs setup code that asks the BIOS and goes to protected mode by itself', () => {
      // mov al, 0; out 0f4h, al
      const kernel = bzImage({ setup: SETUP, payload: Uint8Array.of(0xb0, 0x00, 0xe6, 0xf4) });
      const test = new TestMachine({
        kernel: { name: 'k', kernel, protocol: 'auto', linuxEntry: '16-bit', cmdline: '', modules: [] },
      });
      assert.equal(test.machine.run(100_000), 'ended');
      assert.deepEqual(test.machine.end, { kind: 'debug exit', value: 0 });
      assert.equal(test.console, '!');
      assert.deepEqual(test.notes, []);
      const base = test.machine.boot.entry.segments.ds.base;
      const m = new Memory(test.machine.memory.ram);
      assert.deepEqual([m.u64(base + 0x400), m.u64(base + 0x408), m.u32(base + 0x410)], [0, 0x9fc00, 1]);
    });

    it("has the guest's first disk as drive 80h, and none without", () => {
      // mov ah, 41h; mov bx, 55aah; mov dl, 80h; int 13h; sbb al, al; out 0f4h, al
      const setup = fromHex('b441bbaa55b280cd1318c0e6f4');
      const kernel = { name: 'k', kernel: bzImage({ setup }), cmdline: '', modules: [] };
      const disk = new Disk(rawContents(memoryImage('disk', new Uint8Array(1 << 20))), 'snapshot');
      for (const [disks, value] of [
        [[disk], 0],
        [[], 0xff],
      ] as const) {
        // prettier-ignore
        const test = new TestMachine({ disks, kernel: { ...kernel, protocol: 'auto', linuxEntry: '16-bit' } });
        test.machine.run(100_000);
        assert.deepEqual(test.machine.end, { kind: 'debug exit', value });
      }
    });

    it('finds the date and time by INT 1Ah', () => {
      // mov ah, 2; int 1ah; mov [400h], cx; mov ah, 4; int 1ah; mov [402h], cx; mov [404h], dx; mov al, 0; out 0f4h, al
      const setup = fromHex('b402cd1a890e0004b404cd1a890e020489160404b000e6f4');
      const kernel = { name: 'k', kernel: bzImage({ setup }), cmdline: '', modules: [] };
      const startTime = Date.UTC(2024, 1, 29, 21, 47, 5);
      const test = new TestMachine({ startTime, kernel: { ...kernel, protocol: 'auto', linuxEntry: '16-bit' } });
      test.machine.run(100_000);
      const at = test.machine.boot.entry.segments.ds.base + 0x400;
      // BCD: hours and minutes, century and year, month and day.
      assert.deepEqual([...test.read(at, 6)], [0x47, 0x21, 0x24, 0x20, 0x29, 0x02]);
      assert.deepEqual(test.notes, []);
    });

    it('takes vga= as boot loaders do', () => {
      assert.deepEqual(
        ['', 'vga=normal', 'quiet vga=ext', 'vga=0x317', 'vga=791', 'vga=01417', 'vga=wide', 'xvga=ask'].map(videoMode),
        [0xffff, 0xffff, 0xfffe, 0x317, 791, 0o1417, 0xffff, 0xffff],
      );
    });
  });

  const refuses = (name: string, image: Uint8Array, more: Partial<BootRequest>, message: RegExp) =>
    it(`refuses ${name}`, () =>
      assert.throws(
        () => bootGuest(request(image, more)),
        (e) => e instanceof BootError && (assert.match(e.message, message), true),
      ));
  refuses(
    'the 64-bit entry of a 32-bit kernel',
    bzImage({ xloadflags: 0 }),
    { linuxEntry: '64-bit' },
    /"linuxEntry": "64-bit" is not possible: xloadflags 0x0 at offset 0x236 lack XLF_KERNEL_64; use "32-bit"/,
  );
  refuses(
    'the 32-bit entry of a zImage',
    bzImage({ loadflags: 0 }),
    { linuxEntry: '32-bit' },
    /loadflags 0x0 at offset 0x211 lack LOADED_HIGH \(a zImage\).* use "16-bit"/,
  );
  refuses(
    'the 32-bit entry of protocol 2.01',
    bzImage({ version: 0x201 }),
    { linuxEntry: '32-bit' },
    /version 0x201 at offset 0x206, and entries in protected mode need 0x202; use "16-bit"/,
  );
  refuses(
    'a framebuffer at the 16-bit entry',
    bzImage(),
    { linuxEntry: '16-bit', framebuffer: { width: 640, height: 480 } },
    /"display": the 16-bit entry asks the video BIOS/,
  );
  refuses(
    'linuxEntry with another protocol',
    Uint8Array.of(0xf4),
    { linuxEntry: '32-bit', protocol: 'raw' },
    /"linuxEntry": the raw protocol has one entry only; leave it at "auto"/,
  );

  it('refuses setup code that would lie in its own heap', () => {
    const image = new Uint8Array(300 * 512);
    image.set(bzImage());
    image[0x1f1] = 64;
    new DataView(image.buffer).setUint32(0x1f4, 1, true);
    assert.throws(
      () => bootGuest(request(image, { linuxEntry: '16-bit' })),
      /setup_sects makes 33280 bytes of real-mode code, expected at most 32768/,
    );
  });
});
