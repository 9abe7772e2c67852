// Expected values: PC16550D data sheet (register tables, "Interrupt Identification Register", "Modem Control Register").
import assert from 'node:assert/strict';
import { rig } from './rig';

const COM1 = 0x3f8;
const bytes = (text: string) => Uint8Array.from(text, (c) => c.charCodeAt(0));

/** 115200 8N1, FIFO on with a trigger level of 14, OUT2 set, all inputs of the PIC but IRQ 4 masked. */
function configured(ier = 0) {
  const r = rig();
  for (const [register, value] of [
    [3, 0x83],
    [0, 1],
    [1, 0],
    [3, 0x03],
    [2, 0xc7],
    [4, 0x0b],
    [1, ier],
  ]) {
    r.out(COM1 + register, value);
  }
  r.out(0x21, 0xef);
  return r;
}

describe('UART 16550A', () => {
  it('transmits, with THRE and TEMT always set', () => {
    const r = rig();
    for (const c of bytes('hello')) r.out(COM1, c);
    assert.equal(r.console(), 'hello');
    assert.equal(r.in(COM1 + 5), 0x60);
  });

  it('keeps scratch and divisor latch, and shows a 16550A to a detecting driver', () => {
    const r = rig();
    r.out(COM1 + 7, 0xa5);
    r.out(COM1 + 3, 0x80);
    r.out(COM1, 0x34);
    r.out(COM1 + 1, 0x12);
    assert.deepEqual([r.in(COM1), r.in(COM1 + 1), r.in(COM1 + 7)], [0x34, 0x12, 0xa5]);
    r.out(COM1 + 3, 0x03);
    assert.equal(r.in(COM1 + 1), 0);
    assert.equal(r.in(COM1 + 2), 0x01);
    r.out(COM1 + 2, 0x01);
    assert.equal(r.in(COM1 + 2), 0xc1);
    r.out(COM1 + 1, 0xff);
    assert.equal(r.in(COM1 + 1), 0x0f);
  });

  it('receives at line speed and loses nothing however much is typed', () => {
    const r = configured();
    const text = 'x'.repeat(100) + 'end';
    assert.equal(r.platform.consoleInput(bytes(text)), 103);
    r.advance(86805); // ten bits at 115200 baud are 86.8056 us
    assert.equal(r.in(COM1 + 5) & 1, 0);
    r.advance(1);
    assert.equal(r.in(COM1 + 5) & 1, 1);
    r.advance(1e8);
    let got = '';
    for (let i = 0; i < 1000 && got.length < 103; i++) {
      const status = r.in(COM1 + 5);
      assert.equal(status & 0x1e, 0);
      if (status & 1) got += String.fromCharCode(r.in(COM1));
      else r.advance(1e5);
    }
    assert.equal(got, text);
    assert.equal(r.platform.consoleInput(new Uint8Array(70000)), 4096);
  });

  it('interrupts at the trigger level, and four characters after the last byte below it', () => {
    const r = configured(0x01);
    r.platform.consoleInput(bytes('ab'));
    r.advance(2 * 86806);
    assert.equal(r.in(COM1 + 2), 0xc1);
    r.advance(4 * 86806);
    assert.equal(r.in(COM1 + 2), 0xcc);
    assert.equal(r.platform.hasInterrupt(0), true);
    assert.equal(r.platform.acknowledgeInterrupt(0), 0x0c);
    r.in(COM1);
    assert.equal(r.in(COM1 + 2), 0xc1);
    r.in(COM1);
    r.platform.consoleInput(bytes('12345678901234'));
    r.advance(14 * 86806);
    assert.equal(r.in(COM1 + 2), 0xc4);
    r.in(COM1);
    assert.equal(r.in(COM1 + 2), 0xc1);
  });

  it('interrupts when the transmitter is empty: on enabling, and after each write', () => {
    const r = configured();
    assert.equal(r.platform.hasInterrupt(0), false);
    r.out(COM1 + 1, 0x02);
    assert.equal(r.platform.hasInterrupt(0), true);
    assert.equal(r.in(COM1 + 2), 0xc2);
    assert.equal(r.in(COM1 + 2), 0xc1, 'reading IIR takes THRE back');
    r.out(COM1 + 1, 0);
    r.out(COM1 + 1, 0x02);
    assert.equal(r.in(COM1 + 2), 0xc2);
    r.out(COM1, 0x41);
    assert.equal(r.in(COM1 + 2), 0xc1);
    r.advance(10000);
    assert.equal(r.in(COM1 + 2), 0xc2);
  });

  it('gates its interrupt with OUT2', () => {
    const r = configured(0x02);
    assert.equal(r.platform.irqLines.level(4), 1);
    r.out(COM1 + 4, 0x03);
    assert.equal(r.platform.irqLines.level(4), 0);
  });

  it('loops back data, modem lines, overrun and break', () => {
    const r = configured(0x0f);
    assert.equal(r.in(COM1 + 6) & 0xf0, 0xb0);
    r.out(COM1 + 4, 0x1a); // loop, OUT2 -> DCD, RTS -> CTS
    assert.equal(r.in(COM1 + 6), 0x92, 'DSR has changed');
    r.out(COM1 + 4, 0x1e);
    assert.equal(r.in(COM1 + 6), 0xd0, 'RI going on sets no delta');
    r.out(COM1 + 4, 0x1a);
    assert.equal(r.in(COM1 + 6), 0x94, 'RI going off sets TERI');
    for (let i = 0; i < 17; i++) r.out(COM1, i);
    assert.equal(r.console(), '');
    assert.equal(r.in(COM1 + 2), 0xc6, 'line status comes first');
    assert.equal(r.in(COM1 + 5), 0x63);
    for (let i = 0; i < 16; i++) assert.equal(r.in(COM1), i);
    assert.equal(r.in(COM1 + 5), 0x60);
    r.out(COM1 + 3, 0x43);
    assert.equal(r.in(COM1 + 5), 0xf1);
    assert.equal(r.in(COM1), 0);
  });

  it('is alone: COM2 to COM4 read all ones', () => {
    const r = rig();
    for (const base of [0x2f8, 0x3e8, 0x2e8]) assert.equal(r.in(base + 5), 0xff);
  });
});
