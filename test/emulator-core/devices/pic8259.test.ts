// Expected values: Intel 8259A data sheet, "Interrupt Sequence", "Operation Command Words", "Special Mask Mode".
import assert from 'node:assert/strict';
import { Pic8259 } from '../../../emulator-core/devices/pic8259';

function pic(icw4 = 0x01) {
  const changes: boolean[] = [];
  const p: Pic8259 = new Pic8259(() => changes.push(p.intr));
  const out = (...writes: [number, number][]) => writes.forEach(([port, value]) => p.writePort(port, value));
  out([0x20, 0x11], [0x21, 0x20], [0x21, 0x04], [0x21, icw4], [0xa0, 0x11], [0xa1, 0x28], [0xa1, 0x02], [0xa1, icw4]);
  const isr = (port = 0x20) => {
    p.writePort(port, 0x0b);
    return p.readPort(port);
  };
  const irr = (port = 0x20) => {
    p.writePort(port, 0x0a);
    return p.readPort(port);
  };
  return { p, out, isr, irr, changes };
}

describe('8259A', () => {
  it('serves by priority, nests, and ends with a non-specific EOI', () => {
    const { p, out, isr, irr } = pic();
    p.setIrq(4, 1);
    p.setIrq(1, 1);
    assert.equal(irr(), 0x12);
    assert.equal(p.acknowledge(), 0x21);
    assert.equal(p.intr, false, 'IR4 waits behind IR1');
    p.setIrq(0, 1);
    assert.equal(p.intr, true, 'IR0 goes before IR1');
    assert.equal(p.acknowledge(), 0x20);
    assert.equal(isr(), 0x03);
    out([0x20, 0x20]);
    assert.equal(isr(), 0x02);
    out([0x20, 0x20]);
    assert.equal(p.acknowledge(), 0x24);
    out([0x20, 0x64]);
    assert.equal(isr(), 0);
  });

  it('needs a new edge on an edge-triggered input, and repeats on a level-triggered one', () => {
    const { p, out } = pic();
    p.setIrq(5, 1);
    assert.equal(p.acknowledge(), 0x25);
    out([0x20, 0x20]);
    assert.equal(p.intr, false);
    p.setIrq(5, 0);
    p.setIrq(5, 1);
    assert.equal(p.intr, true);
    p.acknowledge();
    out([0x20, 0x20], [0x4d0, 0xff]);
    assert.equal(p.readPort(0x4d0), 0xf8, 'IRQ 0-2 are always edge-triggered');
    assert.equal(p.acknowledge(), 0x25);
    out([0x20, 0x20]);
    assert.equal(p.intr, true);
    p.setIrq(5, 0);
    assert.equal(p.intr, false);
    out([0x4d1, 0xff]);
    assert.equal(p.readPort(0x4d1), 0xde, 'IRQ 8 and 13 are always edge-triggered');
  });

  it('gives IR7 when the request has gone, without setting ISR', () => {
    const { p, isr } = pic();
    p.setIrq(3, 1);
    p.setIrq(3, 0);
    assert.equal(p.intr, false);
    assert.equal(p.acknowledge(), 0x27);
    assert.equal(isr(), 0);
  });

  it('cascades: the slave interrupts through IR2, and a lost request there is IRQ 15', () => {
    const { p, out, isr } = pic();
    p.setIrq(8, 1);
    assert.equal(p.acknowledge(), 0x28);
    assert.equal(isr(), 0x04);
    assert.equal(isr(0xa0), 0x01);
    p.setIrq(14, 1);
    assert.equal(p.intr, false);
    out([0xa0, 0x20]);
    assert.equal(p.intr, false, 'the master still serves IR2');
    out([0x20, 0x20]);
    assert.equal(p.intr, true);
    assert.equal(p.acknowledge(), 0x2e);
  });

  it('lets a higher slave input in while a lower one is served, in special fully nested mode', () => {
    for (const [icw4, nested] of [
      [0x01, false],
      [0x11, true],
    ] as const) {
      const { p } = pic(icw4);
      p.setIrq(12, 1);
      assert.equal(p.acknowledge(), 0x2c);
      p.setIrq(8, 1);
      assert.equal(p.intr, nested);
    }
  });

  it('masks, and keeps the request meanwhile', () => {
    const { p, out } = pic();
    out([0x21, 0x10]);
    p.setIrq(4, 1);
    assert.equal(p.intr, false);
    out([0x21, 0x00]);
    assert.equal(p.intr, true);
  });

  it('ends interrupts itself in automatic EOI mode, rotating if told', () => {
    const { p, out, isr } = pic(0x03);
    out([0x20, 0x80]);
    p.setIrq(0, 1);
    p.setIrq(1, 1);
    assert.equal(p.acknowledge(), 0x20);
    assert.equal(isr(), 0);
    p.setIrq(0, 0);
    p.setIrq(0, 1);
    assert.equal(p.acknowledge(), 0x21, 'IR0 is the lowest now');
    assert.equal(p.acknowledge(), 0x20);
  });

  it('rotates on EOI and sets the priority', () => {
    const { p, out } = pic();
    p.setIrq(3, 1);
    p.acknowledge();
    out([0x20, 0xa0]); // rotate on non-specific EOI: IR3 is the lowest
    p.setIrq(3, 0);
    p.setIrq(3, 1);
    p.setIrq(6, 1);
    assert.equal(p.acknowledge(), 0x26);
    out([0x20, 0x20], [0x20, 0xc0 | 2]); // IR2 lowest, so IR3 first
    assert.equal(p.acknowledge(), 0x23);
  });

  it('opens lower levels in special mask mode, and EOI skips the masked one', () => {
    const { p, out, isr } = pic();
    p.setIrq(1, 1);
    p.acknowledge();
    p.setIrq(5, 1);
    assert.equal(p.intr, false);
    out([0x21, 0x02], [0x20, 0x68]);
    assert.equal(p.acknowledge(), 0x25);
    out([0x20, 0x20]);
    assert.equal(isr(), 0x02);
  });

  it('acknowledges by poll', () => {
    const { p, out, isr } = pic();
    out([0x20, 0x0c]);
    assert.equal(p.readPort(0x20), 0x00);
    p.setIrq(6, 1);
    out([0x20, 0x0c]);
    assert.equal(p.readPort(0x20), 0x86);
    assert.equal(isr(), 0x40);
    assert.equal(p.intr, false);
  });

  it('forgets mask, requests and service on ICW1, and takes a single 8259 without ICW3', () => {
    const { p, out, irr, isr } = pic();
    out([0x21, 0xff]);
    p.setIrq(1, 1);
    out([0x20, 0x13], [0x21, 0x40], [0x21, 0x01]);
    assert.deepEqual([p.readPort(0x21), irr(), isr()], [0, 0, 0]);
    p.setIrq(2 + 1, 1);
    assert.equal(p.acknowledge(), 0x43);
  });
});
