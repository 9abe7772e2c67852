/** REP INS and OUTS: elements in a row are what single ones would be. SDM Vol. 2, "REP/REPE/REPZ/REPNE/REPNZ". */
import assert from 'node:assert';
import { State } from '../../../emulator-core/cpu/layout';
import { Flag } from '../../../emulator-core/cpu/vcpu';
import type { MachineHooks } from '../../../emulator-core/machine';
import { INTERRUPT_STACK, TestMachine, type GprName, type Mode } from '../testMachine';
import { left } from './runRemains';

const CODE = 0x100000;
const MODES = ['off', 'auto', 'always'] as const;
const COM1 = 0x3f8;
/** 300 letters from a little before the end of a page on. */
const TEXT = 0x201f80;
const LETTERS = Array.from({ length: 300 }, (_, i) => 0x41 + (i % 26));

interface Case {
  code: string;
  registers: Partial<Record<GprName, number>>;
  /** Instructions to the end, each iteration one. */
  count: number;
  mode?: Mode;
}

function start(compile: (typeof MODES)[number], mode: Mode = '64', hooks: Partial<MachineHooks> = {}): TestMachine {
  const t = new TestMachine({ compile }, hooks).enter(mode);
  t.write(TEXT, LETTERS);
  t.write(0xcf80, LETTERS);
  return t;
}

/** Runs a case at once, and in slices of every length that tells something: all are the same. Returns what is left. */
function same({ code, registers, count, mode }: Case): ReturnType<typeof left> {
  const run = (compile: (typeof MODES)[number], slice: number, hooks: Partial<MachineHooks> = {}) => {
    const t = start(compile, mode, hooks);
    t.run(mode === 'real' ? 0xe000 : CODE, code, { rsp: 0x9000, ...registers }, Math.min(slice, count));
    while (t.machine.core.retired < count)
      assert.strictEqual(t.machine.run(Math.min(slice, count - t.machine.core.retired)), 'budget');
    return left(t);
  };
  const expected = run('off', 1);
  for (const compile of MODES) {
    for (const slice of [count, 7]) assert.deepStrictEqual(run(compile, slice), expected, `${compile} ${slice}`);
  }
  assert.deepStrictEqual(run('auto', count, { exit: () => false }), expected, 'exits asked about');
  return expected;
}

