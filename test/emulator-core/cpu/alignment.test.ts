/** #AC. What traps was seen on a processor (AMD Zen, user mode with RFLAGS.AC). SDM Vol. 3A, "Interrupt 17—Alignment Check Exception (#AC)". */
import assert from 'node:assert';
import { State } from '../../../emulator-core/cpu/layout';
import { Cr0, Flag } from '../../../emulator-core/cpu/vcpu';
import { TestMachine } from '../testMachine';

const CODE = 0x100000;
const DATA = 0x200000;

function run(code: string, offset: number, options: { am?: boolean; ac?: boolean; cpl?: 0 | 3; rsp?: number } = {}): TestMachine {
  const t = new TestMachine().enter('64', options.cpl ?? 3);
  if (options.am !== false) t.cpu.set64(State.cr0, BigInt((t.cpu.cr0 | Cr0.AM) >>> 0));
  t.cpu.rflags = 2 | (options.ac === false ? 0 : Flag.AC);
  t.cpu.modeChanged();
  const at = DATA + offset;
  return t.run(CODE, code, { rbx: at, rsi: at, rdi: at + 0x200, rcx: 2, rsp: options.rsp ?? 0x9000 });
} // prettier-ignore

describe('alignment checks', () => {
  const cases: [what: string, code: string, offset: number, faults: boolean][] = [
    ['dword at 2', '8b03', 2, true],
    ['dword at 4', '8b03', 4, false],
    ['qword at 4', '488b03', 4, true],
    ['word at 1', '668b03', 1, true],
    ['byte at 1', '8a03', 1, false],
    ['store of a dword at 2', '8903', 2, true],
    ['read-modify-write of a word at 1', '66830301', 1, true],
    ['CMPXCHG8B at 4', 'f00fc70b', 4, true],
    ['BT of a dword at 2', '0fa303', 2, true],
    ['FLD m64 at 4', 'dd03', 4, true],
    ['FLD m80 at 8', 'db2b', 8, false],
    ['FLD m80 at 4', 'db2b', 4, true],
    ['FLD m80 at 2', 'db2b', 2, true],
    ['FNSTENV at 4', 'd933', 4, false],
    ['FNSTENV at 2', 'd933', 2, true],
    ['FNSTCW at 1', 'd93b', 1, true],
    ['REP MOVSQ at 4', 'f348a5', 4, true],
    ['REP MOVSB at 1', 'f3a4', 1, false],
  ];
  for (const [what, code, offset, faults] of cases) {
    it(`${what}: ${faults ? '#AC(0)' : 'none'}`, () => {
      const t = run(code, offset);
      assert.strictEqual(t.vector, faults ? 17 : undefined);
      if (faults) assert.deepStrictEqual([t.read64(Number(t.get('rsp'))), t.machine.core.retired], [0n, 1]);
    });
  }

  it('PUSH with an odd stack pointer', () => assert.strictEqual(run('50', 0, { rsp: 0x8ffd }).vector, 17));

  it('only with CR0.AM and RFLAGS.AC, at CPL 3', () => {
    assert.strictEqual(run('8b03', 1, { am: false }).vector, undefined);
    assert.strictEqual(run('8b03', 1, { ac: false }).vector, undefined);
    assert.strictEqual(run('8b03', 1, { cpl: 0 }).vector, undefined);
  });

  it('comes before the page fault, and after the canonical check', () => {
    assert.strictEqual(run('8b03', 0x40000001 - DATA).vector, 17);
    assert.strictEqual(run('488b1b8b03', 0).vector, undefined);
    const t = new TestMachine().enter('64', 3);
    t.cpu.set64(State.cr0, BigInt((t.cpu.cr0 | Cr0.AM) >>> 0));
    t.cpu.rflags = 2 | Flag.AC;
    t.cpu.modeChanged();
    assert.strictEqual(t.run(CODE, '8b03', { rbx: (1n << 47n) + 1n, rsp: 0x9000 }).vector, 13);
  });

  it('POPF turns them on at once, whatever the soft TLB knows', () => {
    const t = new TestMachine().enter('64', 3);
    t.cpu.set64(State.cr0, BigInt((t.cpu.cr0 | Cr0.AM) >>> 0));
    t.cpu.modeChanged();
    t.write64(0x9000, BigInt(2 | Flag.AC));
    t.run(CODE, '8b4301' + '9d' + '8b4301', { rbx: DATA, rsp: 0x9000 }, 3);
    assert.deepStrictEqual([t.vector, t.machine.core.retired], [17, 3]);
  });

  it('the handler in ring 0 is not checked', () => {
    const t = run('0f0b', 0, { rsp: 0x8ffd });
    assert.strictEqual(t.vector, 6);
  });
});
