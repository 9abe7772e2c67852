import assert from 'node:assert';
import { PointerQueue } from '../../../src/webview/pointer';

describe('the mouse on its way to the guest', () => {
  it('adds motion up, fractions too', () => {
    const queue = new PointerQueue();
    for (let i = 0; i < 10; i++) queue.move(0.25, -1.5);
    assert.deepStrictEqual(queue.takeAll(), [{ dx: 2, dy: -15, wheel: 0, buttons: 0 }]);
    queue.move(0.5, 0, 1);
    assert.deepStrictEqual(queue.takeAll(), [{ dx: 1, dy: 0, wheel: 1, buttons: 0 }]);
    assert.deepStrictEqual(queue.takeAll(), []);
  });
  it('keeps clicks between motions in their order', () => {
    const queue = new PointerQueue();
    queue.move(3, 0);
    queue.press(1);
    queue.move(1, 1);
    queue.press(1);
    queue.press(0);
    assert.deepStrictEqual(queue.takeAll(), [
      { dx: 3, dy: 0, wheel: 0, buttons: 0 },
      { dx: 1, dy: 1, wheel: 0, buttons: 1 },
      { dx: 0, dy: 0, wheel: 0, buttons: 0 },
    ]);
  });
  it('is bounded, and ends with the buttons as they are', () => {
    const queue = new PointerQueue();
    for (let i = 0; i < 1001; i++) queue.press(i & 1 ? 0 : 1);
    const all = queue.takeAll();
    assert.ok(all.length <= 64);
    assert.strictEqual(all.at(-1)!.buttons, 1);
  });
});
