// Expected values: IBM PS/2 Hardware Interface Technical Reference, "Mouse"; IntelliMouse: Microsoft's description of its wheel protocol.
import assert from 'node:assert/strict';
import { rig } from './rig';

function mouse() {
  const r = rig();
  const drain = () => {
    const got: number[] = [];
    while (r.in(0x64) & 1) {
      assert.equal(r.in(0x64) & 0x20, 0x20, 'the byte is marked as the mouse');
      got.push(r.in(0x60));
    }
    return got;
  };
  /** Bytes to the mouse, each through command D4h; its answers. */
  const send = (...bytes: number[]) =>
    bytes.flatMap((byte) => {
      r.out(0x64, 0xd4);
      r.out(0x60, byte);
      return drain();
    });
  r.out(0x64, 0xa8);
  const { keyboard } = r.platform;
  const move = (dx: number, dy: number, wheel = 0, buttons = 0) => keyboard.moveMouse(dx, dy, wheel, buttons);
  return { ...r, drain, send, move, keyboard };
}

describe('PS/2 mouse', () => {
  it('resets to 100 reports a second, 4 counts a millimetre, reporting off', () => {
    const { send, keyboard, move, drain } = mouse();
    assert.deepEqual(send(0xff), [0xfa, 0xaa, 0x00]);
    assert.deepEqual(send(0xe9), [0xfa, 0x00, 0x02, 100]);
    assert.deepEqual(send(0xf2), [0xfa, 0x00]);
    assert.equal(keyboard.mouseListens, false);
    move(5, 5);
    assert.deepEqual(drain(), []);
  });

  it('keeps what is set, and tells it', () => {
    const { send, move, drain, keyboard } = mouse();
    assert.deepEqual(send(0xe8, 0x03, 0xf3, 40, 0xe7, 0xf4), [0xfa, 0xfa, 0xfa, 0xfa, 0xfa, 0xfa]);
    assert.equal(keyboard.mouseListens, true);
    move(0, 0, 0, 0b101); // left and middle
    assert.deepEqual(drain(), [0x0d, 0, 0]);
    assert.deepEqual(send(0xe9), [0xfa, 0x36, 0x03, 40]);
    assert.deepEqual(send(0xf6, 0xe9), [0xfa, 0xfa, 0x06, 0x02, 100]);
  });

  it('streams motion and buttons in packets of three bytes, up being positive', () => {
    const { send, move, drain } = mouse();
    send(0xf4);
    move(3, 0);
    assert.deepEqual(drain(), [0x08, 3, 0]);
    move(-1, 2, 0, 1);
    assert.deepEqual(drain(), [0x39, 0xff, 0xfe]);
    move(0, -4, 0, 6);
    assert.deepEqual(drain(), [0x0e, 0, 4]);
    move(0, 0, 1, 6); // no wheel yet
    assert.deepEqual(drain(), []);
    move(0, 0);
    assert.deepEqual(drain(), [0x08, 0, 0]);
  });

  it('adds motion up while nobody reads, loses none of it and no click', () => {
    const { send, move, drain } = mouse();
    send(0xf4);
    for (let i = 0; i < 1000; i++) move(1, 0);
    assert.deepEqual(drain(), [
      ...[0x08, 1, 0],
      ...[0x08, 255, 0],
      ...[0x08, 255, 0],
      ...[0x08, 255, 0],
      ...[0x08, 1000 - 1 - 3 * 255, 0],
    ]);
    move(0, 0, 0, 1);
    move(0, 0, 0, 0);
    assert.deepEqual(drain(), [0x09, 0, 0, 0x08, 0, 0]);
    for (let i = 0; i < 10_000; i++) move(0, 0, 0, i & 1);
    assert.ok(drain().length < 100);
    move(1e9, 0);
    assert.ok(drain().length < 1000);
  });

  it('has a wheel for who sets the rates 200, 100, 80, and five buttons after 200, 200, 80', () => {
    const { send, move, drain } = mouse();
    send(0xf3, 200, 0xf3, 100, 0xf3, 80);
    assert.deepEqual(send(0xf2), [0xfa, 3]);
    send(0xf4);
    move(0, 0, 1);
    assert.deepEqual(drain(), [0x08, 0, 0, 1]);
    move(0, 0, -1, 0b11000);
    assert.deepEqual(drain(), [0x08, 0, 0, 0xff]);
    send(0xf3, 200, 0xf3, 200, 0xf3, 80);
    assert.deepEqual(send(0xf2), [0xfa, 4]);
    move(0, 0, -1, 0b11000);
    assert.deepEqual(drain(), [0x08, 0, 0, 0x3f]);
    assert.deepEqual(send(0xff), [0xfa, 0xaa, 0x00]);
  });

  it('scales 2:1 in stream mode only', () => {
    const { send, move, drain } = mouse();
    send(0xe7, 0xf4);
    for (const [moved, reported] of [
      [1, 1],
      [2, 1],
      [3, 3],
      [4, 6],
      [5, 9],
      [7, 14],
    ]) {
      move(moved, 0);
      assert.deepEqual(drain(), [0x08, reported, 0]);
    }
    send(0xf0);
    move(4, 0);
    assert.deepEqual(send(0xeb), [0xfa, 0x08, 4, 0]);
  });

  it('reports when asked in remote mode, and echoes in wrap mode', () => {
    const { send, move, drain } = mouse();
    assert.deepEqual(send(0xf0), [0xfa]);
    move(1, -1, 0, 2);
    assert.deepEqual(drain(), []);
    assert.deepEqual(send(0xeb), [0xfa, 0x0a, 1, 1]);
    assert.deepEqual(send(0xee, 0xf2, 0x55), [0xfa, 0xf2, 0x55]);
    assert.deepEqual(send(0xec, 0xea), [0xfa, 0xfa]);
  });

  it('asks again for what is no command, then calls it an error, and repeats its last answer', () => {
    const { send } = mouse();
    assert.deepEqual(send(0x01), [0xfe]);
    assert.deepEqual(send(0x01), [0xfc]);
    assert.deepEqual(send(0xf3, 250), [0xfa, 0xfe]);
    assert.deepEqual(send(0xf2, 0xfe), [0xfa, 0x00, 0xfa, 0x00]);
  });

  it('waits while its port is disabled, and keyboard bytes come unmarked', () => {
    const { send, move, drain, out, in: read, platform } = mouse();
    send(0xf4);
    out(0x64, 0xa7);
    move(1, 1);
    assert.equal(read(0x64) & 1, 0);
    platform.keyboard.keys(Uint8Array.of(0x1c));
    assert.equal(read(0x64) & 0x21, 0x01);
    assert.equal(read(0x60), 0x1e);
    out(0x64, 0xa8);
    assert.deepEqual(drain(), [0x28, 1, 0xff]);
  });
});
