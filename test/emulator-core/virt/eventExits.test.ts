/**
 * Exits of software exceptions, and exits while an event is delivered: what they record, and that a stop at one loses nothing.
 * SDM Vol. 3C, "Exception Bitmap", "Information for VM Exits During Event Delivery", "Injecting Events Using VM-Entry ...".
 */
import assert from 'node:assert';
import {
  ExitReason,
  InterruptionType,
  encodeInterruptionInformation,
} from '../../../emulator-core/virt/vmx/exitReasons';
import type { VmExit } from '../../../emulator-core/virt/exit';
import { State } from '../../../emulator-core/cpu/layout';
import { Flag } from '../../../emulator-core/cpu/vcpu';
import { HANDLERS, TestMachine } from '../testMachine';

const CODE = 0x100000;
/** An IDT where the guest's page tables lead to no RAM: reading it is an EPT violation. */
const NOWHERE = 0xc00000n;

function stoppingAt(reasons: number[]): { t: TestMachine; stops: VmExit[] } {
  const stops: VmExit[] = [];
  const t = new TestMachine({}, { exit: (_cpu, exit) => reasons.includes(exit.reason) && stops.push({ ...exit }) > 0 });
  t.enter('64');
  t.set({ rsp: 0x9000 });
  return { t, stops };
}

function resume(t: TestMachine, count = 1): void {
  t.machine.resume();
  t.machine.run(count);
}

describe('the exception bitmap', () => {
  const cases: [string, number, number, string, number][] = [
    ['INT3', 3, InterruptionType.softwareException, 'cc', 1],
    ['INT1', 1, InterruptionType.privilegedSoftwareException, 'f1', 1],
  ];
  for (const [what, vector, type, code, length] of cases) {
    it(`${what} exits with its type and length, and is then delivered`, () => {
      const { t, stops } = stoppingAt([ExitReason.exceptionOrNmi]);
      t.machine.vmm.configure(new Set(), [vector]);
      t.run(CODE, code);
      assert.strictEqual(t.cpu.rip, BigInt(CODE), 'stopped before it');
      const info = encodeInterruptionInformation(vector, type);
      assert.deepStrictEqual([stops.length, stops[0].interruptionInfo, stops[0].instructionLength], [1, info, length]);
      resume(t);
      assert.deepStrictEqual([t.vector, stops.length], [vector, 1]);
      assert.strictEqual(Number(t.read64(Number(t.get('rsp')))), CODE + 1);
    });
  }

  it('INTO exits when OF is set', () => {
    const t = new TestMachine().enter('32');
    t.machine.vmm.configure(new Set(), [4]);
    t.cpu.rflags = 2 | Flag.OF;
    t.run(CODE, 'ce', { rsp: 0x9000 });
    const exit = t.machine.vmm.lastExit(0)!;
    const info = encodeInterruptionInformation(4, InterruptionType.softwareException);
    assert.deepStrictEqual([exit.interruptionInfo, t.vector], [info, 4]);
  });

  it('INT n does not, whatever its vector', () => {
    const { t, stops } = stoppingAt([ExitReason.exceptionOrNmi]);
    t.machine.vmm.configure(new Set(), [3]);
    t.run(CODE, 'cd03');
    assert.deepStrictEqual([t.vector, stops.length], [3, 0]);
  });

  it('#DB has the bits of DR6 as its qualification', () => {
    const { t, stops } = stoppingAt([ExitReason.exceptionOrNmi]);
    t.machine.vmm.configure(new Set(), [1]);
    t.cpu.rflags = 2 | Flag.TF;
    t.run(CODE, '90');
    assert.deepStrictEqual([stops.length, stops[0].qualification], [1, 0x4000n]);
    resume(t);
    assert.strictEqual(t.vector, 1);
  });
});

