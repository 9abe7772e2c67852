// Expected values: 82093AA data sheet, "Register Description".
import assert from 'node:assert/strict';
import { rig } from './rig';

const BASE = 0xfec00000;

function ioApic(cpus = 1) {
  const r = rig({ cpus });
  const { bus } = r.platform;
  const read = (index: number) => (bus.writeMmio(BASE, index, 4), bus.readMmio(BASE + 0x10, 4));
  const write = (index: number, value: number) => (bus.writeMmio(BASE, index, 4), bus.writeMmio(BASE + 0x10, value, 4));
  const entry = (pin: number, low: number, destination = 0) => {
    write(0x11 + 2 * pin, destination << 24);
    write(0x10 + 2 * pin, low);
  };
  for (let cpu = 0; cpu < cpus; cpu++) r.platform.apic(cpu).writeRegister(0xf0, 0x1ff);
  const take = (cpu = 0) => r.platform.apic(cpu).acknowledge();
  const eoi = (cpu = 0) => r.platform.apic(cpu).writeRegister(0xb0, 0);
  return { ...r, read, write, entry, take, eoi, apic: r.platform.apic(0) };
}

describe('I/O APIC', () => {
  it('has 24 masked pins, version 11h, and keeps its ID', () => {
    const { read, write, platform } = ioApic();
    assert.equal(read(1), 0x00170011);
    assert.equal(read(0x10), 0x10000);
    assert.equal(read(0x3f), 0);
    assert.equal(read(0x40), 0);
    write(0, 0xffffffff);
    assert.deepEqual([read(0), read(2)], [0x0f000000, 0x0f000000]);
    write(0x12, 0xffffffff);
    assert.equal(read(0x12), 0x1afff);
    assert.equal(platform.bus.readMmio(BASE, 1), 0x12);
  });

  it('sends an edge once, and loses one on a masked pin', () => {
    const { entry, take, eoi, apic, platform } = ioApic();
    const irq = platform.irqLines.source(4);
    irq.set(1);
    entry(4, 0x34);
    assert.equal(apic.hasInterrupt(), false);
    irq.set(0);
    irq.set(1);
    assert.equal(take(), 0x34);
    eoi();
    assert.equal(apic.hasInterrupt(), false);
  });

  it('repeats a level until it is gone, after each EOI, with remote IRR between', () => {
    const { entry, read, take, eoi, apic, platform } = ioApic();
    const irq = platform.irqLines.source(9);
    entry(9, 0x8039);
    irq.set(1);
    assert.equal(read(0x10 + 18), 0xc039);
    assert.equal(take(), 0x39);
    assert.equal(apic.readRegister(0x190), 1 << 25, 'TMR bit 39h');
    eoi();
    assert.equal(take(), 0x39);
    irq.set(0);
    eoi();
    assert.equal(apic.hasInterrupt(), false);
    assert.equal(read(0x10 + 18), 0x8039);
    irq.set(1);
    take();
    entry(9, 0x10039); // masked and edge, then level again: clears remote IRR, as drivers do for this version
    entry(9, 0x18039);
    assert.equal(read(0x10 + 18), 0x18039);
  });

  it('sends a pin that is asserted when a level entry is unmasked', () => {
    const { entry, take, platform } = ioApic();
    platform.irqLines.source(11).set(1);
    entry(11, 0x1803b);
    entry(11, 0x803b);
    assert.equal(take(), 0x3b);
  });

  it('gets IRQ 0 on pin 2, and reaches the addressed processors', () => {
    const { entry, platform, out, log } = ioApic(2);
    entry(2, 0x40, 1);
    out(0x43, 0x34);
    out(0x40, 0);
    out(0x40, 4);
    platform.irqLines.source(0);
    const r = platform;
    r.ioApic.setPin(2, 0);
    r.ioApic.setPin(2, 1);
    assert.deepEqual([r.apic(0).hasInterrupt(), r.apic(1).hasInterrupt()], [false, true]);
    entry(5, 0x400, 1);
    r.ioApic.setPin(5, 1);
    assert.deepEqual(log, ['nmi 1']);
  });

  it('delivers message-signaled interrupts', () => {
    const { platform, take } = ioApic(2);
    assert.equal(platform.apicBus.deliverMsi(0xfee01000, 0x4055), true);
    assert.equal(take(1), 0x55);
    assert.equal(platform.apicBus.deliverMsi(0xfee07000, 0x4055), false);
  });
});
