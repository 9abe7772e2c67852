/** Which threads of a process give way to others. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { skip } from '../../skip';

const MODULE = path.join(__dirname, '../../../debug-adapter/node/priority.ts');

/** Runs a statement in a process of its own: priorities (nice values) of the main thread and of the others. */
function priorities(statement: string): { main: number; others: number[] } {
  const script = `
    const { lowerHelpers, lowerThisThread } = require(${JSON.stringify(MODULE)});
    const { getPriority } = require('node:os');
    const before = require('node:fs').readdirSync('/proc/self/task').map(Number);
    ${statement};
    const others = before.filter((thread) => thread !== process.pid).map((thread) => getPriority(thread));
    console.log(JSON.stringify({ main: getPriority(process.pid), others }));`;
  return JSON.parse(
    execFileSync(process.execPath, ['-r', 'tsx/cjs', '-e', script], { encoding: 'utf8' }),
  ) as ReturnType<typeof priorities>;
}

describe('thread priorities', function () {
  this.timeout(60_000);
  before(function () {
    if (process.platform !== 'linux') skip(this, 'threads with priorities of their own need Linux');
  });

  it("lowerHelpers() lowers those of V8's threads alone", () => {
    const usual = priorities('');
    const lowered = priorities('lowerHelpers()');
    assert.equal(lowered.main, usual.main);
    assert.ok(lowered.others.length > 0);
    for (const priority of lowered.others) assert.equal(priority, Math.max(usual.main, 5));
  });

  it('lowerThisThread() lowers that of the thread that calls it', () => {
    const usual = priorities('');
    const lowered = priorities('lowerThisThread()');
    assert.equal(lowered.main, Math.max(usual.main, 5));
    assert.deepEqual(new Set(lowered.others), new Set([usual.main]));
  });
});
