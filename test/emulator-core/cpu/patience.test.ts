/** Runs that end early because the guest does what is slow: they take a bounded time, and the machine goes on as if there were none. */
import assert from 'node:assert/strict';
import type { CompileMode } from '../../../emulator-core/cpu/compiledCode';
import { Flag, GPR_NAMES, HANDLERS, Selector, TestMachine, fromHex as hex } from '../testMachine';

const CODE = 0x300000;
const DATA = 0x200000;

/** Each round leaves WebAssembly six times: ud2; xor eax, eax; cpuid; add esi, eax; rdtsc; add rsi, rax; fxsave [rdi]; invlpg [rdi]; dec ebp; jnz */
const ROUND = '0f0b 31c0 0fa2 01c6 0f31 4801c6 0fae07 0f013f ffcd 75e9';
/** Instructions of a round with those of the handler. */
const ROUND_LENGTH = 12;
/** add qword [rsp], 2; iretq: ud2 is passed over. */
const HANDLER = '4883042402 48cf';
/** inc rax, all over: nothing of it is decoded before. */
const STRAIGHT = 40_000;

function machine(compile: CompileMode, code: Uint8Array): TestMachine {
  const t = new TestMachine({ compile }).enter('64');
  t.write(HANDLERS + 16 * 6, hex(HANDLER));
  t.write(CODE, code);
  t.set({ rax: 0, rsi: 0, rbp: 500, rdi: DATA, rsp: 0xb000 });
  t.cpu.rip = BigInt(CODE);
  return t;
}

const state = ({ machine: { clock, core, memory }, cpu }: TestMachine): unknown => ({
  registers: GPR_NAMES.map((name, i) => `${name} ${cpu.gpr(i).toString(16)}`),
  rip: cpu.rip,
  flags: cpu.rflags,
  time: clock.now(),
  retired: core.retired,
  saved: [...memory.ram.subarray(DATA, DATA + 512)],
});

/** Runs that many instructions in pieces; the lengths of the pieces. */
function inPieces(t: TestMachine, instructions: number, patience: number): number[] {
  const pieces: number[] = [];
  while (t.machine.core.retired < instructions) {
    const before = t.machine.core.retired;
    assert.equal(t.machine.run(instructions - before, undefined, Infinity, patience), 'budget');
    pieces.push(t.machine.core.retired - before);
  }
  return pieces;
}

describe('patience with slow guest code', () => {
  for (const compile of ['off', 'auto', 'always'] as const) {
    it(`ends runs early and changes nothing, compiling ${compile}`, () => {
      const instructions = 300 * ROUND_LENGTH + 5;
      const whole = machine(compile, hex(ROUND));
      whole.machine.run(instructions);
      for (const patience of [2, 7, 100]) {
        const t = machine(compile, hex(ROUND));
        const pieces = inPieces(t, instructions, patience);
        // A round takes at least six steps; the block at hand is run to its end.
        const most = (patience / 6 + 2) * ROUND_LENGTH;
        assert.ok(Math.max(...pieces) <= most, `${Math.max(...pieces)} instructions with patience ${patience}`);
        assert.deepEqual(state(t), state(whole));
      }
    });
  }

  it('counts instructions that are decoded', () => {
    const code = new Uint8Array(STRAIGHT * 3);
    for (let i = 0; i < STRAIGHT; i++) code.set([0x48, 0xff, 0xc0], i * 3);
    const t = machine('auto', code);
    const pieces = inPieces(t, STRAIGHT, 500);
    assert.equal(t.get('rax'), BigInt(STRAIGHT));
    // A block more is at most 64 instructions.
    assert.ok(Math.max(...pieces) <= 564, `${Math.max(...pieces)} instructions`);
  });

  it('counts the elements of REP OUTS and INS', () => {
    // rep outsb; jmp to itself
    const code = hex('f36e ebfe');
    const whole = machine('auto', code);
    whole.set({ rcx: 20_000, rdx: 0x80, rsi: DATA });
    whole.machine.run(20_000);
    const t = machine('auto', code);
    t.set({ rcx: 20_000, rdx: 0x80, rsi: DATA });
    const pieces = inPieces(t, 20_000, 100);
    assert.ok(Math.max(...pieces) <= 101, `${Math.max(...pieces)} elements`);
    assert.deepEqual(state(t), state(whole));
    assert.equal(t.get('rcx'), 0n);
  });

  it('leaves RFLAGS.RF to the instruction behind IRETQ, which lies in two pages and has not run', () => {
    // mov rax, [rsp]; iretq to mov eax, 1 with RF set; jump back.
    const [target, frame] = [CODE + 0xffe, DATA + 0x800];
    const ready = (): TestMachine => {
      const t = machine('auto', hex('488b0424 48cf'));
      t.write(target, hex('b801000000 e9f8efffff'));
      [target, Selector.code64, Flag.RF | 2, frame, Selector.data].forEach((value, i) =>
        t.write64(frame + 8 * i, BigInt(value)),
      );
      t.set({ rsp: frame });
      return t;
    };
    const rounds = 40;
    const steps = ready();
    const flags = Array.from({ length: 4 * rounds }, () => (steps.machine.run(1), steps.cpu.rflags));
    for (let patience = 2; patience < 20; patience++) {
      const t = ready();
      while (t.machine.core.retired < flags.length) {
        t.machine.run(flags.length - t.machine.core.retired, undefined, Infinity, patience);
        const at = t.machine.core.retired;
        assert.equal(t.cpu.rflags, flags[at - 1], `patience ${patience}, at ${at}`);
      }
    }
  });

  it('gets on with the least of it', () => {
    const t = machine('auto', hex('0fa2 ebfc'));
    const pieces = inPieces(t, 1000, 2);
    assert.ok(Math.min(...pieces) >= 1 && Math.max(...pieces) <= 8, `${Math.min(...pieces)} to ${Math.max(...pieces)}`);
  });
});
