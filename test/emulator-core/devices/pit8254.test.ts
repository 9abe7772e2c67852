// Expected values: Intel 8254 data sheet, "Mode Definitions" and "Read-Back Command".
import assert from 'node:assert/strict';
import { PitChannel } from '../../../emulator-core/devices/pitChannel';
import { pulses, rig } from './rig';

/** A counter after control word (counter 0, two-byte access) and count at pulse 0. */
function counter(mode: number, count: number, { bcd = 0, gate = 1 as 0 | 1 } = {}): PitChannel {
  const channel = new PitChannel();
  channel.setGate(gate, 0);
  channel.control(0x30 | (mode << 1) | bcd);
  channel.write(count & 0xff, 0);
  channel.write(count >> 8, 0);
  return channel;
}

const outs = (channel: PitChannel, last: number) => Array.from({ length: last + 1 }, (_, t) => channel.out(t)).join('');
const values = (channel: PitChannel, first: number, last: number) =>
  Array.from({ length: last - first + 1 }, (_, i) => channel.value(first + i));

describe('8254 counter', () => {
  it('mode 0: OUT is low until N + 1 pulses after the count, then counts on', () => {
    const channel = counter(0, 4);
    assert.equal(outs(channel, 7), '00000111');
    assert.deepEqual(values(channel, 1, 7), [4, 3, 2, 1, 0, 0xffff, 0xfffe]);
    assert.equal(channel.nextChange(0), 5);
    assert.equal(channel.nextChange(5), Infinity);
  });

  it('mode 0: a low gate holds the count', () => {
    const channel = counter(0, 4);
    channel.setGate(0, 3);
    assert.equal(channel.value(10), 2);
    assert.equal(channel.nextChange(10), Infinity);
    channel.setGate(1, 20);
    assert.equal(channel.out(21), 0);
    assert.equal(channel.out(22), 1);
  });

  it('mode 1: one shot of N pulses from the gate, retriggerable', () => {
    const channel = counter(1, 3, { gate: 0 });
    assert.equal(channel.out(5), 1);
    channel.setGate(1, 5);
    assert.deepEqual(
      [5, 6, 7, 8, 9].map((t) => channel.out(t)),
      [1, 0, 0, 0, 1],
    );
    channel.setGate(0, 10);
    channel.setGate(1, 10);
    channel.setGate(0, 12);
    channel.setGate(1, 12);
    assert.deepEqual(
      [13, 14, 15, 16].map((t) => channel.out(t)),
      [0, 0, 0, 1],
    );
  });

  it('mode 2: divides by N, low for the last pulse; a new count waits for the end of the period', () => {
    const channel = counter(2, 3);
    assert.equal(outs(channel, 9), '1110110110');
    assert.deepEqual(values(channel, 1, 6), [3, 2, 1, 3, 2, 1]);
    assert.equal(channel.nextChange(1), 4);
    channel.write(5, 5);
    channel.write(0, 5);
    assert.deepEqual(values(channel, 5, 8), [2, 1, 5, 4]);
    assert.equal(channel.nextChange(7), 12);
  });

  it('mode 2: a low gate raises OUT at once, its rise starts over', () => {
    const channel = counter(2, 3);
    channel.setGate(0, 3);
    assert.equal(channel.out(3), 1);
    channel.setGate(1, 10);
    assert.deepEqual(
      [10, 11, 12, 13, 14].map((t) => channel.out(t)),
      [1, 1, 1, 0, 1],
    );
  });

  it('mode 3: square wave, counting by two; odd counts stay high one pulse longer', () => {
    assert.equal(outs(counter(3, 4), 8), '111001100');
    assert.deepEqual(values(counter(3, 4), 1, 8), [4, 2, 4, 2, 4, 2, 4, 2]);
    assert.equal(outs(counter(3, 5), 10), '11110011100');
    assert.deepEqual(values(counter(3, 5), 1, 10), [4, 2, 0, 4, 2, 4, 2, 0, 4, 2]);
    const channel = counter(3, 4);
    assert.deepEqual(
      [0, 3, 5].map((t) => channel.nextChange(t)),
      [3, 5, 7],
    );
  });

  it('mode 3: a new count takes over at the half period', () => {
    const channel = counter(3, 4);
    channel.write(8, 1);
    channel.write(0, 1);
    assert.equal(outs(channel, 14), '111000011110000');
  });

  it('mode 4: a strobe N + 1 pulses after the count; mode 5 after the gate', () => {
    assert.equal(outs(counter(4, 3), 6), '1111011');
    assert.equal(counter(4, 3).nextChange(0), 5, 'the end of the strobe is what interrupts');
    const channel = counter(5, 3, { gate: 0 });
    assert.equal(channel.out(9), 1);
    channel.setGate(1, 10);
    assert.deepEqual(
      [13, 14, 15].map((t) => channel.out(t)),
      [1, 0, 1],
    );
  });

  it('takes 0 as 65536, or 10000 in BCD', () => {
    assert.equal(counter(2, 0).nextChange(1), 65537);
    assert.equal(counter(2, 0, { bcd: 1 }).nextChange(1), 10001);
    const channel = counter(0, 0x1234, { bcd: 1 });
    assert.equal(channel.value(1), 0x1234);
    assert.equal(channel.value(36), 0x1199);
  });

  it('holds a latched count until it is read, and ignores a second latch', () => {
    const channel = counter(0, 0x1234);
    channel.latchCount(1);
    channel.latchCount(0x100);
    assert.deepEqual([channel.read(0x200), channel.read(0x200)], [0x34, 0x12]);
    assert.equal(channel.read(0x135) | (channel.read(0x135) << 8), 0x1100);
  });
});

