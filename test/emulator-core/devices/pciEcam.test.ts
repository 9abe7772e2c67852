// Expected values: PCI Express Base Specification, "PCI Express Enhanced Configuration Access Mechanism (ECAM)".
import assert from 'node:assert/strict';
import { memoryMap } from '../../../emulator-core/boot/memoryMap';
import { PCI_ECAM_BASE, PCI_ECAM_SIZE } from '../../../emulator-core/devices/pciEcam';
import { rig } from './rig';

describe('ECAM', () => {
  const { platform, out, in: input } = rig();
  const read = (device: number, offset: number, size = 4) =>
    platform.bus.readMmio(PCI_ECAM_BASE + (device << 15) + offset, size);

  it('is the same configuration space as behind CF8h and CFCh', () => {
    assert.equal(read(0, 0), 0x12378086);
    assert.equal(read(1, 0x0a, 2), 0x0601);
    platform.bus.writeMmio(PCI_ECAM_BASE + (1 << 15) + 0x60, 0x0b, 1);
    out(0xcf8, 0x80000860, 4);
    assert.equal(input(0xcfc), 0x0b);
  });

  it('reads all ones where no function or no register is', () => {
    assert.deepEqual([read(2, 0), read(0, 0x100), read(0, 0xffc), read(0, 0xfe, 4)], Array(4).fill(0xffffffff));
    assert.equal(read(5, 0, 2), 0xffff);
    assert.equal(platform.bus.findMmio(PCI_ECAM_BASE + PCI_ECAM_SIZE), undefined, 'bus 0 alone');
  });

  it('is reserved in the memory map, above all RAM', () => {
    const map = memoryMap(0xc0000000);
    const ecam = map.find(({ base }) => base === PCI_ECAM_BASE);
    assert.deepEqual(ecam, { base: PCI_ECAM_BASE, length: PCI_ECAM_SIZE, type: 2 });
    assert.ok(map.every(({ base, length }) => base === PCI_ECAM_BASE || base >= PCI_ECAM_BASE + PCI_ECAM_SIZE || base + length <= PCI_ECAM_BASE)); // prettier-ignore
  });
});
