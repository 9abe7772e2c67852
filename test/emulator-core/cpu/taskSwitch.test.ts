/** Hardware task switches. SDM Vol. 3A, chapter "Task Management": the steps, the TSS layouts, the checks and what they raise. */
import assert from 'node:assert';
import { State } from '../../../emulator-core/cpu/layout';
import { Cr0, Flag } from '../../../emulator-core/cpu/vcpu';
import { ExitReason } from '../../../emulator-core/virt/vmx/exitReasons';
import { GDT, HANDLERS, IDT, Selector, TSS, TestMachine, descriptor } from '../testMachine';

const CODE = 0x100000;
const NEW_TSS = 0x20000;
const NEW_CODE = 0x120000;
const NEW_STACK = 0x30000;
/** Selectors of the test: an available TSS, a task gate, an LDT. */
const TASK = Selector.free;
const GATE = Selector.free + 8;
const LDT = Selector.free + 16;

const TSS32 = { available: 0x89, busy: 0x8b };
const TSS16 = { available: 0x81, busy: 0x83 };

interface Task {
  eip?: number;
  eflags?: number;
  selectors?: Partial<Record<'es' | 'cs' | 'ss' | 'ds' | 'fs' | 'gs', number>>;
  ldt?: number;
  trap?: number;
  link?: number;
  cr3?: number;
}

const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'] as const;

function fillTss32(t: TestMachine, at: number, task: Task = {}): void {
  const selectors = { es: Selector.data, cs: Selector.code32, ss: Selector.data, ds: Selector.data, fs: 0, gs: 0 };
  Object.assign(selectors, task.selectors);
  t.write32(at, task.link ?? 0);
  t.write32(at + 0x1c, task.cr3 ?? 0);
  t.write32(at + 0x20, task.eip ?? NEW_CODE);
  t.write32(at + 0x24, task.eflags ?? 2);
  for (let r = 0; r < 8; r++) t.write32(at + 0x28 + r * 4, r === 4 ? NEW_STACK : 0x11110000 + r);
  SEGMENTS.forEach((s, i) => t.write32(at + 0x48 + i * 4, selectors[s]));
  t.write32(at + 0x60, task.ldt ?? 0);
  t.write16(at + 0x64, task.trap ?? 0);
}

function machine(task: Task = {}, type = TSS32.available, limit = 0x67): TestMachine {
  const t = new TestMachine().enter('32');
  t.write64(GDT + TASK, descriptor(NEW_TSS, limit, type, 0));
  t.write32(GDT + GATE, TASK << 16);
  t.write32(GDT + GATE + 4, 0x8500);
  t.write64(GDT + LDT, descriptor(0x2000, 0xff, 0x82, 0));
  fillTss32(t, NEW_TSS, task);
  for (const v of [8, 10, 11, 12, 13]) t.gate('32', v);
  t.write(NEW_CODE, [0xeb, 0xfe]);
  return t;
}

const far = (opcode: string, selector: number): string =>
  opcode + '00000000' + (selector & 0xff).toString(16).padStart(2, '0') + (selector >> 8).toString(16).padStart(2, '0');
const JMP = far('ea', TASK);
const CALL = far('9a', TASK);
const typeOf = (t: TestMachine, selector: number): number => t.read(GDT + selector + 5, 1)[0];
const errorOf = (t: TestMachine): number => t.read32(Number(t.get('rsp')));

