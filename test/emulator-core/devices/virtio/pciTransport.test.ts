// Expected values: VIRTIO 1.2, "Virtio Over PCI Bus"; PCI Local Bus 3.0, "MSI-X Capability and Table Structures"; linux/virtio_pci.h.
import assert from 'node:assert/strict';
import { VirtioConsole } from '../../../../emulator-core/devices/virtio/console';
import { VirtioRng } from '../../../../emulator-core/devices/virtio/rng';
import type { VirtioSlot } from '../../../../emulator-core/devices/virtio/attach';
import { PciDriver } from './pciDriver';

const rng: VirtioSlot = { bus: 'pci', create: (host) => new VirtioRng(0, host) };
const DATA = 0x200000;

function withConsole() {
  const out: number[] = [];
  let device!: VirtioConsole;
  const slot: VirtioSlot = {
    bus: 'pci',
    create: (host) => (device = new VirtioConsole(0, host, (byte) => out.push(byte))),
  };
  const driver = new PciDriver([slot]);
  return { driver, device, text: () => String.fromCharCode(...out) };
}

/** Accepts vectors at the boot processor's local APIC. */
function openApic({ r }: PciDriver): void {
  r.platform.apic(0).writeRegister(0xf0, 0x1ff);
}

function enableMsix(driver: PciDriver, vectors: number): number {
  const at = driver.capability(0x11);
  const table = driver.bar(1) >>> 0;
  for (let i = 0; i < vectors; i++) {
    [0xfee00000, 0, 0x50 + i, 0].forEach((word, n) => driver.r.platform.bus.writeMmio(table + 16 * i + 4 * n, word, 4));
  }
  driver.setConfig(at + 2, 0x8000, 2);
  return at;
}

function vectors({ r }: PciDriver): number[] {
  const found = [];
  while (r.platform.apic(0).hasInterrupt()) {
    found.push(r.platform.acknowledgeInterrupt(0));
    r.platform.apic(0).writeRegister(0xb0, 0);
  }
  return found;
}

