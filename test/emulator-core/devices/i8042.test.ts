// Expected values: IBM PS/2 Technical Reference, "Keyboard and Auxiliary Device Controller".
import assert from 'node:assert/strict';
import { rig } from './rig';

function keyboard() {
  const r = rig();
  const drain = () => {
    const got: number[] = [];
    while (r.in(0x64) & 1) got.push(r.in(0x60));
    return got;
  };
  const command = (value: number, ...data: number[]) => {
    r.out(0x64, value);
    for (const byte of data) r.out(0x60, byte);
    return drain();
  };
  const send = (...data: number[]) => (data.forEach((byte) => r.out(0x60, byte)), drain());
  return { ...r, drain, command, send };
}

describe('i8042', () => {
  it('passes its tests and keeps its command byte', () => {
    const { command, in: read } = keyboard();
    assert.equal(read(0x64) & 0x17, 0x14);
    assert.deepEqual(command(0xaa), [0x55]);
    assert.deepEqual(command(0xab), [0x00]);
    assert.deepEqual(command(0x60, 0x07), []);
    assert.deepEqual(command(0x20), [0x07]);
  });

  it('answers as an MF2 keyboard, translated and not', () => {
    const { command, send } = keyboard();
    assert.deepEqual(send(0xff), [0xfa, 0xaa]);
    assert.deepEqual(send(0xf2), [0xfa, 0xab, 0x41]);
    assert.deepEqual(send(0xed, 0x07), [0xfa, 0xfa]);
    assert.deepEqual(send(0xf0, 0x00), [0xfa, 0xfa, 0x41]);
    assert.deepEqual(send(0xee), [0xee]);
    assert.deepEqual(send(0x99), [0xfe]);
    command(0x60, 0x00);
    assert.deepEqual(send(0xf2), [0xfa, 0xab, 0x83]);
  });

  it('translates keys, and interrupts once a byte', () => {
    const { platform, in: read, drain } = keyboard();
    assert.equal(platform.keyboard.keys(Uint8Array.of(0x1c, 0xf0, 0x1c, 0xe0, 0x75)), 5); // A, release A, up
    assert.equal(platform.irqLines.level(1), 1);
    assert.equal(read(0x60), 0x1e);
    assert.deepEqual(drain(), [0x9e, 0xe0, 0x48]);
    assert.equal(platform.irqLines.level(1), 0);
    assert.equal(platform.keyboard.keys(new Uint8Array(5000)), 1024);
  });

  it('holds keys while the keyboard is disabled', () => {
    const { platform, command, drain } = keyboard();
    command(0xad);
    platform.keyboard.keys(Uint8Array.of(0x1c));
    assert.deepEqual(drain(), []);
    assert.deepEqual(command(0xae), [0x1e]);
  });

  it("marks what comes from the mouse's port, and interrupts on line 12 where the command byte says so", () => {
    const { platform, out, in: read, command } = keyboard();
    command(0xa8);
    out(0x64, 0xd3);
    out(0x60, 0x5a);
    assert.equal(read(0x64) & 0x61, 0x21);
    assert.equal(platform.irqLines.level(12), 0);
    assert.equal(read(0x60), 0x5a);
    command(0x60, 0x47);
    out(0x64, 0xd4);
    out(0x60, 0xf4);
    assert.equal(read(0x64) & 0x61, 0x21);
    assert.deepEqual([platform.irqLines.level(1), platform.irqLines.level(12)], [0, 1]);
    assert.equal(read(0x60), 0xfa);
    assert.equal(platform.irqLines.level(12), 0);
  });

  it('resets the machine and switches A20, here and at ports 92h and CF9h', () => {
    const { platform, command, out, in: read, log } = keyboard();
    command(0xfe);
    command(0xd1, 0xce);
    out(0x92, 0x03);
    out(0xcf9, 0x02);
    out(0xcf9, 0x06);
    assert.deepEqual(log, ['reset', 'reset', 'reset', 'reset']);
    assert.equal(platform.a20, true);
    out(0x92, 0x00);
    command(0xdd);
    assert.equal(platform.a20, false);
    assert.equal(command(0xd0)[0] & 0x02, 0);
    command(0xdf);
    assert.equal(platform.a20, true);
    assert.equal(read(0xcf9), 0x06);
  });
});
