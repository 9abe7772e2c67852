import assert from 'node:assert/strict';
import { ByteQueue } from '../../../emulator-core/machine/byteQueue';
import { ConsoleKeys, TYPED_LIMIT } from '../../../emulator-core/machine/consoleKeys';

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

describe('ByteQueue', () => {
  it('gives bytes in the order in which they came, over the ends of pieces', () => {
    const queue = new ByteQueue();
    for (const piece of ['ab', '', 'cde', 'f']) queue.push(text(piece));
    assert.equal(queue.length, 6);
    assert.deepEqual(queue.peek(9), text('ab'));
    queue.drop(3);
    assert.deepEqual(queue.peek(1), text('d'));
    assert.deepEqual(queue.peek(9), text('de'));
    queue.drop(99);
    assert.equal(queue.length, 0);
    assert.deepEqual(queue.peek(9), new Uint8Array(0));
    queue.push(text('x'));
    assert.deepEqual(queue.peek(9), text('x'));
  });

  it('keeps its order through many small pieces', () => {
    const queue = new ByteQueue();
    let got = '';
    let expected = '';
    for (let i = 0; i < 5000; i++) {
      expected += String(i);
      queue.push(text(String(i)));
      if (i % 3 === 0) continue;
      const some = queue.peek(4);
      got += new TextDecoder().decode(some);
      queue.drop(some.length);
    }
    for (let some = queue.peek(64); some.length > 0; some = queue.peek(64)) {
      got += new TextDecoder().decode(some);
      queue.drop(some.length);
    }
    assert.equal(got, expected);
  });

  it('comes back as it was saved', () => {
    const queue = new ByteQueue();
    queue.push(text('hello'));
    queue.push(text('world'));
    queue.drop(2);
    const saved = structuredClone(queue.save());
    queue.drop(8);
    queue.push(text('other'));
    queue.restore(saved);
    assert.equal(queue.length, 8);
    assert.deepEqual(queue.peek(9), text('llo'));
    queue.drop(3);
    assert.deepEqual(queue.peek(9), text('world'));
  });
});

describe('ConsoleKeys', () => {
  it('hands a pasted megabyte to a UART that takes sixteen bytes at a time, whole and in order', () => {
    const paste = Uint8Array.from({ length: 1 << 20 }, (_, i) => (i * 7) & 0xff);
    const taken: number[] = [];
    const keys = new ConsoleKeys((bytes) => {
      const some = bytes.subarray(0, 16);
      for (const byte of some) taken.push(byte);
      return some.length;
    });
    keys.type(paste, false);
    while (keys.waiting) keys.offer();
    assert.deepEqual(Uint8Array.from(taken), paste);
  });

  it('has no room beyond its limit, and room again once the UART has taken some', () => {
    let open = 0;
    const keys = new ConsoleKeys((bytes) => Math.min(open, bytes.length));
    assert.equal(keys.hasRoom(TYPED_LIMIT), true);
    assert.equal(keys.hasRoom(TYPED_LIMIT + 1), false);
    keys.type(new Uint8Array(TYPED_LIMIT), false);
    assert.equal(keys.hasRoom(1), false);
    open = 10;
    keys.offer();
    assert.equal(keys.hasRoom(10), true);
    assert.equal(keys.hasRoom(11), false);
  });

  it('keeps keys for INT 16h apart', () => {
    const keys = new ConsoleKeys((bytes) => bytes.length);
    keys.type(text('ab'), true);
    assert.equal(keys.waiting, false);
    assert.equal(keys.biosKey(false), 0x61);
    assert.equal(keys.biosKey(true), 0x61);
    const saved = keys.save();
    assert.equal(keys.biosKey(true), 0x62);
    assert.equal(keys.biosKey(true), undefined);
    keys.restore(saved);
    assert.equal(keys.biosKey(true), 0x62);
  });
});