describe('task switches', () => {
  it('JMP saves the old task and loads the new one', () => {
    const t = machine({ eflags: 0x202, selectors: { fs: Selector.data16 } });
    t.cpu.rflags = 0x246;
    t.run(CODE, JMP, { rax: 1, rcx: 2, rdx: 3, rbx: 4, rsp: 0x9000, rbp: 5, rsi: 6, rdi: 7 });
    const saved = Array.from({ length: 8 }, (_, r) => t.read32(TSS + 0x28 + r * 4));
    assert.deepStrictEqual(saved, [1, 2, 3, 4, 0x9000, 5, 6, 7]);
    assert.deepStrictEqual([t.read32(TSS + 0x20), t.read32(TSS + 0x24)], [CODE + 7, 0x246]);
    const selectors = SEGMENTS.map((_, i) => t.read16(TSS + 0x48 + i * 4));
    assert.deepStrictEqual(selectors, [0x10, 0x18, 0x10, 0x10, 0x10, 0x10]);
    assert.deepStrictEqual([t.cpu.rip, t.cpu.rflags, t.get('rsp')], [BigInt(NEW_CODE), 0x202, BigInt(NEW_STACK)]);
    assert.deepStrictEqual([t.get('rax'), t.get('rdi')], [0x11110000n, 0x11110007n]);
    assert.deepStrictEqual([t.selector('tr'), t.selector('fs'), t.selector('gs')], [TASK, Selector.data16, 0]);
    assert.strictEqual(t.cpu.cr0 & Cr0.TS, Cr0.TS);
  });

  it('busy flag, NT and previous-task link follow the table', () => {
    const jump = machine().run(CODE, JMP, { rsp: 0x9000 });
    assert.deepStrictEqual([typeOf(jump, Selector.tss), typeOf(jump, TASK)], [0x89, 0x8b]);
    assert.deepStrictEqual([jump.cpu.rflags & Flag.NT, jump.read16(NEW_TSS)], [0, 0]);

    const call = machine().run(CODE, CALL, { rsp: 0x9000 });
    assert.deepStrictEqual([typeOf(call, Selector.tss), typeOf(call, TASK)], [0x8b, 0x8b]);
    assert.deepStrictEqual([call.cpu.rflags & Flag.NT, call.read16(NEW_TSS)], [Flag.NT, Selector.tss]);

    // IRET goes back: the task that ends is no longer busy, and its NT is cleared in its TSS.
    call.writeHex(NEW_CODE, 'cf');
    call.machine.run(1);
    assert.strictEqual(call.cpu.rip, BigInt(CODE + 7));
    assert.deepStrictEqual([typeOf(call, Selector.tss), typeOf(call, TASK)], [0x8b, 0x89]);
    assert.strictEqual(call.read32(NEW_TSS + 0x24) & Flag.NT, 0);
    assert.strictEqual(call.read32(NEW_TSS + 0x20), NEW_CODE + 1);
    assert.strictEqual(call.selector('tr'), Selector.tss);
  });

  it('through a task gate by JMP and CALL', () => {
    for (const opcode of ['ea', '9a']) {
      const t = machine().run(CODE, far(opcode, GATE), { rsp: 0x9000 });
      assert.deepStrictEqual([t.cpu.rip, t.selector('tr')], [BigInt(NEW_CODE), TASK]);
    }
  });

  it('through a task gate in the IDT: link, NT, and the error code on the new stack', () => {
    const t = machine();
    t.write32(IDT + 13 * 8, TASK << 16);
    t.write32(IDT + 13 * 8 + 4, 0x8500);
    t.run(CODE, '8ed8', { rax: 0xf8, rsp: 0x9000 });
    assert.strictEqual(t.cpu.rip, BigInt(NEW_CODE));
    assert.deepStrictEqual([t.get('rsp'), t.read32(NEW_STACK - 4)], [BigInt(NEW_STACK - 4), 0xf8]);
    assert.deepStrictEqual([t.read16(NEW_TSS), t.cpu.rflags & Flag.NT], [Selector.tss, Flag.NT]);
    // The fault restarts: EIP of the instruction, and RF.
    assert.deepStrictEqual([t.read32(TSS + 0x20), t.read32(TSS + 0x24) & Flag.RF], [CODE, Flag.RF]);
  });

  it('INT n through a task gate returns behind itself', () => {
    const t = machine();
    t.write32(IDT + 0x40 * 8, TASK << 16);
    t.write32(IDT + 0x40 * 8 + 4, 0xe500);
    t.writeHex(NEW_CODE, 'cf');
    t.run(CODE, 'cd40', { rsp: 0x9000, rax: 0x77 }, 2);
    assert.deepStrictEqual([t.cpu.rip, t.get('rax'), t.get('rsp')], [BigInt(CODE + 2), 0x77n, 0x9000n]);
  });

  it('a 16-bit TSS saves and loads words', () => {
    const t = machine({}, TSS16.available, 0x2b);
    const words = [
      0, 0, 0, 0, 0, 0, 0, 0x600, 0x0202, 0xaaaa, 0xcccc, 0xdddd, 0xbbbb, 0x3000, 0x5555, 0x6666, 0x7777,
      Selector.data, Selector.code16, Selector.data16, Selector.data, 0,
    ]; // prettier-ignore
    words.forEach((w, i) => t.write16(NEW_TSS + i * 2, w));
    t.run(CODE, JMP, { rax: 0x12345678, rsp: 0x9000 });
    assert.deepStrictEqual([t.cpu.rip, t.cpu.rflags, t.cpu.bitness], [0x600n, 0x202, 16]);
    assert.deepStrictEqual([t.get('rax') & 0xffffn, t.get('rsp') & 0xffffn], [0xaaaan, 0x3000n]);
    assert.deepStrictEqual([t.selector('fs'), t.selector('gs')], [0, 0]);
    // And back from 16 bits into the 32-bit TSS.
    t.writeHex(0x600, far('66ea', Selector.tss));
    t.machine.run(1);
    assert.deepStrictEqual([t.cpu.rip, t.get('rax')], [BigInt(CODE + 7), 0x12345678n]);
    assert.deepStrictEqual([t.read16(NEW_TSS + 0x0e), t.read16(NEW_TSS + 0x12)], [0x608, 0xaaaa]);
  });

  it('into a virtual-8086 task', () => {
    const selectors = { es: 0x1000, cs: 0x2000, ss: 0x3000, ds: 0x4000, fs: 0x5000, gs: 0x6000 };
    const t = machine({ eip: 0x123, eflags: 0x20002 | (3 << 12), selectors });
    t.run(CODE, JMP, { rsp: 0x9000 });
    assert.deepStrictEqual([t.cpu.v8086, t.cpu.cpl, t.cpu.bitness, t.cpu.rip], [true, 3, 16, 0x123n]);
    assert.deepStrictEqual([t.selector('ds'), t.cpu.segmentBase(3), t.cpu.segmentLimit(3)], [0x4000, 0x40000n, 0xffff]);
  });

  it('loads LDTR, and CR3 when paging is on', () => {
    const t = machine({ ldt: LDT, cr3: 0x40000 });
    const directory = [0x3000, 0x40000];
    for (const at of directory) for (let i = 0; i < 2; i++) t.write32(at + i * 4, (i << 22) | 0x87);
    t.cpu.set64(State.cr3, 0x3000n);
    t.cpu.set64(State.cr4, 0x10n);
    t.cpu.set64(State.cr0, BigInt((t.cpu.cr0 | Cr0.PG) >>> 0));
    t.machine.core.flushAllTranslations();
    t.run(CODE, JMP, { rsp: 0x9000 });
    assert.deepStrictEqual([t.cpu.rip, t.cpu.get64(State.cr3), t.selector('ldtr')], [BigInt(NEW_CODE), 0x40000n, LDT]);
    const off = machine({ cr3: 0x40000 }).run(CODE, JMP, { rsp: 0x9000 });
    assert.strictEqual(off.cpu.get64(State.cr3), 0x1000n);
  });

  it('the T flag is a #DB with BT before the first instruction of the new task', () => {
    const t = machine({ trap: 1 }).run(CODE, JMP, { rsp: 0x9000 });
    assert.strictEqual(t.vector, 1);
    assert.strictEqual(t.cpu.get64(State.dr + 48) & 0xe00fn, 0x8000n);
    assert.strictEqual(errorOf(t), NEW_CODE, 'EIP of the new task was pushed');
  });

  it('clears the local breakpoint enables', () => {
    const t = machine();
    t.cpu.set64(State.dr + 56, 0x7ffn);
    t.run(CODE, JMP, { rsp: 0x9000 });
    assert.strictEqual(t.cpu.get64(State.dr + 56), 0x6aan);
  });

  it('is a VM exit, whose qualification names the selector and the source', () => {
    for (const [code, source] of [[CALL, 0], [JMP, 2]] as const) {
      const t = machine().run(CODE, code, { rsp: 0x9000 });
      const exit = t.machine.vmm.lastExit(0)!;
      assert.deepStrictEqual([exit.reason, exit.qualification], [ExitReason.taskSwitch, BigInt(TASK) + (BigInt(source) << 30n)]);
      assert.strictEqual(exit.instructionLength, 7);
    }
  }); // prettier-ignore
});

