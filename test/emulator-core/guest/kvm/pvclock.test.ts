import { strict as assert } from 'node:assert';
import { pvclockScale } from '../../../../emulator-core/guest/kvm/pvclock';
import { AREA, CODE, KvmMachine, START_TIME } from './kvmMachine';

const SYSTEM_TIME = 0x4b564d01;
const WALL_CLOCK = 0x4b564d00;

interface TimeInfo {
  version: number;
  timestamp: bigint;
  systemTime: bigint;
  mul: bigint;
  shift: number;
  flags: number;
}
/** struct pvclock_vcpu_time_info as msr.rst lays it out. */
function timeInfo(t: KvmMachine, at = AREA): TimeInfo {
  const view = new DataView(t.read(at, 32).buffer);
  return {
    version: view.getUint32(0, true),
    timestamp: view.getBigUint64(8, true),
    systemTime: view.getBigUint64(16, true),
    mul: BigInt(view.getUint32(24, true)),
    shift: view.getInt8(28),
    flags: view.getUint8(29),
  };
}
/** The conversion that msr.rst gives guests. */
function guestTime({ timestamp, systemTime, mul, shift }: TimeInfo, tsc: bigint): bigint {
  let time = tsc - timestamp;
  time = shift >= 0 ? time << BigInt(shift) : time >> BigInt(-shift);
  return ((time * mul) >> 32n) + systemTime;
}

describe('kvmclock', () => {
  it('scales any counter to nanoseconds', () => {
    for (const hz of [1e9, 2.4e9, 999_999_999, 32_768, 1_193_182, 5e9]) {
      const { mul, shift } = pvclockScale(hz);
      assert.ok(mul >= 2 ** 31 && mul < 2 ** 32, `${hz}: ${mul}`);
      const ticks = BigInt(hz) * 100n;
      const shifted = shift >= 0 ? ticks << BigInt(shift) : ticks >> BigInt(-shift);
      const ns = Number((shifted * BigInt(mul)) >> 32n);
      assert.ok(Math.abs(ns - 100e9) < 100, `${hz}: ${ns}`);
    }
  });

  it("is written when enabled, and the guest's conversion gives virtual time", () => {
    const t = new KvmMachine();
    t.writeMsr(SYSTEM_TIME, BigInt(AREA) | 1n);
    const info = timeInfo(t);
    assert.equal(info.version, 2);
    assert.equal(info.flags, 1, 'PVCLOCK_TSC_STABLE_BIT');
    // mov ecx, 1000; 1: dec ecx; jnz 1b; rdtsc
    t.run(CODE, 'b9e8030000 ffc9 75fc 0f31', {}, 2002);
    const tsc = (t.get('rdx') << 32n) | t.get('rax');
    // RDTSC read the count before it retired: 8 ns.
    assert.equal(guestTime(info, tsc), BigInt(t.machine.clock.now()) - 8n);
  });

  it('versions are even when it is whole, whatever the guest left there', () => {
    const t = new KvmMachine();
    t.write32(AREA, 7);
    t.writeMsr(SYSTEM_TIME, BigInt(AREA) | 1n);
    assert.equal(timeInfo(t).version, 10);
    t.writeMsr(SYSTEM_TIME, BigInt(AREA) | 1n);
    assert.equal(timeInfo(t).version, 12);
  });

  it('follows writes of the TSC; the stable flag goes when the counters of vCPUs differ', () => {
    const t = new KvmMachine({ cpus: 2 });
    t.writeMsr(SYSTEM_TIME, BigInt(AREA) | 1n);
    const before = timeInfo(t);
    t.writeMsr(0x10, 0x1234_5678_9abcn);
    const after = timeInfo(t);
    assert.equal(after.version, before.version + 2);
    assert.equal(after.timestamp, 0x1234_5678_9abcn);
    assert.equal(after.flags, 0);
    t.machine.clock.setTsc(1, t.machine.clock.tsc(0));
    assert.equal(timeInfo(t).flags, 1);
  });

  it('stays away from memory once disabled, and from what is not RAM', () => {
    const t = new KvmMachine();
    t.writeMsr(SYSTEM_TIME, BigInt(AREA) | 1n);
    t.writeMsr(SYSTEM_TIME, BigInt(AREA));
    const { version } = timeInfo(t);
    t.writeMsr(0x10, 5n);
    assert.equal(timeInfo(t).version, version);
    for (const gpa of [(8n << 20n) - 16n, 1n << 40n, 0xffff_ffff_ffff_fffen]) {
      assert.equal(t.writeMsr(SYSTEM_TIME, gpa | 1n), true);
    }
  });

  it('written over the instruction behind the WRMSR, it is what runs next', () => {
    const t = new KvmMachine();
    const rax = (CODE + 4) | 1;
    t.run(CODE + 2, '0f30 90909090', { rcx: SYSTEM_TIME, rax, rdx: 0 }, 2);
    // The version was 90909090h and is 90909092h: XCHG EAX, EDX instead of NOP.
    assert.deepEqual([t.get('rax'), t.get('rdx')], [0n, BigInt(rax)]);
  });

  it('wall clock: seconds and nanoseconds at boot', () => {
    const t = new KvmMachine();
    t.writeMsr(WALL_CLOCK, BigInt(AREA));
    assert.equal(t.read32(AREA), 2);
    assert.equal(t.read32(AREA + 4), Math.floor(START_TIME / 1000));
    assert.equal(t.read32(AREA + 8), 250_000_000);
    assert.equal(t.writeMsr(WALL_CLOCK, (8n << 20n) - 4n), true);
  });
});
