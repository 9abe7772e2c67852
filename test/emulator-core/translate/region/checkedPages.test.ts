/** Pages that a block of a region has found: a page that was read is not written to unless that is allowed. SDM Vol. 3A, "Access Rights". */
import assert from 'node:assert/strict';
import { State } from '../../../../emulator-core/cpu/layout';
import { INTERRUPT_STACK, TestMachine } from '../../testMachine';

const CODE = 0x100000;
const READER = 0x110000;
const PAGE_TABLE = 0xa000;
const DATA = 0x201000;
const ORIGINAL = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24];

/** Loops that change a page in place: what they are, their code up to the jump to itself, and the first byte that they write. */
const LOOPS = [
  // lodsb; inc eax; stosb; dec rcx; jnz
  ['LODSB and STOSB', 'ac ffc0 aa 48ffc9 75f7 ebfe', 0],
  // movsq; movsq; dec rcx; jnz
  ['MOVSQ twice', '48a5 48a5 48ffc9 75f7 ebfe', 8],
  // mov al, [rax+rax]; mov al, [rax+rax]; stosb; mov eax, ebx; dec rcx; jnz: a string instruction's own operand has no registers
  ['loads through other registers and STOSB', '8a1400 8a1400 aa 89d8 48ffc9 75f2 ebfe', 0],
] as const;

/** A machine whose loop has been compiled and has run in the page of DATA, which may be written so far. */
function warm(code: string, to: number): TestMachine {
  const t = new TestMachine({ compile: 'always' }).enter('64');
  t.write64(0x3000 + 8, BigInt(PAGE_TABLE + 7));
  for (let i = 0; i < 4; i++) t.write64(PAGE_TABLE + 8 * i, BigInt(0x200000 + i * 0x1000 + 7));
  t.machine.core.flushAllTranslations();
  t.writeHex(CODE, code);
  // mov al, [rsi]; jmp to itself
  t.writeHex(READER, '8a06 ebfe');
  go(t, to, 20);
  t.machine.run(200);
  assert.ok(t.machine.core.compiledInstructions > 0);
  t.write(DATA, ORIGINAL);
  return t;
}

/** The loop is about to begin, and the page has been read. */
function go(t: TestMachine, to: number, rounds: number): void {
  t.set({ rsi: DATA, rdi: DATA + to });
  t.cpu.rip = BigInt(READER);
  t.machine.run(1);
  t.set({ rax: DATA / 2, rbx: DATA / 2, rcx: rounds });
  t.cpu.rip = BigInt(CODE);
}

describe('pages that a block of a region has found', () => {
  for (const [name, code, to] of LOOPS) {
    it(`are not written to when they are read-only: ${name}`, () => {
      const t = warm(code, to);
      t.write64(PAGE_TABLE + 8, BigInt(DATA + 5));
      t.machine.core.flushAllTranslations();
      go(t, to, 2);
      t.machine.run(20);
      assert.deepEqual([...t.read(DATA, ORIGINAL.length)], ORIGINAL);
      assert.equal(t.vector, 14);
      assert.equal(t.cpu.get64(State.cr2), BigInt(DATA + to));
      // A write to a page that is present, by a supervisor.
      assert.equal(t.read64(INTERRUPT_STACK - 48), 3n);
    });

    it(`are kept for going back before they are written to: ${name}`, () => {
      const t = warm(code, to);
      t.machine.record();
      const start = t.machine.core.retired;
      go(t, to, 2);
      t.machine.run(20);
      assert.notDeepEqual([...t.read(DATA, ORIGINAL.length)], ORIGINAL);
      t.machine.history.restoreBefore(start);
      assert.deepEqual([...t.read(DATA, ORIGINAL.length)], ORIGINAL);
    });
  }
});

describe('pages that a loop has found', () => {
  /** Runs a loop compiled, then interpreted, with the same result; returns RAX. */
  function both(
    code: string,
    registers: Parameters<TestMachine['set']>[0],
    count: number,
    prepare: (t: TestMachine) => void,
  ): bigint {
    const results = (['always', 'off'] as const).map((compile) => {
      const t = new TestMachine({ compile }).enter('64');
      prepare(t);
      t.writeHex(CODE, code);
      for (let round = 0; round < 3; round++) {
        t.set(registers);
        t.cpu.rip = BigInt(CODE);
        t.machine.run(count);
      }
      assert.equal(t.machine.core.compiledInstructions > count, compile === 'always');
      return [t.get('rax'), t.get('rcx'), t.cpu.rip, t.machine.core.retired];
    });
    assert.deepEqual(results[0], results[1]);
    return results[0][0] as bigint;
  }

  it('change where an array goes on in the next page', () => {
    // add rax, [rsi]; mov [rdi], rax; add rsi, 8; add rdi, 8; dec rcx; jnz; jmp to itself
    const sum = both(
      '480306 488907 4883c608 4883c708 48ffc9 75ed ebfe',
      { rax: 0, rsi: DATA - 80, rdi: DATA + 0x2000 - 24, rcx: 20 },
      130,
      (t) => {
        for (let i = 0; i < 20; i++) t.write64(DATA - 80 + 8 * i, BigInt(i + 1));
      },
    );
    assert.equal(sum, 210n);
  });

  it('change with each element of a list whose elements are in two pages in turn', () => {
    // add rax, [rsi+8]; mov rsi, [rsi]; dec rcx; jnz; jmp to itself
    const at = (i: number): number => DATA + (i % 2) * 0x1000 + 16 * i;
    const sum = both('48034608 488b36 48ffc9 75f4 ebfe', { rax: 0, rsi: at(0), rcx: 20 }, 90, (t) => {
      for (let i = 0; i < 20; i++) {
        t.write64(at(i), BigInt(at(i + 1)));
        t.write64(at(i) + 8, BigInt(i + 1));
      }
    });
    assert.equal(sum, 210n);
  });

  it('are more than a region knows', () => {
    // Ten loads through other registers, each in its own page: add rax, [reg]; ...; dec rcx; jnz; jmp to itself
    const registers = ['rdx', 'rbx', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r14', 'r15'] as const;
    const loads = '480302 480303 480306 480307 490300 490301 490302 490303 490306 490307';
    const where = Object.fromEntries(registers.map((name, i) => [name, DATA + 0x1000 * i]));
    const sum = both(loads + '48ffc9 75dd ebfe', { rax: 0, rcx: 5, ...where }, 70, (t) => {
      registers.forEach((_, i) => t.write64(DATA + 0x1000 * i, 1n << BigInt(4 * i)));
    });
    assert.equal(sum, 0x5555555555n);
  });
});
