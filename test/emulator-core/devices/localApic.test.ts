// Expected values: SDM Vol. 3A, chapter "Advanced Programmable Interrupt Controller (APIC)".
import assert from 'node:assert/strict';
import { rig } from './rig';

const TPR = 0x80;
const PPR = 0xa0;
const EOI = 0xb0;
const SVR = 0xf0;
const ESR = 0x280;
const ICR = 0x300;
const ICR_HIGH = 0x310;
const LVT_TIMER = 0x320;
const LVT_LINT0 = 0x350;

/** All local APICs software-enabled. */
function enabled(cpus = 1) {
  const r = rig({ cpus });
  const apic = (cpu = 0) => r.platform.apic(cpu);
  for (let cpu = 0; cpu < cpus; cpu++) apic(cpu).writeRegister(SVR, 0x1ff);
  const send = (low: number, destination = 0, from = 0) => {
    apic(from).writeRegister(ICR_HIGH, destination << 24);
    apic(from).writeRegister(ICR, low);
  };
  const pending = () => Array.from({ length: cpus }, (_, cpu) => cpu).filter((cpu) => apic(cpu).hasInterrupt());
  return { ...r, apic, send, pending };
}

describe('local APIC', () => {
  it('has the reset values of the manual', () => {
    const { platform } = rig({ cpus: 2 });
    const ap = platform.apic(1);
    const at = (offset: number) => ap.readRegister(offset);
    assert.deepEqual([0x20, 0x30, TPR, 0xd0, 0xe0, SVR].map(at), [1 << 24, 0x50014, 0, 0, 0xffffffff, 0xff]);
    for (let lvt = LVT_TIMER; lvt <= 0x370; lvt += 16) assert.equal(at(lvt), 0x10000);
    assert.deepEqual([ap.apicBase, platform.apic(0).apicBase], [0xfee00800n, 0xfee00900n]);
  });

  it('delivers by priority class, masks by TPR, nests and ends', () => {
    const { apic, send } = enabled();
    const a = apic();
    send(0x40031);
    send(0x40052);
    assert.equal(a.acknowledge(), 0x52);
    assert.equal(a.readRegister(PPR), 0x50);
    assert.equal(a.hasInterrupt(), false);
    send(0x4005f);
    assert.equal(a.hasInterrupt(), false, 'the same class waits');
    send(0x40060);
    assert.equal(a.acknowledge(), 0x60);
    a.writeRegister(EOI, 0);
    assert.equal(a.hasInterrupt(), false);
    a.writeRegister(EOI, 0);
    assert.equal(a.acknowledge(), 0x5f);
    a.writeRegister(EOI, 0);
    a.cr8 = 3;
    assert.equal(a.readRegister(TPR), 0x30);
    assert.equal(a.hasInterrupt(), false);
    a.writeRegister(TPR, 0x2f);
    assert.equal(a.cr8, 2);
    assert.equal(a.acknowledge(), 0x31);
    assert.equal(a.readRegister(0x110), 1 << 17, 'ISR bit 31h');
    a.writeRegister(EOI, 0);
    assert.equal(a.acknowledge(), 0xff, 'nothing pending: the spurious vector');
  });

  it('tells the host whenever the answer of hasInterrupt changes', () => {
    const r = enabled();
    let changes = r.interruptChanges();
    const changed = () => {
      const before = changes;
      changes = r.interruptChanges();
      return changes > before;
    };
    r.send(0x40040);
    assert.ok(changed());
    r.apic().cr8 = 15;
    assert.ok(changed());
    r.apic().cr8 = 0;
    assert.ok(changed());
    r.platform.acknowledgeInterrupt(0);
    assert.ok(changed());
  });

  it('addresses: physical, broadcast, flat, cluster, shorthands, lowest priority', () => {
    const { apic, send, pending } = enabled(4);
    const take = () => {
      const cpus = pending();
      for (const cpu of cpus) {
        apic(cpu).acknowledge();
        apic(cpu).writeRegister(EOI, 0);
      }
      return cpus;
    };
    send(0x4040, 2);
    assert.deepEqual(take(), [2]);
    send(0x4040, 0xff);
    assert.deepEqual(take(), [0, 1, 2, 3]);
    send(0x44040);
    assert.deepEqual(take(), [0]);
    send(0x84040);
    assert.deepEqual(take(), [0, 1, 2, 3]);
    send(0xc4040, 0, 1);
    assert.deepEqual(take(), [0, 2, 3]);
    for (let cpu = 0; cpu < 4; cpu++) apic(cpu).writeRegister(0xd0, (1 << cpu) << 24);
    send(0x4840, 0x0a);
    assert.deepEqual(take(), [1, 3]);
    apic(1).writeRegister(TPR, 0x20);
    send(0x4940, 0x0a);
    assert.deepEqual(take(), [3]);
    for (let cpu = 0; cpu < 4; cpu++) {
      apic(cpu).writeRegister(0xe0, 0x0fffffff);
      apic(cpu).writeRegister(0xd0, (((cpu >> 1) << 4) | (1 << (cpu & 1))) << 24);
    }
    apic(1).writeRegister(TPR, 0);
    send(0x4840, 0x13);
    assert.deepEqual(take(), [2, 3]);
    send(0x4840, 0xf2);
    assert.deepEqual(take(), [1, 3]);
  });

  it('starts processors: INIT resets the APIC but not its ID, de-assert does nothing, SIPI carries its vector', () => {
    const { apic, send, log } = enabled(2);
    apic(1).writeRegister(TPR, 0x40);
    send(0xc500, 1);
    send(0x8500, 1);
    send(0x4608, 1);
    assert.deepEqual(log, ['init 1', 'startup 1 8']);
    assert.deepEqual([apic(1).readRegister(TPR), apic(1).readRegister(SVR)], [0, 0xff]);
    assert.equal(apic(1).readRegister(0x20), 1 << 24);
    send(0x4400, 1);
    assert.equal(log[2], 'nmi 1');
  });

  // As KVM and QEMU have it; the manual leaves it to the processor ("Local APIC ID").
  it('takes another ID in xAPIC mode, shared ones too, until it is disabled', () => {
    const { apic, send, pending } = enabled(3);
    const [ID, base] = [0x20, 0xfee00000n];
    apic(1).writeRegister(ID, 0x77ffffff);
    assert.equal(apic(1).readRegister(ID), 0x77000000);
    send(0x4040, 1);
    assert.deepEqual(pending(), []);
    apic(2).writeRegister(ID, 0x77000000);
    send(0x4040, 0x77);
    assert.deepEqual(pending(), [1, 2]);
    apic(1).restore(structuredClone(apic(1).save()));
    apic(1).init();
    assert.equal(apic(1).readRegister(ID), 0x77000000, 'INIT leaves the ID');
    apic(1).writeApicBase(base);
    apic(1).writeApicBase(base | 0x800n);
    assert.equal(apic(1).readRegister(ID), 1 << 24);
    apic(2).writeApicBase(base | 0xc00n);
    assert.equal(apic(2).readX2apicMsr(0x802), 2n, "x2APIC's is the processor's");
    apic(0).writeRegister(ID, 0x55000000);
    apic(0).reset();
    assert.equal(apic(0).readRegister(ID), 0);
  });

  it('latches errors on a write of ESR, and interrupts through LVT error', () => {
    const { apic, send } = enabled();
    const a = apic();
    a.writeRegister(0x370, 0xee);
    send(0x4000f, 0);
    assert.equal(a.readRegister(ESR), 0);
    a.writeRegister(ESR, 0);
    assert.equal(a.readRegister(ESR), 0x20);
    assert.equal(a.acknowledge(), 0xee);
    a.readRegister(0x40);
    a.writeRegister(ESR, 0);
    assert.equal(a.readRegister(ESR), 0x80);
    a.writeRegister(ESR, 0);
    assert.equal(a.readRegister(ESR), 0);
  });

  it('masks every LVT entry while software-disabled, and takes no vectors then', () => {
    const { apic, send } = enabled();
    const a = apic();
    a.writeRegister(LVT_TIMER, 0x40);
    a.writeRegister(SVR, 0xff);
    assert.equal(a.readRegister(LVT_TIMER), 0x10040);
    a.writeRegister(LVT_TIMER, 0x41);
    assert.equal(a.readRegister(LVT_TIMER), 0x10041);
    send(0x40050);
    assert.equal(a.hasInterrupt(), false);
  });

  it('timer: one-shot counts down at the divided rate and fires once', () => {
    const { apic, advance } = enabled();
    const a = apic();
    a.writeRegister(LVT_TIMER, 0x40);
    a.writeRegister(0x3e0, 0x3); // by 16
    a.writeRegister(0x380, 1000);
    advance(1600);
    assert.equal(a.readRegister(0x390), 900);
    advance(14399);
    assert.equal(a.hasInterrupt(), false);
    advance(1);
    assert.equal(a.acknowledge(), 0x40);
    assert.equal(a.readRegister(0x390), 0);
    a.writeRegister(EOI, 0);
    advance(1e9);
    assert.equal(a.hasInterrupt(), false);
  });

  it('timer: every divide value', () => {
    const { apic, advance } = enabled();
    for (const [value, divisor] of [
      [0, 2],
      [1, 4],
      [2, 8],
      [3, 16],
      [8, 32],
      [9, 64],
      [10, 128],
      [11, 1],
    ]) {
      apic().writeRegister(0x3e0, value);
      apic().writeRegister(0x380, 1000);
      advance(divisor * 10);
      assert.equal(apic().readRegister(0x390), 990, `divide ${value}`);
    }
  });

  it('timer: periodic keeps its period, and writing 0 stops it', () => {
    const { apic, advance, platform } = enabled();
    const a = apic();
    a.writeRegister(LVT_TIMER, 0x20040);
    a.writeRegister(0x3e0, 0xb);
    a.writeRegister(0x380, 1000000);
    let fired = 0;
    for (let i = 0; i < 100; i++) {
      advance(1e6);
      if (!platform.hasInterrupt(0)) continue;
      fired++;
      platform.acknowledgeInterrupt(0);
      a.writeRegister(EOI, 0);
    }
    assert.equal(fired, 100);
    a.writeRegister(0x380, 0);
    advance(1e8);
    assert.equal(a.hasInterrupt(), false);
  });

  it('timer: TSC-deadline arms by MSR, clears it on expiry, ignores the initial count', () => {
    const { apic, advance } = enabled();
    const a = apic();
    a.writeTscDeadline(100n, 0n);
    assert.equal(a.tscDeadline, 0n, 'not in TSC-deadline mode');
    a.writeRegister(LVT_TIMER, 0x40040);
    a.writeRegister(0x380, 5);
    a.writeTscDeadline(5_000n, 1_000n); // 4000 ticks of 2 GHz
    assert.equal(a.tscDeadline, 5_000n);
    advance(1999);
    assert.equal(a.hasInterrupt(), false);
    advance(1);
    assert.equal(a.acknowledge(), 0x40);
    assert.equal(a.tscDeadline, 0n);
    a.writeRegister(EOI, 0);
    a.writeTscDeadline(1n, 10n);
    advance(0);
    assert.equal(a.hasInterrupt(), true, 'a deadline in the past is due at once');
  });

  it('x2APIC: transitions, register access by MSR, 64-bit ICR, logical ID', () => {
    const { apic, pending } = enabled(2);
    const a = apic();
    assert.equal(a.readX2apicMsr(0x802), undefined);
    assert.equal(a.writeApicBase(0xfee00500n), false, 'EXTD without EN');
    assert.equal(a.writeApicBase(1n << 40n), false, 'reserved');
    assert.equal(a.writeApicBase(0xfee00d00n), true);
    assert.equal(a.writeApicBase(0xfee00900n), false, 'x2APIC to xAPIC');
    apic(1).writeApicBase(0xfee00c00n);
    apic(1).writeX2apicMsr(0x80f, 0x1ffn);
    assert.deepEqual([apic(1).readX2apicMsr(0x802), apic(1).readX2apicMsr(0x80d)], [1n, 2n]);
    assert.equal(a.writeX2apicMsr(0x802, 0n), false);
    assert.equal(a.readX2apicMsr(0x80b), undefined);
    assert.equal(a.writeX2apicMsr(0x80b, 1n), false);
    assert.equal(a.readX2apicMsr(0x80e), undefined, 'no DFR');
    assert.equal(a.writeX2apicMsr(0x808, 0x100n), false);
    assert.equal(a.writeX2apicMsr(0x830, 0x1_0000_4040n), true);
    assert.equal(a.readX2apicMsr(0x830), 0x1_0000_4040n);
    assert.deepEqual(pending(), [1]);
    assert.equal(a.writeX2apicMsr(0x83f, 0x41n), true);
    assert.deepEqual(pending(), [0, 1]);
    assert.equal(a.writeApicBase(0xfee00100n), true);
    assert.equal(a.writeApicBase(0xfee00d00n), false, 'disabled to x2APIC');
  });

  it('LINT0 passes the 8259s as ExtINT, as a fixed vector, or not at all', () => {
    const r = enabled();
    const irq4 = r.platform.irqLines.source(4);
    r.out(0x21, 0xef);
    irq4.set(1);
    assert.equal(r.platform.hasInterrupt(0), true);
    r.apic().writeRegister(LVT_LINT0, 0x10700);
    assert.equal(r.platform.hasInterrupt(0), false);
    r.apic().writeRegister(LVT_LINT0, 0x700);
    assert.equal(r.platform.acknowledgeInterrupt(0), 0x0c);
    r.out(0x20, 0x20);
    irq4.set(0);
    r.apic().writeRegister(LVT_LINT0, 0x45);
    irq4.set(1);
    assert.equal(r.platform.acknowledgeInterrupt(0), 0x45);
    irq4.set(0);
    r.apic().writeApicBase(0xfee00100n);
    irq4.set(1);
    assert.equal(r.platform.hasInterrupt(0), true, 'disabled: INTR goes to the boot processor');
  });

  it('is at its page for the current processor, and moves with IA32_APIC_BASE', () => {
    const r = enabled(2);
    const { bus } = r.platform;
    assert.equal(bus.readMmio(0xfee00020, 4), 0);
    assert.equal(bus.readMmio(0xfee00023, 1), 0);
    r.platform.currentCpu = 1;
    assert.equal(bus.readMmio(0xfee00020, 4), 1 << 24);
    assert.equal(bus.readMmio(0xfee00023, 1), 1);
    bus.writeMmio(0xfee00080, 0x30, 4);
    assert.equal(r.apic(1).cr8, 3);
    r.apic(1).writeApicBase(0xd0000800n);
    assert.deepEqual(r.log, ['mmioChanged']);
    assert.equal(bus.readMmio(0xd0000080, 4), 0x30);
    assert.equal(bus.readMmio(0xfee00080, 4), 0xffffffff);
    r.apic(1).writeApicBase(0n);
    assert.equal(bus.findMmio(0xd0000080), undefined);
  });
});