describe('8254 in the PC', () => {
  it('read-back gives status first: OUT, null count, access, mode', () => {
    const r = rig();
    r.out(0x43, 0xb0); // counter 2, mode 0; its gate is low
    assert.equal(r.in(0x42), 0);
    r.out(0x43, 0xe8); // status only, counter 2
    assert.equal(r.in(0x42), 0x70);
    r.out(0x61, 0x01);
    r.out(0x42, 0x10);
    r.out(0x42, 0x00);
    r.advance(pulses(6));
    r.out(0x43, 0xc8); // status and count
    assert.equal(r.in(0x42), 0x30);
    assert.deepEqual([r.in(0x42), r.in(0x42)], [0x0b, 0x00]);
  });

  it('port 61h: gate and OUT of counter 2, as TSC calibration uses them', () => {
    const r = rig();
    r.out(0x61, (r.in(0x61) & ~0x02) | 0x01);
    r.out(0x43, 0xb0);
    const count = Math.floor(1193182 / 20); // 50 ms
    r.out(0x42, count & 0xff);
    r.out(0x42, count >> 8);
    assert.equal(r.in(0x61) & 0x20, 0);
    r.advance(pulses(count));
    assert.equal(r.in(0x61) & 0x20, 0);
    r.advance(pulses(1));
    assert.equal(r.in(0x61) & 0x2f, 0x21);
  });

  it('port 61h: the refresh bit toggles every 15 us', () => {
    const r = rig();
    let toggles = 0;
    let was = r.in(0x61) & 0x10;
    for (let i = 0; i < 1000; i++) {
      r.advance(1000);
      const is = r.in(0x61) & 0x10;
      if (is !== was) toggles++;
      was = is;
    }
    assert.ok(toggles >= 66 && toggles <= 67, `${toggles}`);
  });

  it('interrupts at the programmed rate through IRQ 0', () => {
    for (const control of [0x34, 0x36]) {
      const r = rig();
      r.out(0x21, 0xfe);
      r.out(0x43, control);
      r.out(0x40, 11932 & 0xff);
      r.out(0x40, 11932 >> 8);
      if (r.platform.hasInterrupt(0)) {
        r.platform.acknowledgeInterrupt(0);
        r.out(0x20, 0x20);
      }
      let ticks = 0;
      for (let ms = 0; ms < 1000; ms++) {
        r.advance(1e6);
        if (!r.platform.hasInterrupt(0)) continue;
        assert.equal(r.platform.acknowledgeInterrupt(0), 0x08);
        r.out(0x20, 0x20);
        ticks++;
      }
      assert.ok(ticks >= 99 && ticks <= 100, `control ${control.toString(16)}: ${ticks}`);
    }
  });

  it('one-shot modes 0 and 4 interrupt once', () => {
    for (const control of [0x30, 0x38]) {
      const r = rig();
      r.out(0x43, control);
      r.out(0x20, 0x11); // forgets edges from before
      for (const value of [0x20, 0x04, 0x01, 0xfe]) r.out(0x21, value);
      r.out(0x40, 100);
      r.out(0x40, 0);
      r.advance(pulses(99));
      assert.equal(r.platform.hasInterrupt(0), false);
      r.advance(pulses(4));
      assert.equal(r.platform.hasInterrupt(0), true);
      assert.equal(r.platform.acknowledgeInterrupt(0), 0x20);
      r.out(0x20, 0x20);
      r.advance(1e9);
      assert.equal(r.platform.hasInterrupt(0), false);
    }
  });
});
