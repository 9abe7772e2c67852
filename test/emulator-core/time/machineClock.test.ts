/** SDM Vol. 3B, "Time-Stamp Counter": a count of 64 bits, which RDTSC gives in EDX:EAX and WRMSR sets. Here it counts nanoseconds. */
import assert from 'node:assert/strict';
import { NS_PER_INSTRUCTION } from '../../../emulator-core/time/machineClock';
import { TestMachine } from '../testMachine';

const CODE = 0x100000;
const IA32_TSC = 0x10;
const RDTSC = '0f31';
const WRMSR = '0f30';

function pair(t: TestMachine): bigint {
  return (t.get('rdx') << 32n) | t.get('rax');
}

describe('time-stamp counter', () => {
  for (const ns of [0, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 0x123456_89abcdef])
    it(`is ${ns} after as many nanoseconds`, () => {
      const t = new TestMachine().enter('64');
      t.machine.clock.skipTo(ns);
      t.run(CODE, RDTSC, { rax: -1n, rdx: -1n });
      assert.equal(pair(t), BigInt(ns));
      assert.equal(t.machine.clock.tsc(0), BigInt(ns + NS_PER_INSTRUCTION));
    });

  for (const value of [0n, 0xffffffffn, 0x7fffffff_ffffffffn, 0x80000000_00000000n, 0xffffffff_ffffffffn])
    it(`goes on from 0x${value.toString(16)}, which it was set to`, () => {
      const t = new TestMachine().enter('64');
      t.machine.clock.skipTo(1_000_000);
      t.run(CODE, WRMSR + RDTSC, { rcx: IA32_TSC, rax: value & 0xffffffffn, rdx: value >> 32n }, 2);
      // One instruction retired between setting and reading it: WRMSR.
      assert.equal(pair(t), BigInt.asUintN(64, value + BigInt(NS_PER_INSTRUCTION)));
    });
});
