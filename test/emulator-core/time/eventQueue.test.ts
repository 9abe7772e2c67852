import assert from 'node:assert/strict';
import { EventQueue } from '../../../emulator-core/time/eventQueue';

function queueWith(names: string[], ran: string[]): EventQueue {
  const queue = new EventQueue();
  for (const name of names) queue.register(name, (now) => ran.push(`${name}@${now}`));
  return queue;
}

describe('EventQueue', () => {
  it('runs what is due, earliest first, ties by name however they were scheduled', () => {
    for (const order of [
      ['a', 'b', 'c'],
      ['c', 'b', 'a'],
    ]) {
      const ran: string[] = [];
      const queue = queueWith(['a', 'b', 'c'], ran);
      for (const name of order) queue.at(name, name === 'c' ? 5 : 10);
      assert.equal(queue.nextDeadline(), 5);
      queue.runDue(4);
      assert.deepEqual(ran, []);
      queue.runDue(10);
      assert.deepEqual(ran, ['c@10', 'a@10', 'b@10']);
      assert.equal(queue.nextDeadline(), Infinity);
    }
  });

  it('reschedules, cancels, and refuses what it does not know', () => {
    const queue = queueWith(['a', 'b'], []);
    queue.at('a', 5);
    queue.at('b', 7);
    queue.at('a', 9);
    assert.equal(queue.nextDeadline(), 7);
    queue.cancel('b');
    assert.equal(queue.nextDeadline(), 9);
    queue.at('a', Infinity);
    assert.equal(queue.nextDeadline(), Infinity);
    assert.throws(() => queue.at('x', 1), /'x' has no handler/);
    assert.throws(() => queue.at('a', NaN), /not a number/);
    assert.throws(() => queue.register('a', () => {}), /twice/);
    assert.throws(() => queue.restore([{ name: 'x', ns: 1 }]), /'x'/);
  });

  it('ends even when a handler schedules itself in the past', () => {
    const queue = new EventQueue();
    let runs = 0;
    queue.register('again', () => {
      runs++;
      queue.at('again', 0);
    });
    queue.at('again', 0);
    queue.runDue(100);
    assert.equal(runs, 1);
    assert.equal(queue.nextDeadline(), 0);
  });

  it('saves and restores plain data', () => {
    const ran: string[] = [];
    const queue = queueWith(['a', 'b'], ran);
    queue.at('b', 3);
    queue.at('a', 4);
    const saved = JSON.parse(JSON.stringify(queue.save()));
    queue.runDue(10);
    queue.restore(saved);
    assert.deepEqual(queue.save(), saved);
    queue.runDue(3);
    assert.deepEqual(ran, ['b@10', 'a@10', 'b@3']);
  });
});
