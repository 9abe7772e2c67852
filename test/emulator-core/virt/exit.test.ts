import { strict as assert } from 'node:assert';
import { emptyExit, EXIT_LOG_SIZE, ExitLog } from '../../../emulator-core/virt/exit';

describe('VM exit log', () => {
  function fill(log: ExitLog, count: number, reason = 10): void {
    const exit = emptyExit();
    for (let i = 0; i < count; i++) {
      exit.reason = reason;
      exit.icount = log.nextSeq * 10;
      log.record(exit);
    }
  }

  it('keeps every field and numbers exits from 0', () => {
    const log = new ExitLog();
    const exit = {
      seq: 99,
      icount: 2 ** 52 + 1,
      cpu: 3,
      reason: 0x80000021,
      rip: 0xffffffff81000000n,
      qualification: 0x8000000000000001n,
      instructionLength: 2,
      instructionInfo: 0xdeadbeef,
      guestLinear: 0xfedcba9876543210n,
      guestPhysical: 0xfee000b0n,
      interruptionInfo: 0x80000b0e,
      interruptionError: 0xffffffff,
      idtVectoringInfo: 0x80000020,
      idtVectoringError: 7,
      rax: 1n,
      rcx: 2n,
      rdx: 0xffffffffffffffffn,
      firmware: 1,
      rbx: 0x1234n,
      rsi: 0x5678n,
    };
    assert.equal(log.record(exit), 0);
    assert.equal(exit.seq, 0);
    assert.deepEqual(log.get(0), exit);
    assert.equal(log.record(exit), 1);
    assert.deepEqual(log.counters(), [{ reason: 0x21, count: 2 }]);
    assert.equal(log.get(2), undefined);
    assert.equal(log.get(-1), undefined);
  });

  it('forgets the oldest beyond 16,384 but counts all', () => {
    const log = new ExitLog();
    fill(log, 5, 12);
    fill(log, EXIT_LOG_SIZE);
    assert.equal(EXIT_LOG_SIZE, 16384);
    assert.equal(log.get(4), undefined);
    assert.equal(log.get(5)?.icount, 50);
    assert.deepEqual(log.counters(), [
      { reason: 10, count: 16384 },
      { reason: 12, count: 5 },
    ]);
    assert.equal(log.newest(1e9).length, EXIT_LOG_SIZE);
  });

  it('goes on counting beyond 2^32', () => {
    const log = new ExitLog();
    const first = 2 ** 32 - 2;
    log.restore({ next: first, counts: [2 ** 32 - 1] });
    for (let i = 0; i < 4; i++) log.record({ ...emptyExit(), icount: first + i });
    assert.deepStrictEqual(log.counters(), [{ reason: 0, count: 2 ** 32 + 3 }]);
    const newest = log.newest(10);
    assert.deepStrictEqual(
      newest.map(({ seq, icount }) => [seq, icount]),
      [3, 2, 1, 0].map((i) => [first + i, first + i]),
    );
    log.truncateToSeq(first + 1);
    assert.deepStrictEqual([log.nextSeq, log.counters()], [first + 1, [{ reason: 0, count: 2 ** 32 }]]);
  });

  it('gives the newest first, also before a seq, and by vCPU', () => {
    const log = new ExitLog();
    fill(log, 10);
    const other = emptyExit();
    other.cpu = 1;
    log.record(other);
    fill(log, 2);
    const seqs = (exits: { seq: number }[]) => exits.map((exit) => exit.seq);
    assert.deepEqual(seqs(log.newest(3)), [12, 11, 10]);
    assert.deepEqual(seqs(log.newest(2, 5)), [4, 3]);
    assert.deepEqual(seqs(log.newest(5, 2)), [1, 0]);
    assert.deepEqual(log.newest(0), []);
    assert.equal(log.newestOf(1)?.seq, 10);
    assert.equal(log.newestOf(7), undefined);
  });

  it('goes back in time by instruction count and by seq', () => {
    const log = new ExitLog();
    fill(log, 10); // icount 0, 10 ... 90
    log.truncate(50);
    assert.equal(log.nextSeq, 6);
    assert.equal(log.get(6), undefined);
    assert.deepEqual(log.counters(), [{ reason: 10, count: 6 }]);
    log.truncateToSeq(2);
    assert.deepEqual(log.counters(), [{ reason: 10, count: 2 }]);
    assert.equal(log.newest(5)[0].seq, 1);
  });

  it('saves and restores position and counters; what later exits overwrote is gone', () => {
    const log = new ExitLog();
    fill(log, 100);
    const saved = structuredClone(log.save());
    fill(log, EXIT_LOG_SIZE - 50, 12);
    log.restore(saved);
    assert.equal(log.nextSeq, 100);
    assert.deepEqual(log.counters(), [{ reason: 10, count: 100 }]);
    assert.equal(log.get(99)?.reason, 10);
    assert.equal(log.get(49), undefined);
    assert.equal(log.get(100), undefined);
    assert.equal(log.newest(1000).length, 50);
    fill(log, 1, 48);
    assert.equal(log.get(100)?.reason, 48);
    log.reset();
    assert.deepEqual([log.nextSeq, log.counters(), log.get(0)], [0, [], undefined]);
  });
});