describe('faults of task switches in the old task', () => {
  const cases: [string, number, number, number, number, string?][] = [
    ['a busy TSS: #GP', TSS32.busy, 0x67, 13, TASK],
    ['not present: #NP', 0x09, 0x67, 11, TASK],
    ['a limit below 67h: #TS', TSS32.available, 0x66, 10, TASK],
    ['a 16-bit TSS with a limit below 2Bh: #TS', TSS16.available, 0x2a, 10, TASK],
    ['an LDT: #GP', 0x82, 0x67, 13, TASK],
  ];
  for (const [what, type, limit, vector, error, code] of cases) {
    it(what, () => {
      const t = machine({}, type, limit).run(CODE, code ?? JMP, { rsp: 0x9000 });
      assert.deepStrictEqual([t.vector, errorOf(t)], [vector, error]);
      assert.deepStrictEqual([t.selector('tr'), t.read32(0x9000 - 12)], [Selector.tss, CODE]);
    });
  }

  it('DPL of TSS or gate below CPL: #GP with its selector', () => {
    for (const selector of [TASK, GATE]) {
      const t = machine();
      t.segment('cs', Selector.userCode32, 0, 0xffffffff, 0xc0fb);
      t.segment('ss', Selector.userData, 0, 0xffffffff, 0xc0f3);
      t.run(CODE, far('ea', selector), { rsp: 0x9000 });
      assert.deepStrictEqual([t.vector, errorOf(t)], [13, selector]);
    }
  });

  it('IRET with NT whose link is not a busy TSS: #TS with the link', () => {
    const t = machine();
    t.write16(TSS, TASK);
    t.cpu.rflags = Flag.NT | 2;
    t.run(CODE, 'cf', { rsp: 0x9000 });
    assert.deepStrictEqual([t.vector, errorOf(t)], [10, TASK]);
  });

  it('a task gate in the IDT that names no available TSS: #GP with the selector, EXT for exceptions', () => {
    for (const [code, ext] of [['cd40', 0], ['0f0b', 1]] as const) {
      const t = machine({}, TSS32.busy);
      for (const v of [6, 0x40]) {
        t.write32(IDT + v * 8, TASK << 16);
        t.write32(IDT + v * 8 + 4, 0xe500);
      }
      t.run(CODE, code, { rsp: 0x9000 });
      assert.deepStrictEqual([t.vector, errorOf(t)], [13, TASK | ext]);
    }
  }); // prettier-ignore

  it('in IA-32e mode JMP to a TSS and IRET with NT are #GP', () => {
    const t = new TestMachine().enter('compat');
    t.write64(GDT + TASK, descriptor(NEW_TSS, 0x67, TSS32.available, 0));
    t.run(CODE, JMP, { rsp: 0x9000 });
    assert.deepStrictEqual([t.vector, Number(t.read64(Number(t.get('rsp'))))], [13, TASK]);
    const u = new TestMachine().enter('64');
    u.cpu.rflags = Flag.NT | 2;
    assert.strictEqual(u.run(CODE, '48cf', { rsp: 0x9000 }).vector, 13);
  });
});

