// Expected values: MC146818A data sheet (register map, "Update Cycle", "Periodic Interrupt Rate").
import assert from 'node:assert/strict';
import { rig } from './rig';

function rtc(options = {}) {
  const r = rig(options);
  const read = (index: number) => (r.out(0x70, index), r.in(0x71));
  const write = (index: number, value: number) => (r.out(0x70, index), r.out(0x71, value));
  const time = () => [0x32, 9, 8, 7, 4, 2, 0].map((index) => read(index).toString(16).padStart(2, '0')).join(' ');
  return { ...r, read, write, time };
}

describe('RTC', () => {
  it('runs from the start time, in BCD, over a leap day', () => {
    const { time, read, advance, out } = rtc();
    out(0x43, 0x30); // stops counter 0: a day of its edges would take seconds
    assert.equal(time(), '20 24 02 28 23 59 58');
    assert.equal(read(6), 4, 'a Wednesday');
    advance(2e9);
    assert.equal(time(), '20 24 02 29 00 00 00');
    advance(86400e9);
    assert.equal(time(), '20 24 03 01 00 00 00');
    assert.deepEqual([read(0x0a), read(0x0b), read(0x0d)], [0x26, 0x02, 0x80]);
  });

  it('shows UIP before each update', () => {
    const { read, advance } = rtc();
    advance(1e9 - 2228001);
    assert.equal(read(0x0a), 0x26);
    advance(1);
    assert.equal(read(0x0a), 0xa6);
    advance(2228000);
    assert.equal(read(0x0a), 0x26);
  });

  it('can be set, in binary and in 12-hour mode', () => {
    const { read, write, time, advance } = rtc();
    write(0x0b, 0x84); // SET, binary, 12 hours
    const values: [number, number][] = [
      [0, 59],
      [2, 59],
      [4, 0x80 | 11],
      [7, 31],
      [8, 12],
      [9, 99],
      [0x32, 19],
    ];
    for (const [index, value] of values) write(index, value);
    advance(5e9);
    assert.equal(read(0), 59, 'SET holds the time');
    write(0x0b, 0x04);
    advance(1e9);
    assert.equal(time(), '14 00 01 01 0c 00 00', '12 am on 2000-01-01');
  });

  it('interrupts periodically, and keeps the line until C is read', () => {
    const { read, write, advance, platform } = rtc();
    write(0x0b, 0x42);
    advance(976563); // 1024 Hz
    assert.equal(platform.irqLines.level(8), 1);
    assert.equal(read(0x0c), 0xc0);
    assert.equal(platform.irqLines.level(8), 0);
    assert.equal(read(0x0c), 0);
    let count = 0;
    for (let i = 0; i < 2000; i++) {
      advance(500000);
      if (read(0x0c) & 0x40) count++;
    }
    assert.equal(count, 1024);
    for (const [rate, ns] of [
      [1, 3906250],
      [2, 7812500],
      [3, 122071],
      [15, 5e8],
    ]) {
      write(0x0a, 0x20 | rate);
      read(0x0c);
      advance(ns - 2);
      assert.equal(read(0x0c) & 0x40, 0, `rate ${rate}`);
      advance(2);
      assert.equal(read(0x0c) & 0x40, 0x40, `rate ${rate}`);
    }
  });

  it('interrupts on update and alarm, with "don\'t care"', () => {
    const { read, write, advance, platform } = rtc();
    write(0x0b, 0x12);
    advance(1e9);
    assert.equal(read(0x0c), 0xd0, 'PF is set whether it interrupts or not');
    write(1, 0x30);
    write(3, 0xc0);
    write(5, 0xff);
    write(0x0b, 0x22);
    read(0x0c);
    advance(30e9);
    assert.equal(platform.irqLines.level(8), 0);
    advance(1e9);
    assert.equal(platform.irqLines.level(8), 1);
    assert.equal(read(0x0c) & 0xb0, 0xb0);
  });

  it('tells the memory size as PC firmware does', () => {
    const { read } = rtc({ memory: new Uint8Array(48 << 20), cpus: 2 });
    const word = (index: number) => read(index) | (read(index + 1) << 8);
    assert.deepEqual([word(0x15), word(0x17), word(0x30), word(0x34)], [640, 47 * 1024, 47 * 1024, 512]);
    assert.equal(read(0x5f), 1);
  });

  it('survives nonsense in its time registers', () => {
    const { write, advance, platform } = rtc();
    for (let index = 0; index < 10; index++) write(index, 0xff);
    write(0x32, 0xff);
    advance(10e9);
    platform.rtc.describe();
  });
});