describe('virtio over PCI', () => {
  it('has the identity of a non-transitional device', () => {
    const driver = new PciDriver([rng]);
    assert.equal(driver.config(0, 4), 0x10441af4);
    assert.equal(driver.config(8, 1), 1, 'revision 1 or higher');
    assert.equal(driver.config(0x2e, 2), 0x44);
    assert.equal(driver.config(6, 2) & 0x10, 0x10, 'a capability list');
    assert.equal(driver.config(0x3d, 1), 1);
  });

  it('lists its structures', () => {
    const { driver } = withConsole();
    assert.deepEqual(driver.caps.map(({ type }) => type).sort(), [1, 2, 3, 4, 5]);
    const common = driver.caps.find(({ type }) => type === 1)!;
    assert.ok(common.length >= 56);
    for (const { bar, offset, length, type } of driver.caps) {
      if (type === 5) continue;
      assert.equal(bar, 4);
      assert.ok(offset % 4 === 0 && offset + length <= 0x4000);
    }
    assert.ok(!new PciDriver([rng]).caps.some(({ type }) => type === 4), 'rng has no configuration');
  });

  it('offers its features and takes only a subset with VERSION_1', () => {
    const driver = new PciDriver([rng]);
    assert.equal(driver.features(), (1n << 32n) | (1n << 29n) | (1n << 28n));
    driver.setCommon(0, 2, 4);
    assert.equal(driver.common(4, 4), 0);
    const negotiate = (bits: bigint) => {
      driver.status = 0;
      driver.status = 3;
      driver.accept(bits);
      driver.status = 11;
      return driver.status;
    };
    assert.equal(negotiate(1n << 32n), 11);
    assert.equal(negotiate(1n << 28n), 3, 'VERSION_1 is missing');
    assert.equal(negotiate((1n << 32n) | 1n), 3, 'a bit that is not offered');
    negotiate(1n << 32n);
    driver.accept(0n);
    driver.setCommon(8, 1, 4);
    assert.equal(driver.common(12, 4), 1, 'too late');
  });

  it('serves a request and raises INTA#, which a read of the ISR status takes back', () => {
    const driver = new PciDriver([rng]).start();
    // Device 4's INTA# is PIRQD: (4 + 0 + 3) & 3.
    driver.r.platform.pci.writeConfig(8, 0x63, 11, 1);
    driver.rings[0].add({ gpa: DATA, length: 32, write: true });
    assert.equal(driver.r.platform.irqLines.level(11), 0);
    driver.kick(0);
    assert.deepEqual(driver.rings[0].completed(), [{ id: 0, length: 32 }]);
    assert.ok(driver.memory.subarray(DATA, DATA + 32).some((byte) => byte !== 0));
    assert.equal(driver.r.platform.irqLines.level(11), 1);
    assert.equal(driver.config(6, 2) & 8, 8);
    driver.setConfig(4, 0x406, 2);
    assert.equal(driver.r.platform.irqLines.level(11), 0, 'INTx off');
    driver.setConfig(4, 0x006, 2);
    assert.equal(driver.r.platform.irqLines.level(11), 1);
    assert.equal(driver.read(3, 0, 1), 1);
    assert.equal(driver.read(3, 0, 1), 0);
    assert.equal(driver.r.platform.irqLines.level(11), 0);
  });

  it('sends MSI-X messages, one vector a queue and one for the configuration', () => {
    const { driver, device } = withConsole();
    openApic(driver);
    enableMsix(driver, 3);
    driver.start();
    driver.rings[1].add({ gpa: DATA, length: 1 });
    driver.kick(1);
    assert.deepEqual(vectors(driver), [0x52]);
    driver.rings[0].add({ gpa: DATA, length: 8, write: true });
    device.input(Uint8Array.of(65));
    assert.deepEqual(vectors(driver), [0x51]);
    assert.equal(driver.read(3, 0, 1), 0);
    driver.setCommon(16, 0, 2);
    driver.rings[1].availableIndex = 0x7000;
    driver.kick(1);
    assert.deepEqual(vectors(driver), [0x50], 'DEVICE_NEEDS_RESET is a configuration change');
    assert.equal(driver.status & 0x40, 0x40);
  });

  it('keeps what is masked as pending bits', () => {
    const driver = new PciDriver([rng]);
    openApic(driver);
    const at = enableMsix(driver, 2);
    driver.start(~(1n << 29n)); // every request is to interrupt
    const { bus } = driver.r.platform;
    const table = driver.bar(1) >>> 0;
    const pending = table + (driver.config(at + 8, 4) & ~7);
    const request = () => {
      driver.rings[0].add({ gpa: DATA, length: 8, write: true });
      driver.kick(0);
    };
    bus.writeMmio(table + 16 + 12, 1, 4);
    request();
    assert.deepEqual([vectors(driver), bus.readMmio(pending, 4)], [[], 2]);
    bus.writeMmio(table + 16 + 12, 0, 4);
    assert.deepEqual([vectors(driver), bus.readMmio(pending, 4)], [[0x51], 0]);
    driver.setConfig(at + 2, 0xc000, 2);
    request();
    assert.deepEqual([vectors(driver), bus.readMmio(pending, 4)], [[], 2]);
    driver.setConfig(at + 2, 0x8000, 2);
    assert.deepEqual([vectors(driver), bus.readMmio(pending, 4)], [[0x51], 0]);
    bus.writeMmio(pending, 0xff, 4);
    assert.equal(bus.readMmio(pending, 4), 0, 'read-only');
  });

  it('takes vectors that it has, and NO_VECTOR for others', () => {
    const driver = new PciDriver([rng]);
    assert.equal(driver.common(16, 2), 0xffff);
    for (const [vector, expected] of [
      [1, 1],
      [2, 0xffff],
      [0xffff, 0xffff],
    ]) {
      driver.setCommon(16, vector, 2);
      driver.setCommon(26, vector, 2);
      assert.deepEqual([driver.common(16, 2), driver.common(26, 2)], [expected, expected]);
    }
  });

  it('has no queue behind its last one', () => {
    const driver = new PciDriver([rng]);
    assert.equal(driver.common(24, 2), 64);
    driver.setCommon(22, 1, 2);
    assert.deepEqual([driver.common(24, 2), driver.common(26, 2), driver.common(28, 2)], [0, 0xffff, 0]);
    driver.setCommon(24, 8, 2);
    driver.setCommon(28, 1, 2);
    driver.kick(7);
    assert.equal(driver.status, 0);
  });

  it('is reset by a write of 0 to the status', () => {
    const driver = new PciDriver([rng]).start();
    driver.rings[0].add({ gpa: DATA, length: 32, write: true });
    driver.kick(0);
    driver.status = 0;
    assert.deepEqual(
      [driver.status, driver.common(28, 2), driver.common(32, 4), driver.common(26, 2)],
      [0, 0, 0, 0xffff],
    );
    driver.kick(0);
    assert.equal(driver.rings[0].usedIndex, 1);
  });

  it('says why it needs a reset', () => {
    const driver = new PciDriver([rng]).start();
    driver.rings[0].add({ gpa: 0xfffff000, length: 16, write: true });
    driver.kick(0);
    assert.equal(driver.status, 0x4f);
    assert.match(driver.described('rng0').get('needs reset')!, /queue 0: descriptor 0: 16 bytes at 0xfffff000/);
    driver.start();
    driver.rings[0].add({ gpa: DATA, length: 16, write: true });
    driver.kick(0);
    assert.equal(driver.rings[0].usedIndex, 1);
  });

  it('is reached through the configuration access capability', () => {
    const driver = new PciDriver([rng]);
    const { at } = driver.caps.find(({ type }) => type === 5)!;
    const access = (offset: number, length: number) => {
      driver.setConfig(at + 4, 4, 1);
      driver.setConfig(at + 8, offset, 4);
      driver.setConfig(at + 12, length, 4);
    };
    const common = driver.caps.find(({ type }) => type === 1)!.offset;
    access(common + 18, 2);
    assert.equal(driver.config(at + 16, 2), 1, 'num_queues');
    access(common + 20, 1);
    driver.setConfig(at + 16, 3, 1);
    assert.equal(driver.status, 3);
    access(common + 21, 4);
    driver.config(at + 16, 4);
    access(0x10000, 4);
    driver.setConfig(at + 16, 0xffffffff, 4);
    assert.equal(driver.status, 3);
  });

  it('moves with its BARs, above 4 GiB too', () => {
    const driver = new PciDriver([rng]);
    const { bus } = driver.r.platform;
    driver.setConfig(0x24, 0x12, 4);
    assert.equal(bus.readMmio(0x12_0000_0000 + (driver.bar(4) >>> 0) + 24, 2), 64);
    driver.setConfig(0x20, 0xffffffff, 4);
    driver.setConfig(0x24, 0xffffffff, 4);
    assert.deepEqual([driver.config(0x20, 4), driver.config(0x24, 4)], [0xffffc00c, 0xffffffff], 'size 16 KiB');
  });

  it('shows features by name and the state of its queues', () => {
    const driver = new PciDriver([rng]).start();
    driver.rings[0].add({ gpa: DATA, length: 8, write: true });
    const shown = driver.described('rng0');
    assert.equal(shown.get('status'), '0x0f ACKNOWLEDGE DRIVER DRIVER_OK FEATURES_OK');
    assert.equal(shown.get('features accepted'), '0x0000000130000000 RING_INDIRECT_DESC RING_EVENT_IDX VERSION_1');
    assert.equal(shown.get('queue 0'), '64 entries requestq, 1 waiting');
  });

  it('restores what it saved', () => {
    const { driver, text } = withConsole();
    enableMsix(driver, 3);
    driver.start();
    driver.rings[1].add({ gpa: DATA, length: 4 });
    driver.memory.set([0x61, 0x62, 0x63, 0x64], DATA);
    const state = structuredClone(driver.r.platform.save());
    driver.kick(1);
    driver.r.platform.reset();
    assert.equal(driver.status, 0);
    driver.r.platform.restore(state);
    assert.deepEqual(driver.r.platform.save(), state);
    driver.kick(1);
    assert.equal(text(), 'abcdabcd');
  });

  it('survives random accesses to its BARs', () => {
    const { driver } = withConsole();
    let seed = 7;
    const random = (limit: number) => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return Math.floor((seed / 2 ** 32) * limit);
    };
    const { bus } = driver.r.platform;
    for (let i = 0; i < 40000; i++) {
      if (i % 500 === 0) driver.start(~0n, 1 << random(7));
      const size = 1 << random(3);
      const base = (driver.bar(random(8) ? 4 : 1) >>> 0) + [0, 0x1000, 0x2000, 0x3000][random(4)];
      if (random(2)) bus.writeMmio(base + random(0x50), random(2 ** 32), size);
      const value = bus.readMmio(base + random(0x50), size);
      assert.ok(Number.isInteger(value) && value >= 0 && value < 2 ** (8 * size));
      if (random(8) === 0) driver.memory[0x100000 + random(0x20000)] = random(256);
      if (random(50) === 0) driver.r.advance(20000);
    }
    driver.r.platform.describe();
  });
});
