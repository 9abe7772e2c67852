import { strict as assert } from 'node:assert';
import { State } from '../../../../emulator-core/cpu/layout';
import { AREA, CODE, pair, type KvmMachine } from './kvmMachine';

const STEAL_TIME = 0x4b564d03;
/** struct kvm_steal_time: steal at 0, version at 8, preempted at 16. */
const steal = (t: KvmMachine, at: number): bigint => t.read64(at);
const version = (t: KvmMachine, at: number): number => t.read32(at + 8);
const preempted = (t: KvmMachine, at: number): number => t.read(at + 16, 1)[0];
const OTHER = AREA + 64;

/** Both vCPUs in endless loops, with steal time enabled on both. */
function stealing(): KvmMachine {
  const t = pair();
  t.machine.vcpus[1].msrs.set(STEAL_TIME, BigInt(OTHER) | 1n);
  t.writeMsr(STEAL_TIME, BigInt(AREA) | 1n);
  t.write(CODE, [0xeb, 0xfe]);
  t.cpu.rip = BigInt(CODE);
  return t;
}

// Linux Documentation/virt/kvm/x86/msr.rst, MSR_KVM_STEAL_TIME.
describe('steal time', () => {
  it('is zero for a vCPU that always runs, and the version is even', () => {
    const t = pair();
    t.machine.vcpus[1].activity = 'wait-for-sipi';
    t.writeMsr(STEAL_TIME, BigInt(AREA) | 1n);
    t.run(CODE, 'ebfe', {}, 100_000);
    assert.equal(steal(t, AREA), 0n);
    assert.equal(version(t, AREA) % 2, 0);
    assert.ok(version(t, AREA) > 0);
    assert.equal(preempted(t, AREA), 0);
  });

  it('grows by the time of the others, while each takes its turn', () => {
    const t = stealing();
    const start = t.machine.clock.now();
    t.machine.run(1_000_000);
    const passed = t.machine.clock.now() - start;
    const both = Number(steal(t, AREA) + steal(t, OTHER));
    // Whoever runs, the other one waits; what it waits now is not yet reported: at most a turn of 20,000 instructions of 8 ns.
    assert.ok(both <= passed && both >= passed - 2 * 20_000 * 8, `${both} of ${passed}`);
    assert.ok(Math.abs(Number(steal(t, AREA) - steal(t, OTHER))) <= 2 * 20_000 * 8);
    assert.equal(preempted(t, AREA) + preempted(t, OTHER), 1, 'one of them runs');
    assert.equal(version(t, AREA) % 2, 0);
  });

  /** As stealing(), but vCPU 1 halts with interrupts on at its first turn; an interrupt takes it into a loop. */
  function halting(): KvmMachine {
    const t = stealing();
    const [, other] = t.machine.vcpus;
    t.write(CODE + 0x100, [0xf4, 0xeb, 0xfe]);
    other.set64(State.flags, BigInt(other.systemFlags | 0x200));
    while (other.activity === 'active') t.machine.run(1000);
    t.machine.run(1000);
    return t;
  }

  it('does not count while a vCPU is halted; such a one is preempted, too', () => {
    const t = halting();
    const before = steal(t, OTHER);
    const at = version(t, OTHER);
    t.machine.run(200_000);
    assert.equal(preempted(t, OTHER), 1);
    assert.equal(steal(t, OTHER), before);
    assert.equal(version(t, OTHER), at);
  });

  it('counts from when an interrupt wakes it', () => {
    const t = halting();
    t.machine.run(100_000);
    const before = steal(t, OTHER);
    const at = t.machine.clock.now();
    t.machine.platform.apic(1).accept({ destination: 1, logical: false, mode: 0, vector: 0x50, level: false });
    t.machine.run(7);
    assert.equal(preempted(t, OTHER), 1, 'the turn of the other one is not over');
    while (preempted(t, OTHER) === 1) t.machine.run(1);
    // It was scheduled at the beginning of the last instruction.
    assert.equal(Number(steal(t, OTHER) - before), t.machine.clock.now() - 8 - at);
  });

  it('a TLB flush that was asked for while it did not run happens when it does', () => {
    const t = stealing();
    t.machine.run(20_000);
    const waiting = preempted(t, AREA) ? 0 : 1;
    const cpu = t.machine.vcpus[waiting];
    const area = waiting ? OTHER : AREA;
    while (preempted(t, area) === 0) t.machine.run(1000);
    t.write(area + 16, [3]);
    let flushed = 0;
    const { core } = t.machine;
    const flush = core.flushTranslations.bind(core);
    core.flushTranslations = (each) => {
      if (each === cpu) flushed++;
      flush(each);
    };
    t.machine.run(20_000);
    assert.equal(preempted(t, area), 0);
    assert.equal(flushed, 1);
  });

  it('is the same when history is replayed', () => {
    const t = stealing();
    t.machine.record();
    const { history, core } = t.machine;
    t.machine.run(333_333 - core.retired);
    history.take();
    t.machine.run(400_000 - core.retired);
    const shown = [...t.read(AREA, 128)];
    for (let i = 0; i < 2; i++) {
      assert.equal(history.restoreBefore(399_000), 333_333);
      t.machine.run(400_000 - core.retired);
      assert.deepEqual([...t.read(AREA, 128)], shown);
    }
  });
});