describe('REP OUTS and INS', () => {
  it('OUTSB to the serial port: all bytes over the end of a page, an exit and an instruction each', () => {
    const r = same({ code: 'f36e 90', registers: { rdx: COM1, rsi: TEXT, rcx: 300 }, count: 301 });
    assert.strictEqual(r.console, String.fromCharCode(...LETTERS));
    assert.deepStrictEqual([r.registers[1], r.registers[6], r.rip], [0n, BigInt(TEXT + 300), BigInt(CODE + 3)]);
    assert.deepStrictEqual(r.counters, [{ reason: 30, count: 300 }]);
    const exits = JSON.parse(r.exits) as { icount: number; rcx: string; guestLinear: string; rip: string }[];
    exits.reverse().forEach((exit, i) => {
      assert.deepStrictEqual([exit.icount, parseInt(exit.rcx, 16)], [i, 300 - i]);
      assert.deepStrictEqual([parseInt(exit.guestLinear, 16), parseInt(exit.rip, 16)], [TEXT + i, CODE]);
    });
  });

  it('backwards, with words and double words, and with other address sizes', () => {
    const r = same({ code: 'fd f36e 90', registers: { rdx: COM1, rsi: TEXT + 299, rcx: 300 }, count: 302 });
    assert.strictEqual(r.console, String.fromCharCode(...[...LETTERS].reverse()));
    // The port's other half is the interrupt enable register: only the even bytes are sent.
    const words = same({ code: 'f3666f 90', registers: { rdx: COM1, rsi: TEXT, rcx: 150 }, count: 151 });
    assert.strictEqual(words.console, String.fromCharCode(...LETTERS.filter((_, i) => i % 2 === 0)));
    const dwords = same({ code: 'f36f 90', registers: { rdx: 0x5000, rsi: TEXT + 1, rcx: 70 }, count: 71 });
    assert.deepStrictEqual([dwords.registers[1], dwords.registers[6]], [0n, BigInt(TEXT + 1 + 280)]);
    const narrow = same({ code: '67f36e 90', registers: { rdx: COM1, rsi: TEXT, rcx: 300 }, count: 301 });
    assert.strictEqual(narrow.console, String.fromCharCode(...LETTERS));
    const real = same({ code: 'f36e 90', registers: { rdx: COM1, rsi: 0xcf80, rcx: 300 }, count: 301, mode: 'real' });
    assert.strictEqual(real.console, String.fromCharCode(...LETTERS));
  });

  it('with 16-bit addresses the pointer wraps', () => {
    const registers = { rdx: COM1, rsi: 0x1234ffff, rcx: 0x56780003 };
    const r = same({ code: 'f36e 90', registers, count: 4, mode: 'real' });
    assert.deepStrictEqual([r.registers[1], r.registers[6]], [0x56780000n, 0x12340002n]);
  });

  it('INSB, INSW and INSD over the end of a page', () => {
    for (const [code, size] of [
      ['f36c', 1],
      ['f3666d', 2],
      ['f36d', 4],
    ] as const) {
      const r = same({
        code: `b05a e680 fc ${code} 90`,
        registers: { rdx: 0x80, rdi: 0x203f01, rcx: 200 },
        count: 204,
      });
      assert.strictEqual(r.registers[7], BigInt(0x203f01 + 200 * size));
      const t = start('auto');
      t.run(CODE, `b05a e680 ${code} 90`, { rdx: 0x80, rdi: 0x203f01, rcx: 200 }, 203);
      const got = t.read(0x203f01, 200 * size);
      // The ports behind 80h are nobody's.
      got.forEach((byte, i) => assert.strictEqual(byte, i % size ? 0xff : 0x5a));
    }
  });

  it('a page fault in the middle: what came before has happened, the rest is to come', () => {
    for (const compile of MODES) {
      const t = start(compile);
      // The page table of the second 2 MiB: only the first three pages are there.
      t.write64(0x3000 + 8, 0xa007n);
      for (let i = 0; i < 3; i++) t.write64(0xa000 + 8 * i, BigInt(0x200000 + i * 0x1000 + 7));
      t.machine.core.flushAllTranslations();
      const [from, count] = [0x202ff0, 40];
      t.write(from, LETTERS.slice(0, count));
      t.run(CODE, 'f36e 90', { rdx: COM1, rsi: from, rcx: count, rsp: 0x9000 }, 30);
      assert.strictEqual(t.vector, 14, compile);
      assert.deepStrictEqual([t.get('rcx'), t.get('rsi')], [24n, 0x203000n]);
      assert.strictEqual(t.cpu.get64(State.cr2), 0x203000n);
      assert.strictEqual(t.console, String.fromCharCode(...LETTERS.slice(0, 16)));
      // The stack frame: rip is the instruction's, and RF is set. SDM Vol. 3A, "Instruction-Breakpoint Exception Condition".
      assert.strictEqual(t.read64(INTERRUPT_STACK - 40), BigInt(CODE));
      assert.strictEqual(t.read64(INTERRUPT_STACK - 24) & BigInt(Flag.RF), BigInt(Flag.RF));
      assert.deepStrictEqual(t.machine.vmm.log.counters(), [{ reason: 30, count: 16 }]);
    }
  });

  it('stops at the exit of an iteration, before its effect, and goes on from there', () => {
    for (const compile of MODES) {
      const t = start(compile);
      let exits = 0;
      t.machine.hooks.exit = () => ++exits === 10;
      t.run(CODE, 'f36e 90', { rdx: COM1, rsi: TEXT, rcx: 300 }, 1000);
      assert.deepStrictEqual([t.get('rcx'), t.machine.core.retired, t.console.length], [291n, 9, 9], compile);
      assert.strictEqual(t.cpu.rip, BigInt(CODE));
      t.machine.hooks.exit = undefined;
      t.machine.resume();
      t.machine.run(292);
      assert.deepStrictEqual([t.cpu.rip, t.machine.core.retired], [BigInt(CODE + 3), 301]);
      assert.strictEqual(t.console, String.fromCharCode(...LETTERS));
      assert.deepStrictEqual(t.machine.vmm.log.counters(), [{ reason: 30, count: 300 }]);
    }
  });

  it("a breakpoint of the debugger's counts each iteration", () => {
    for (const compile of MODES) {
      let hits = 0;
      const t = start(compile, '64', {
        breakpoint: () => (hits++, false),
        breakpointsOn: (page) => (page === CODE >> 12 ? { key: 'one', offsets: new Set([0]) } : undefined),
      });
      t.run(CODE, 'f36e 90', { rdx: COM1, rsi: TEXT, rcx: 300 }, 301);
      assert.strictEqual(hits, 300, compile);
    }
  });

  it('bytes that the row itself writes over are read as they are then', () => {
    // INSB over the source of the OUTSB that follows, twice: each run of the instruction looks anew.
    const code = 'b058 e680 ba80000000 bf801f2000 b964000000 f36c baf8030000 be801f2000 b964000000 f36e 90';
    const r = same({ code, registers: {}, count: 2 + 3 + 100 + 3 + 100 + 1 });
    assert.strictEqual(r.console, 'X'.repeat(100));
  });
});
