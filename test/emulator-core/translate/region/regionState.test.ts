/** What a region keeps in locals while it is emitted. */
import assert from 'node:assert/strict';
import { RegionState } from '../../../../emulator-core/translate/region/regionState';
import { I32 } from '../../../../emulator-core/translate/wasm';

describe('temporaries of a region', () => {
  const state = (): RegionState => new RegionState({ uop: 0, handler: 0 }, true);

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
