import { strict as assert } from 'node:assert';
import { AREA, CODE, KvmMachine } from './kvmMachine';

const EOI_ENABLE = 0x4b564d04;
const HANDLER = CODE + 0x100;
const [EOI, ISR, IRR] = [0xb0, 0x100, 0x200];

/** vCPU 0 in a loop with interrupts on and PV EOI enabled; every vector's handler is an endless loop at HANDLER. */
function machine(cpus = 1): KvmMachine {
  const t = new KvmMachine({ cpus });
  const apic = t.machine.platform.apic(0);
  apic.writeRegister(0xf0, 0x1ff);
  t.writeMsr(EOI_ENABLE, BigInt(AREA) | 1n);
  t.write(HANDLER, [0xeb, 0xfe]);
  for (const vector of [0x40, 0x50, 0x60]) t.gate('64', vector, HANDLER);
  t.write(CODE, [0xeb, 0xfe]);
  t.cpu.rip = BigInt(CODE);
  t.set({ rsp: 0xa000 });
  t.cpu.rflags = 0x202;
  return t;
}
function interrupt(t: KvmMachine, vector: number, level = false): void {
  t.machine.platform.apic(0).accept({ destination: 0, logical: false, mode: 0, vector, level });
}
const word = (t: KvmMachine): number => t.read32(AREA);
/** Reads the bank's bit by way of save(), which has no side effects. */
function bit(t: KvmMachine, bank: number, vector: number): boolean {
  const { registers } = t.machine.platform.apic(0).save();
  return ((registers[(bank >> 4) + (vector >> 5)] >>> (vector & 31)) & 1) === 1;
}

// Linux Documentation/virt/kvm/x86/msr.rst, MSR_KVM_EOI_EN.
describe('PV EOI', () => {
  it('sets the bit with the interrupt, and the guest ends it by clearing the bit', () => {
    const t = machine();
    interrupt(t, 0x50);
    t.machine.run(10);
    assert.equal(t.cpu.rip, BigInt(HANDLER));
    assert.equal(word(t), 1);
    t.write32(AREA, 0);
    // The next one, though its priority is lower, finds nothing in service.
    t.cpu.rflags = 0x202;
    interrupt(t, 0x40);
    assert.equal(bit(t, ISR, 0x50), false);
    t.machine.run(10);
    assert.equal(bit(t, ISR, 0x40), true);
    assert.equal(word(t), 1);
  });

  it('is taken back when another interrupt comes first: then EOI is needed', () => {
    const t = machine();
    interrupt(t, 0x50);
    t.machine.run(10);
    interrupt(t, 0x40);
    assert.equal(word(t), 0);
    assert.equal(bit(t, ISR, 0x50), true);
    t.machine.platform.apic(0).writeRegister(EOI, 0);
    assert.equal(bit(t, ISR, 0x50), false);
    assert.equal(bit(t, IRR, 0x40), true);
  });

  it('is not offered while another interrupt waits, nor for a level-triggered one', () => {
    const t = machine();
    t.cpu.rflags = 2;
    interrupt(t, 0x40);
    interrupt(t, 0x50);
    t.cpu.rflags = 0x202;
    t.cpu.attention = true;
    t.machine.run(10);
    assert.equal(t.cpu.rip, BigInt(HANDLER));
    assert.equal(word(t), 0);
    const other = machine();
    interrupt(other, 0x50, true);
    other.machine.run(10);
    assert.equal(other.cpu.rip, BigInt(HANDLER));
    assert.equal(word(other), 0);
  });

  it('an EOI that the guest writes nevertheless counts once', () => {
    const t = machine();
    interrupt(t, 0x50);
    t.machine.run(10);
    t.machine.platform.apic(0).writeRegister(EOI, 0);
    assert.equal(word(t), 0);
    assert.equal(bit(t, ISR, 0x50), false);
    interrupt(t, 0x40);
    t.cpu.rflags = 0x202;
    t.machine.run(10);
    assert.equal(bit(t, ISR, 0x40), true);
  });

  it('a nested interrupt ends alone', () => {
    const t = machine();
    interrupt(t, 0x50);
    t.machine.run(10);
    t.cpu.rflags = 0x202;
    interrupt(t, 0x60);
    t.machine.run(10);
    assert.equal(word(t), 1);
    t.write32(AREA, 0);
    assert.equal(t.machine.platform.apic(0).readRegister(ISR + 0x20), 1 << 16, 'only 50h is in service');
  });

  it('does nothing when disabled or off the end of memory', () => {
    const t = machine();
    t.writeMsr(EOI_ENABLE, 0n);
    t.write(CODE, [0xeb, 0xfe]);
    t.cpu.rip = BigInt(CODE);
    t.cpu.rflags = 0x202;
    interrupt(t, 0x50);
    t.machine.run(10);
    assert.equal(word(t), 0);
    assert.equal(t.writeMsr(EOI_ENABLE, (8n << 20n) | 1n), false);
  });

  it('counts for the choice of the processor with the lowest priority', () => {
    const t = machine(2);
    t.machine.platform.apic(1).writeRegister(0xf0, 0x1ff);
    interrupt(t, 0x50);
    t.machine.run(10);
    t.write32(AREA, 0);
    const both = { destination: 0xff, logical: false, mode: 1, vector: 0x40, level: false };
    assert.equal(t.machine.platform.apicBus.deliver(both), true);
    assert.equal(bit(t, IRR, 0x40), true, 'vCPU 0 has nothing in service and comes first');
  });

  it('changes its byte alone, and an instruction in it runs as it is then', () => {
    const at = AREA + 0x40;
    const t = new KvmMachine();
    const apic = t.machine.platform.apic(0);
    apic.writeRegister(0xf0, 0x1ff);
    t.writeMsr(EOI_ENABLE, BigInt(at) | 1n);
    t.enter('32');
    t.gate('32', 0x50, at - 5);
    // The handler reads the APIC's version; behind that ADD EAX, EAX (01 C0) becomes ADD AL, AL (00 C0).
    t.writeHex(at - 5, 'a13000e0fe 01c0 9090 ebfe');
    t.write(CODE, [0xeb, 0xfe]);
    t.cpu.rip = BigInt(CODE);
    t.set({ rsp: 0xa000 });
    t.cpu.rflags = 0x202;
    apic.accept({ destination: 0, logical: false, mode: 0, vector: 0x50, level: false });
    t.machine.run(10);
    assert.deepEqual([...t.read(at, 4)], [0x00, 0xc0, 0x90, 0x90]);
    assert.equal(t.get('rax'), 0x50028n);
  });

  it('is saved and restored', () => {
    const t = machine();
    t.machine.record();
    interrupt(t, 0x50);
    t.machine.run(10);
    const saved = t.machine.guest!.save();
    t.machine.guest!.reset();
    t.machine.guest!.restore(structuredClone(saved));
    t.write32(AREA, 0);
    interrupt(t, 0x40);
    assert.equal(bit(t, ISR, 0x50), false);
  });
});
