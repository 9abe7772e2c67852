/** What programs of the adapter tell V8. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { INLINING } from '../../../debug-adapter/node/prepare';

describe("V8's flags", () => {
  it('are ones that it has: others would do nothing', () => {
    const run = (flag: string): number | null => spawnSync(process.execPath, [flag, '-e', '0']).status;
    assert.equal(run(INLINING), 0);
    assert.notEqual(run(`${INLINING.split('=')[0]}x=1`), 0);
  });
});
