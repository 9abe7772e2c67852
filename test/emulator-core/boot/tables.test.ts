import assert from 'node:assert/strict';
import { bootGuest } from '../../../emulator-core/boot/boot';
import { memoryMap } from '../../../emulator-core/boot/memoryMap';
import { Memory, request, sum } from './images';

describe('firmware tables', () => {
  const boot = request(Uint8Array.of(0xf4), { protocol: 'raw', cpus: 2 });
  bootGuest(boot);
  const m = new Memory(boot.memory);
  const bytes = (at: number, length: number): Uint8Array => m.bytes.subarray(at, at + length);
  const tables = (): Map<string, number> => {
    const xsdt = m.u64(0xf5a00 + 24);
    const found = new Map<string, number>([['XSDT', xsdt]]);
    for (let at = xsdt + 36; at < xsdt + m.u32(xsdt + 4); at += 8) found.set(m.text(m.u64(at), 4), m.u64(at));
    return found;
  };

  it('has a memory map without gaps or overlaps below the top of RAM', () => {
    let end = 0;
    for (const r of memoryMap(32 << 20).slice(0, 6)) {
      assert.equal(r.base, end);
      end = r.base + r.length;
    }
    assert.equal(end, 32 << 20);
    assert.throws(() => memoryMap(-4096), /memory: .* expected 2 MiB to 3072 MiB/);
    assert.throws(() => memoryMap(0x400001), /multiple of 4096/);
  });

  it('has an RSDP with both checksums, RSDT and XSDT naming the same tables', () => {
    assert.equal(m.text(0xf5a00, 8), 'RSD PTR ');
    assert.equal(sum(bytes(0xf5a00, 20)), 0);
    assert.equal(sum(bytes(0xf5a00, 36)), 0);
    const rsdt = m.u32(0xf5a00 + 16);
    const entries = Array.from({ length: (m.u32(rsdt + 4) - 36) / 4 }, (_, i) => m.u32(rsdt + 36 + 4 * i));
    assert.deepEqual(entries, [...tables().values()].slice(1));
    assert.deepEqual([...tables().keys()], ['XSDT', 'FACP', 'APIC', 'HPET', 'MCFG']);
    for (const at of [rsdt, ...tables().values(), m.u32(tables().get('FACP')! + 40)]) {
      assert.equal(sum(bytes(at, m.u32(at + 4))), 0, m.text(at, 4));
    }
  });

  it('describes fixed hardware in the FADT', () => {
    const fadt = tables().get('FACP')!;
    assert.equal(m.u32(fadt + 4), 244);
    assert.deepEqual([m.u32(fadt + 56), m.u32(fadt + 64), m.u32(fadt + 76)], [0x600, 0x604, 0x608]);
    assert.equal(m.u16(fadt + 46), 9);
    assert.deepEqual([...bytes(fadt + 88, 4)], [4, 2, 0, 4]);
    assert.equal((m.u32(fadt + 112) >> 10) & 1, 1);
    assert.equal(m.u64(fadt + 120), 0xcf9);
    assert.equal(m.bytes[fadt + 128], 6);
    assert.equal(m.u64(fadt + 152), 0x600);
    assert.equal(m.u64(fadt + 176), 0x604);
    assert.equal(m.u64(fadt + 212), 0x608);
    assert.equal(m.text(m.u32(fadt + 36), 4), 'FACS');
    // Flags: bit 4 clear, the power button is the fixed one; bit 5 set, there is no sleep button.
    assert.equal((m.u32(fadt + 112) >> 4) & 3, 2);
    const dsdt = m.u32(fadt + 40);
    // Name (_S5, Package (0x04) { Zero, Zero, Zero, Zero })
    assert.deepEqual(
      [...bytes(dsdt + 36, 12)],
      [0x08, ...Array.from('_S5_', (c) => c.charCodeAt(0)), 0x12, 6, 4, 0, 0, 0, 0],
    );
  });

  it('describes the HPET and configuration space as memory', () => {
    const hpet = tables().get('HPET')!;
    assert.equal(m.u32(hpet + 4), 56);
    // Revision 1, three comparators, 64 bits, legacy replacement, vendor 8086h; memory, 64 bits, at fed00000h.
    assert.equal(m.u32(hpet + 36), 0x8086a201);
    assert.deepEqual([...bytes(hpet + 40, 4)], [0, 64, 0, 0]);
    assert.equal(m.u64(hpet + 44), 0xfed00000);
    const mcfg = tables().get('MCFG')!;
    assert.equal(m.u32(mcfg + 4), 60);
    assert.equal(m.u64(mcfg + 44), 0xe8000000);
    assert.deepEqual([...bytes(mcfg + 52, 4)], [0, 0, 0, 0]); // segment 0, bus 0 to 0
    assert.ok(memoryMap(32 << 20).some((r) => r.base === 0xe8000000 && r.type === 2));
  });

  it('lists processors and interrupts in the MADT', () => {
    const madt = tables().get('APIC')!;
    assert.equal(m.u32(madt + 36), 0xfee00000);
    const entries: number[][] = [];
    for (let at = madt + 44; at < madt + m.u32(madt + 4); at += m.bytes[at + 1])
      entries.push([...bytes(at, m.bytes[at + 1])]);
    assert.deepEqual(entries, [
      [0, 8, 0, 0, 1, 0, 0, 0],
      [0, 8, 1, 1, 1, 0, 0, 0],
      [1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0],
      [2, 10, 0, 0, 2, 0, 0, 0, 0, 0],
      [2, 10, 0, 9, 9, 0, 0, 0, 0xd, 0],
      [2, 10, 0, 10, 10, 0, 0, 0, 0xd, 0],
      [2, 10, 0, 11, 11, 0, 0, 0, 0xd, 0],
      [4, 6, 0xff, 0, 0, 1],
    ]);
  });

  it('has an MP table whose entries count and sum up', () => {
    const pointer = 0xf5b00;
    assert.equal(m.text(pointer, 4), '_MP_');
    assert.equal(sum(bytes(pointer, 16)), 0);
    const table = m.u32(pointer + 4);
    const length = m.u16(table + 4);
    assert.equal(m.text(table, 4), 'PCMP');
    assert.equal(sum(bytes(table, length)), 0);
    let count = 0;
    let at = table + 44;
    for (; at < table + length; count++) at += m.bytes[at] === 0 ? 20 : 8;
    assert.equal(at, table + length);
    assert.equal(m.u16(table + 34), count);
    // Device 4's INTA# is PIRQD: an entry of type 3 (INT), active high and level, from bus 0 (PCI), source 4 << 2, to pin 11.
    const interrupts: number[][] = [];
    for (let i = table + 44; i < table + length; i += m.bytes[i] === 0 ? 20 : 8)
      if (m.bytes[i] === 3) interrupts.push([...bytes(i, 8)]);
    assert.deepEqual(
      interrupts.filter((entry) => entry[4] === 0 && entry[5] === 16),
      [[3, 0, 0xd, 0, 0, 16, 0, 11]],
    );
    assert.ok(!interrupts.some((entry) => entry[4] === 1 && [10, 11].includes(entry[5])));
  });

  it('refuses impossible processor counts', () => {
    for (const cpus of [0, -1, 256, 1.5, NaN]) {
      assert.throws(
        () => bootGuest(request(Uint8Array.of(1), { protocol: 'raw', cpus })),
        /cpus: .* expected 1 to 255/,
      );
    }
  });
});
