import assert from 'node:assert/strict';
import { BoundedCache } from '../../../debug-adapter/symbols/boundedCache';

describe('a bounded cache', () => {
  it('makes a value once, and again when it was forgotten: the longest unused first', () => {
    const made: string[] = [];
    const cache = new BoundedCache<string, string>(3, (key) => {
      made.push(key);
      return key.toUpperCase();
    });
    for (const key of ['a', 'b', 'c', 'a', 'a', 'd', 'a', 'b']) assert.equal(cache.get(key), key.toUpperCase());
    assert.deepEqual(made, ['a', 'b', 'c', 'd', 'b']);
  });

  it('weighs values; one that is too heavy stays until the next', () => {
    const made: number[] = [];
    const make = (key: number): number => (made.push(key), key);
    const cache = new BoundedCache<number, number>(10, make, (value) => value);
    for (const key of [4, 5, 4, 20, 20, 4, 5]) cache.get(key);
    assert.deepEqual(made, [4, 5, 20, 4, 5]);
  });

  it('keeps what is undefined, and nothing of what could not be made', () => {
    let asked = 0;
    const cache = new BoundedCache<string, undefined>(2, (key) => {
      asked++;
      if (key === 'bad') throw new Error('no');
      return undefined;
    });
    cache.get('good');
    cache.get('good');
    assert.equal(asked, 1);
    assert.throws(() => cache.get('bad'), /no/);
    assert.throws(() => cache.get('bad'), /no/);
    assert.equal(asked, 3);
  });
});
