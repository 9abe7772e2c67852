import assert from 'node:assert/strict';
import { diskGeometry } from '../../../emulator-core/boot/biosDisk';
import { Disk } from '../../../emulator-core/disk/disk';
import { memoryImage, rawContents } from '../../../emulator-core/disk/image';
import type {
  BiosKey,
  BiosMachine,
  BiosRegister,
  BiosRegisters,
  BiosSegment,
} from '../../../emulator-core/boot/biosMachine';
import { biosResumeOffset, biosVector } from '../../../emulator-core/boot/biosRom';
import { biosCall } from '../../../emulator-core/boot/biosServices';
import { bootGuest } from '../../../emulator-core/boot/boot';
import { Memory, request } from './images';

function disk(sectors: number): Uint8Array {
  const image = new Uint8Array(sectors * 512);
  for (let i = 0; i < sectors; i++) image.fill(i & 0xff, i * 512, (i + 1) * 512);
  image.set([0x55, 0xaa], 510);
  return image;
}

function machine(image = disk(4000)) {
  const boot = request(image, { protocol: 'bios' });
  bootGuest(boot);
  const values: Record<string, number> = { esp: 0x7000 };
  const selectors: Record<string, number> = { cs: 0xf000, ds: 0, es: 0, ss: 0 };
  const regs: BiosRegisters = {
    get: (r: BiosRegister) => values[r] ?? 0,
    set: (r, value) => void (values[r] = value),
    segmentBase: (s: BiosSegment) => selectors[s] * 16,
    setSegment: (s, selector) => void (selectors[s] = selector),
  };
  const keys: BiosKey[] = [];
  const notes: string[] = [];
  let text = '';
  const host: BiosMachine = {
    memorySize: boot.memory.length,
    readMemory: (gpa, length) => boot.memory.slice(gpa, gpa + length),
    writeMemory: (gpa, data) => boot.memory.set(data, gpa),
    disk: new Disk(rawContents(memoryImage('disk', image)), 'snapshot'),
    key: (take) => (take ? keys.shift() : keys[0]),
    console: (byte) => void (text += String.fromCharCode(byte)),
    note: (note) => void notes.push(note),
  };
  const call = (vector: number, set: Record<string, number>) => {
    Object.assign(values, set);
    return biosCall(vector, regs, host);
  };
  const m = new Memory(boot.memory);
  return { call, values, selectors, keys, notes, m, console: () => text, flags: () => m.u16(0x7004), host };
}

