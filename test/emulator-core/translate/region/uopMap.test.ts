/** The map that planning asks. Expected values are those of JavaScript's Map. */
import assert from 'node:assert/strict';
import { Uop } from '../../../../emulator-core/cpu/layout';
import { UopMap } from '../../../../emulator-core/translate/region/uopMap';

/** Micro-ops as they lie: some one behind the other, others anywhere. */
function* places(seed: number, count: number): Generator<number> {
  let random = seed;
  for (let i = 0, at = 0; i < count; i++) {
    random = (Math.imul(random, 1103515245) + 12345) & 0x7fffffff;
    at = random % 3 ? at + 1 : random >> 8;
    yield (at % 0x1000000) * Uop.bytes;
  }
}

describe('UopMap', () => {
  it('holds as many as it is made for, round after round', () => {
    const MOST = 400;
    const map = new UopMap(MOST);
    for (let round = 1; round <= 50; round++) {
      map.clear();
      const expected = new Map<number, number>();
      for (const uop of places(round, MOST)) {
        assert.equal(map.get(uop), expected.get(uop) ?? -1);
        map.set(uop, expected.size);
        expected.set(uop, expected.size);
      }
      for (const [uop, number] of expected) assert.equal(map.get(uop), number);
      for (const uop of places(round + 1000, MOST)) assert.equal(map.get(uop), expected.get(uop) ?? -1);
    }
  });
});