describe('faults of task switches in the new task', () => {
  const DATA_ABSENT = Selector.free + 24;
  const RING1 = Selector.free + 32;
  const READ_ONLY = Selector.free + 40;
  const CODE_ABSENT = Selector.free + 48;
  const cases: [string, Task, number, number][] = [
    ['LDT selector in the LDT: #TS', { ldt: LDT | 4 }, 10, LDT | 4],
    ['LDT selector of a data segment: #TS', { ldt: Selector.data }, 10, Selector.data],
    ['null CS: #TS(0)', { selectors: { cs: 0 } }, 10, 0],
    ['CS of a data segment: #TS', { selectors: { cs: Selector.data } }, 10, Selector.data],
    ['RPL of CS not its DPL: #TS', { selectors: { cs: Selector.code32 | 1 } }, 10, Selector.code32],
    ['CS not present: #NP', { selectors: { cs: CODE_ABSENT } }, 11, CODE_ABSENT],
    ['null SS: #TS(0)', { selectors: { ss: 0 } }, 10, 0],
    ['SS read-only: #TS', { selectors: { ss: READ_ONLY } }, 10, READ_ONLY],
    ['SS of another level: #TS', { selectors: { ss: RING1 | 1 } }, 10, RING1],
    ['SS not present: #SS', { selectors: { ss: DATA_ABSENT } }, 12, DATA_ABSENT],
    ['DS not present: #NP', { selectors: { ds: DATA_ABSENT } }, 11, DATA_ABSENT],
    ['ES of a system segment: #TS', { selectors: { es: LDT } }, 10, LDT],
    ['FS beyond the GDT: #TS', { selectors: { fs: 0x1000 } }, 10, 0x1000],
  ];
  for (const [what, task, vector, error] of cases) {
    it(what, () => {
      const t = machine(task);
      t.write64(GDT + DATA_ABSENT, descriptor(0, 0xfffff, 0x13, 0xc));
      t.write64(GDT + RING1, descriptor(0, 0xfffff, 0xb3, 0xc));
      t.write64(GDT + READ_ONLY, descriptor(0, 0xfffff, 0x91, 0xc));
      t.write64(GDT + CODE_ABSENT, descriptor(0, 0xfffff, 0x1b, 0xc));
      // The handler is a task of its own: the new task's stack may be what is wrong.
      const handler = 0x21000;
      t.write64(GDT + Selector.free + 56, descriptor(handler, 0x67, TSS32.available, 0));
      fillTss32(t, handler, { eip: HANDLERS + vector * 16 });
      t.write32(handler + 0x38, 0x31000);
      t.write32(IDT + vector * 8, (Selector.free + 56) << 16);
      t.write32(IDT + vector * 8 + 4, 0x8500);
      t.run(CODE, JMP, { rsp: 0x9000 });
      assert.deepStrictEqual([t.vector, errorOf(t)], [vector, error]);
      assert.strictEqual(
        t.read32(NEW_TSS + 0x20),
        NEW_CODE,
        'the fault is before the first instruction of the new task',
      );
      assert.strictEqual(t.read16(handler), TASK, 'the handler is nested in the new task');
      assert.strictEqual(t.machine.core.retired, 1);
    });
  }

  it('EIP beyond CS: #GP(0) in the new task', () => {
    const t = machine({ eip: 0x10, selectors: { cs: Selector.free + 24 } });
    t.write64(GDT + Selector.free + 24, descriptor(0, 0xf, 0x9b, 4));
    t.run(CODE, JMP, { rsp: 0x9000 });
    assert.deepStrictEqual([t.vector, errorOf(t), t.read32(Number(t.get('rsp')) + 4)], [13, 0, 0x10]);
    assert.strictEqual(Number(t.get('rsp')), NEW_STACK - 16);
  });
});