describe('BIOS services', () => {
  it('vectors lead to stubs that name them', () => {
    const { m } = machine();
    // Mode 3 after the power-on test: blanks, attribute 07h.
    assert.equal(m.u16(0xb8000), 0x0720);
    assert.equal(m.u16(0xb8000 + 1999 * 2), 0x0720);
    const linear = (vector: number): number => m.u16(vector * 4 + 2) * 16 + m.u16(vector * 4);
    for (const vector of [0, 0x10, 0x13, 0x15, 0x16, 0x1a, 0xff]) {
      assert.equal(biosVector(linear(vector)), vector);
      // vmcall; iret; sti; hlt; jmp back: SDM Vol. 2, opcodes
      assert.deepEqual(
        [...m.bytes.subarray(linear(vector), linear(vector) + 8)],
        [0x0f, 1, 0xc1, 0xcf, 0xfb, 0xf4, 0xeb, 0xf8],
      );
    }
    assert.equal(biosVector(0x100000), undefined);
    assert.equal(biosVector(linear(0x10) + 1), undefined);
    assert.equal(biosVector(linear(8)), undefined);
    assert.deepEqual([biosResumeOffset('return'), biosResumeOffset('wait')], [3, 4]);
    assert.equal(m.bytes[0xffff0], 0xea);
  });

  it('INT 10h prints, moves the cursor and scrolls', () => {
    const { call, m, console, values } = machine();
    call(0x10, { eax: 0x0003 });
    for (const c of 'Hi\r\n!') call(0x10, { eax: 0x0e00 | c.charCodeAt(0), ebx: 7 });
    assert.equal(console(), 'Hi\r\n!');
    assert.deepEqual([...m.bytes.subarray(0xb8000, 0xb8004)], [0x48, 7, 0x69, 7]);
    assert.equal(m.bytes[0xb8000 + 160], 0x21);
    call(0x10, { eax: 0x0300, ebx: 0 });
    assert.equal(values.edx, 0x0101);
    call(0x10, { eax: 0x0200, ebx: 0, edx: 0x184f });
    call(0x10, { eax: 0x0e58, ebx: 7 });
    assert.equal(m.bytes[0xb8000], 0x21); // line 1 moved up
    assert.equal(m.bytes[0xb8000 + 23 * 160 + 158], 0x58);
    call(0x10, { eax: 0x0600, ebx: 0x1e00, ecx: 0, edx: 0x184f });
    assert.deepEqual([...m.bytes.subarray(0xb8000, 0xb8002)], [0x20, 0x1e]);
    m.bytes.set(new TextEncoder().encode('abc'), 0x5000);
    call(0x10, { eax: 0x1301, ebx: 0x4f, ecx: 3, edx: 0x0205, ebp: 0x5000 });
    assert.deepEqual([...m.bytes.subarray(0xb8000 + 330, 0xb8000 + 334)], [0x61, 0x4f, 0x62, 0x4f]);
    call(0x10, { eax: 0x0941, ebx: 0x2a, ecx: 0xffff });
    assert.deepEqual([...m.bytes.subarray(0xb8000 + 24 * 160 + 158, 0xb8000 + 4000 + 2)], [0x41, 0x2a, 0x20, 7]);
    call(0x10, { eax: 0x0f00 });
    assert.equal(values.eax & 0xffff, 0x5003);
  });

  it('INT 13h reads, writes and describes the disk', () => {
    const { call, m, values, flags, host } = machine();
    // Cylinder 0, head 1, sector 2 of 63-sector tracks: sector number 64.
    call(0x13, { eax: 0x0202, ebx: 0x8000, ecx: 2, edx: 0x0180 });
    assert.equal(values.eax, 2);
    assert.equal(flags() & 1, 0);
    assert.deepEqual([m.bytes[0x8000], m.bytes[0x8200]], [64, 65]);
    m.bytes.fill(0xee, 0x8000, 0x8200);
    call(0x13, { eax: 0x0301, ebx: 0x8000, ecx: 2, edx: 0x0180 });
    assert.equal(host.disk!.readBytes(64 * 512, 1)[0], 0xee);
    assert.equal(host.disk!.readBytes(65 * 512, 1)[0], 65);
    call(0x13, { eax: 0x0201, ebx: 0x8000, ecx: 0, edx: 0x80 });
    assert.equal(flags() & 1, 1);
    assert.equal((values.eax >> 8) & 0xff, 4);
    call(0x13, { eax: 0x0800, edx: 0x80 });
    assert.deepEqual([values.ecx & 0x3f, values.edx], [63, 0x0f01]);
    call(0x13, { eax: 0x4100, ebx: 0x55aa, edx: 0x80 });
    assert.deepEqual([values.ebx, flags() & 1], [0xaa55, 0]);
    // Packet: 16 bytes, 1 sector to 0900:0010 from sector 3999; then from 4000, past the end.
    m.bytes.set([16, 0, 1, 0, 0x10, 0, 0, 9, 0x9f, 0x0f, 0, 0, 0, 0, 0, 0], 0x6000);
    call(0x13, { eax: 0x4200, edx: 0x80, esi: 0x6000 });
    assert.equal(flags() & 1, 0);
    assert.equal(m.bytes[0x9010], 3999 & 0xff);
    m.bytes[0x6008] = 0xa0;
    call(0x13, { eax: 0x4200, edx: 0x80, esi: 0x6000 });
    assert.equal(flags() & 1, 1);
    m.bytes.set([26, 0], 0x6100);
    call(0x13, { eax: 0x4800, edx: 0x80, esi: 0x6100 });
    assert.deepEqual([m.u64(0x6110), m.u16(0x6118)], [4000, 512]);
    call(0x13, { eax: 0x0201, ebx: 0, ecx: 1, edx: 0x81 });
    assert.equal((values.eax >> 8) & 0xff, 0x80);
  });

  it('knows diskette geometries by their size', () => {
    assert.deepEqual(diskGeometry(1440 * 1024), { cylinders: 80, heads: 2, sectors: 18 });
    assert.deepEqual(diskGeometry(1008 * 512 * 10), { cylinders: 10, heads: 16, sectors: 63 });
    assert.equal(diskGeometry(4e9).heads, 255);
  });

  it('keeps and restores what was written to a memory disk', () => {
    const memory = new Disk(rawContents(memoryImage('disk', disk(2))), 'snapshot');
    memory.writeBytes(600, Uint8Array.of(9, 9));
    const state = memory.save();
    memory.writeBytes(600, Uint8Array.of(8));
    memory.restore(state);
    assert.deepEqual([...memory.readBytes(599, 4)], [1, 9, 9, 1]);
  });

  it('INT 15h walks the memory map and sizes memory', () => {
    const { call, m, values, flags } = machine();
    const ranges: number[][] = [];
    let ebx = 0;
    do {
      call(0x15, { eax: 0xe820, ebx, ecx: 24, edx: 0x534d4150, edi: 0x5000 });
      assert.equal(flags() & 1, 0);
      assert.deepEqual([values.eax, values.ecx], [0x534d4150, 20]);
      ranges.push([m.u64(0x5000), m.u64(0x5008), m.u32(0x5010)]);
      ebx = values.ebx;
    } while (ebx);
    assert.equal(ranges.length, 9);
    assert.deepEqual(ranges[3], [0x100000, 0xef0000, 1]);
    call(0x15, { eax: 0xe801 });
    assert.deepEqual([values.eax, values.ebx], [0xef0000 / 1024, 0]);
    call(0x15, { eax: 0x8800 });
    assert.equal(values.eax, 0xef0000 / 1024);
    call(0x15, { eax: 0x2402 });
    assert.equal(values.eax, 1);
    call(0x12, {});
    assert.equal(values.eax, 639);
  });

  it('INT 15h has a configuration table; says no to what Linux asks for in passing', () => {
    const { call, m, values, selectors, flags, notes } = machine();
    call(0x15, { eax: 0xc000 });
    assert.deepEqual([flags() & 1, (values.eax >> 8) & 0xff], [0, 0]);
    // RBIL, INT 15/AH=C0h: length, model FCh; features: no Micro Channel (bit 1), extended BIOS data area (bit 2), RTC (5), second 8259 (6).
    const at = selectors.es * 16 + (values.ebx & 0xffff);
    assert.deepEqual([m.u16(at), m.bytes[at + 2], m.bytes[at + 5]], [8, 0xfc, 0x64]);
    call(0x15, { eax: 0xc100 });
    assert.deepEqual([selectors.es * 16, m.u16(0x40e) * 16], [0x9fc00, 0x9fc00]);
    for (const eax of [0xec00, 0xe980, 0x5300]) {
      call(0x15, { eax, ebx: 2 });
      assert.equal(flags() & 1, 1, eax.toString(16));
    }
    assert.deepEqual(notes, []);
  });

  it('INT 10h says that this is a VGA without VESA modes', () => {
    const { call, values, notes } = machine();
    call(0x10, { eax: 0x1a00, ebx: 0 });
    assert.deepEqual([values.eax & 0xff, values.ebx & 0xffff], [0x1a, 8]);
    call(0x10, { eax: 0x1200, ebx: 0x10 });
    assert.deepEqual([values.ebx & 0xffff], [3]);
    call(0x10, { eax: 0x4f00 });
    assert.notEqual(values.eax & 0xff, 0x4f);
    assert.deepEqual(notes, []);
  });

  it('INT 16h waits for keys and peeks', () => {
    const { call, values, flags, keys } = machine();
    assert.equal(call(0x16, { eax: 0 }), 'wait');
    call(0x16, { eax: 0x0100 });
    assert.equal(flags() & 0x40, 0x40);
    keys.push({ ascii: 0x61, scanCode: 0x1e });
    call(0x16, { eax: 0x0100 });
    assert.deepEqual([values.eax, flags() & 0x40], [0x1e61, 0]);
    assert.equal(call(0x16, { eax: 0 }), 'return');
    assert.deepEqual([values.eax, keys.length], [0x1e61, 0]);
  });

  it('INT 1Ah counts ticks, INT 19h boots again', () => {
    const { call, values, m } = machine();
    m.bytes.set([0x34, 0x12, 0x05, 0x00], 0x46c);
    call(0x1a, { eax: 0 });
    assert.deepEqual([values.ecx, values.edx], [5, 0x1234]);
    m.bytes.fill(0, 0x7c00, 0x7e00);
    call(0x19, {});
    assert.deepEqual([m.u16(0x7000), m.u16(0x7002), m.u16(0x7dfe)], [0x7c00, 0, 0xaa55]);
  });

  it('answers unknown services with AH = 86h and carry, and says so once', () => {
    const { call, values, flags, notes } = machine();
    for (let i = 0; i < 3; i++) call(0x17, { eax: 0x0200 });
    assert.equal(values.eax, 0x8600);
    assert.equal(flags() & 1, 1);
    assert.deepEqual(notes, ['BIOS service INT 17h AX=0200h is not supported']);
  });
});
