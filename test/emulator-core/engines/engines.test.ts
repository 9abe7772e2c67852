/** Some of what `npm run differential:engines` runs. */
import assert from 'node:assert/strict';
import { EngineComparison } from './compare';

const SEED = 7 << 26;
const PROGRAMS = 45;

describe('the interpreter and compiled code', () => {
  it(`leave the same machine wherever random programs are stopped (${PROGRAMS} programs)`, function () {
    this.timeout(600_000);
    const comparison = new EngineComparison();
    for (let i = 0; i < PROGRAMS; i++) assert.equal(comparison.check(SEED + i)?.text, undefined);
    const { totals } = comparison;
    assert.equal(totals.programs, PROGRAMS);
    // There was something to compare: code of all kinds, compiled and stopped in.
    assert.ok(totals.blocksCompared > PROGRAMS * 1000);
    assert.ok(
      totals.regions > PROGRAMS * 10 && totals.exceptions > PROGRAMS * 10 && totals.comparisons > PROGRAMS * 10,
    );
  });
});