describe('exits while an event is delivered', () => {
  function broken(): { t: TestMachine; stops: VmExit[]; mend: () => void } {
    const made = stoppingAt([ExitReason.eptViolation]);
    const good = made.t.cpu.get64(State.idtrBase);
    made.t.cpu.set64(State.idtrBase, NOWHERE);
    return { ...made, mend: () => made.t.cpu.set64(State.idtrBase, good) };
  }

  it('an external interrupt is in the IDT-vectoring information, and not lost', () => {
    const { t, stops, mend } = broken();
    const { platform } = t.machine;
    platform.currentCpu = 0;
    platform.bus.writeMmio(0xfee000f0, 0x1ff, 4);
    platform.bus.writeMmio(0xfee00300, 0x40050, 4);
    t.cpu.rflags = 0x202;
    t.run(CODE, '90 90 90');
    assert.strictEqual(stops.length, 1);
    const info = encodeInterruptionInformation(0x50, InterruptionType.externalInterrupt);
    assert.strictEqual(stops[0].idtVectoringInfo, info);
    mend();
    resume(t, 2);
    assert.strictEqual(t.vector, 0x50);
    assert.strictEqual(Number(t.read64(Number(t.get('rsp')))), CODE);
    assert.strictEqual(platform.hasInterrupt(0), false);
  });

  it('a software interrupt, too', () => {
    const { t, stops, mend } = broken();
    t.run(CODE, 'cd40');
    const info = encodeInterruptionInformation(0x40, InterruptionType.softwareInterrupt);
    assert.deepStrictEqual([stops.length, stops[0].idtVectoringInfo, t.cpu.rip], [1, info, BigInt(CODE)]);
    mend();
    resume(t);
    assert.strictEqual(t.vector, 0x40);
  });

  it('an exception, with its error code', () => {
    const { t, stops, mend } = broken();
    t.run(CODE, '8ed8', { rax: 0xf8 });
    const info = encodeInterruptionInformation(13, InterruptionType.hardwareException, true);
    assert.deepStrictEqual([stops[0].idtVectoringInfo, stops[0].idtVectoringError], [info, 0xf8]);
    mend();
    resume(t);
    assert.strictEqual(t.vector, 13);
  });

  it('an instruction that exits twice is stopped at once for each', () => {
    const { t, stops } = stoppingAt([ExitReason.exceptionOrNmi, ExitReason.eptViolation]);
    t.machine.vmm.configure(new Set(), [3]);
    const good = t.cpu.get64(State.idtrBase);
    t.cpu.set64(State.idtrBase, NOWHERE);
    t.run(CODE, 'cc');
    resume(t);
    assert.deepStrictEqual(stops.map((exit) => exit.reason), [ExitReason.exceptionOrNmi, ExitReason.eptViolation]); // prettier-ignore
    t.cpu.set64(State.idtrBase, good);
    resume(t);
    assert.deepStrictEqual([t.vector, stops.length], [3, 2]);
  });
});

describe('NMIs', () => {
  it('are blocked until IRET', () => {
    const t = new TestMachine().enter('64');
    t.writeHex(HANDLERS + 0x20, '49ffc7' + '90' + '48cf'); // inc r15; nop; iretq
    t.set({ rsp: 0x9000 });
    t.writeHex(CODE, 'ebfe');
    t.cpu.rip = BigInt(CODE);
    t.machine.delivery.raiseNmi(t.cpu);
    t.machine.run(1);
    assert.strictEqual(t.get('r15'), 1n);
    t.machine.delivery.raiseNmi(t.cpu);
    t.machine.run(1);
    assert.strictEqual(t.get('r15'), 1n, 'the second waits');
    t.machine.run(2);
    assert.strictEqual(t.get('r15'), 2n, 'until the first has returned');
  });

  it('wait behind STI, also when another vCPU has its turn in between', () => {
    const t = new TestMachine({ cpus: 2 }).enter('64');
    const { memory, vcpus, delivery } = t.machine;
    const other = vcpus[1];
    memory.u8.copyWithin(other.base, t.cpu.base, t.cpu.base + State.scratch);
    other.modeChanged();
    t.writeHex(CODE + 0x100, 'ebfe');
    other.rip = BigInt(CODE + 0x100);
    other.activity = 'active';
    t.writeHex(HANDLERS + 0x20, '4d89fe' + 'ebfe'); // mov r14, r15; jmp $
    // STI is instruction 20000, the last of the first turn.
    t.writeHex(CODE, 'b90f270000' + 'ffc9' + '75fc' + 'fb' + '49ffc7' + 'ebfe'); // mov ecx, 9999; dec ecx; jnz; sti; inc r15; jmp $
    t.set({ rsp: 0x9000 });
    t.cpu.rip = BigInt(CODE);
    t.machine.run(20_000);
    assert.strictEqual(t.cpu.rip, BigInt(CODE + 10));
    delivery.raiseNmi(t.cpu);
    t.machine.run(40_000);
    assert.strictEqual(t.get('r14'), 1n);
  });
});
