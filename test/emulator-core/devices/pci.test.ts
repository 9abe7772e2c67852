// Expected values: PCI 3.0, "Configuration Mechanism" and "Base Addresses"; 82441FX and 82371SB data sheets.
import assert from 'node:assert/strict';
import { PciFunction } from '../../../emulator-core/devices/pciFunction';
import { rig } from './rig';

function pci() {
  const r = rig();
  const select = (device: number, offset: number) => r.out(0xcf8, (0x80000000 | (device << 11) | offset) >>> 0, 4);
  const read = (device: number, offset: number, size = 4) => {
    select(device, offset & ~3);
    return r.in(0xcfc + (offset & 3), size);
  };
  const write = (device: number, offset: number, value: number, size = 4) => {
    select(device, offset & ~3);
    r.out(0xcfc + (offset & 3), value, size);
  };
  return { ...r, read, write };
}

const handler = { readPort: () => 0x5a, writePort: () => {}, readMmio: () => 0xa5, writeMmio: () => {} };
const network = () =>
  new PciFunction({
    title: 'test device',
    vendor: 0x1af4,
    device: 0x1000,
    revision: 0,
    classCode: 0x020000,
    interruptPin: 1,
    bars: [
      { kind: 'io', size: 0x20, handler, width: 4 },
      { kind: 'memory', size: 0x1000, handler },
    ],
  });

describe('PCI', () => {
  it('answers the probe of mechanism 1', () => {
    const { in: read, out } = pci();
    out(0xcfb, 0x01);
    const saved = read(0xcf8, 4);
    out(0xcf8, 0x80000000, 4);
    assert.equal(read(0xcf8, 4), 0x80000000);
    out(0xcf8, saved, 4);
    assert.equal(read(0xcfc, 4), 0xffffffff, 'not enabled');
  });

  it('has an i440FX, a PIIX3 and nothing else', () => {
    const { read } = pci();
    const found = Array.from({ length: 32 }, (_, device) => read(device, 0)).filter((id) => id !== 0xffffffff);
    assert.deepEqual(found, [0x12378086, 0x70008086]);
    assert.equal(read(0, 8), 0x06000002);
    assert.equal(read(1, 8), 0x06010000);
    assert.equal(read(1, 0x0a, 2), 0x0601);
    assert.equal(read(1, 0x0e, 1), 0x80);
    assert.equal(read(1, 0x60), 0x0b0b0a0a, 'PIRQ A-D as firmware routes them');
  });

  it('keeps read-only registers and writes the others by byte', () => {
    const { read, write } = pci();
    write(0, 0, 0);
    assert.equal(read(0, 0), 0x12378086);
    write(0, 0x5a, 0x33, 1);
    assert.equal(read(0, 0x58), 0x00330000);
  });

  it('sizes, places, moves and disables BARs', () => {
    const { platform, read, write, in: input, log } = pci();
    platform.pci.add(3, 0, network());
    assert.equal(read(3, 0x10), 0xc001);
    assert.equal(read(3, 0x14), 0xe0000000);
    assert.equal(input(0xc01f), 0x5a);
    assert.equal(platform.bus.readMmio(0xe0000fff, 1), 0xa5);
    write(3, 0x10, 0xffffffff);
    write(3, 0x14, 0xffffffff);
    assert.deepEqual([read(3, 0x10), read(3, 0x14)], [0xffffffe1, 0xfffff000]);
    write(3, 0x10, 0xd000);
    write(3, 0x14, 0xd0000000);
    assert.deepEqual([input(0xc000), input(0xd000)], [0xff, 0x5a]);
    assert.equal(platform.bus.readMmio(0xd0000000, 1), 0xa5);
    assert.ok(log.includes('mmioChanged'));
    write(3, 4, 0, 2);
    assert.equal(input(0xd000), 0xff);
    assert.equal(platform.bus.findMmio(0xd0000000), undefined);
  });

  it('does not decode a BAR on top of another device', () => {
    const { platform, write, in: input } = pci();
    platform.pci.add(3, 0, network());
    write(3, 0x10, 0x3e0);
    write(3, 0x14, 0xfec00000);
    assert.equal(input(0x3fd), 0x60, 'the UART');
    assert.equal(input(0x3e0), 0xff);
    write(3, 0x10, 0xd000);
    assert.equal(input(0xd000), 0x5a);
  });

  it('routes INTx through PIRQ to a shared ISA line', () => {
    const { platform, write } = pci();
    const a = platform.pci.intx(3, 1); // device 3 INTA# is PIRQC
    const b = platform.pci.intx(7, 1);
    write(1, 0x62, 0x80, 1);
    a.set(1);
    assert.equal(platform.irqLines.level(11), 0);
    write(1, 0x62, 11, 1);
    assert.equal(platform.irqLines.level(11), 1);
    b.set(1);
    a.set(0);
    assert.equal(platform.irqLines.level(11), 1);
    write(1, 0x62, 10, 1);
    assert.deepEqual([platform.irqLines.level(10), platform.irqLines.level(11)], [1, 0]);
    b.set(0);
    assert.equal(platform.irqLines.level(10), 0);
  });
});
