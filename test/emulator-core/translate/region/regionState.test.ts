/** What a region keeps in locals while it is emitted. */
import assert from 'node:assert/strict';
import { RegionState } from '../../../../emulator-core/translate/region/regionState';
import { I32, i64c } from '../../../../emulator-core/translate/wasm';

const state = (): RegionState => new RegionState({ uop: 0, handler: 0 }, true);

describe('temporaries of a region', () => {
  it('are used again when the instruction has ended', () => {
    const s = state();
    const first = s.temporary(I32);
    s.endInstruction();
    assert.equal(s.temporary(I32), first);
  });

  it('stay what they are while other blocks are emitted in the middle of their instruction', () => {
    const s = state();
    const target = s.temporary(I32);
    let inside = -1;
    s.within(() => {
      inside = s.temporary(I32);
      s.endInstruction();
    });
    assert.notEqual(inside, target);
    // Of the blocks' own.
    assert.equal(s.temporary(I32), inside);
    s.endInstruction();
    assert.deepEqual(new Set([s.temporary(I32), s.temporary(I32)]), new Set([target, inside]));
  });
});

describe('what a region knows', () => {
  const BITS = 3;
  const narrow = i64c((1 << BITS) - 1);

  it('is as it was for whoever holds on to it', () => {
    const s = state();
    const before = s.known;
    s.setGpr(0, narrow);
    const after = s.known;
    s.merge();
    assert.deepEqual(
      [before, after, s.known].map(({ registerBits }) => registerBits[0]),
      [32, BITS, 32],
    );
    s.known = after;
    s.setGpr(1, narrow);
    assert.deepEqual(s.known.registerBits.slice(0, 3), [BITS, BITS, 32]);
    assert.deepEqual(after.registerBits.slice(0, 3), [BITS, 32, 32]);
  });

  it('is the wider of two ways where they come together', () => {
    const s = state();
    s.setGpr(0, narrow);
    s.setGpr(1, narrow);
    const first = s.known;
    s.merge();
    s.setGpr(0, narrow);
    s.mergeRegisters(first);
    assert.deepEqual(s.known.registerBits.slice(0, 2), [BITS, 32]);
    assert.deepEqual(first.registerBits.slice(0, 2), [BITS, BITS]);
  });
});
