/**
 * Instructions whose bytes lie in two pages, in loops that go through them again and again: fetched with the mappings and the bytes of
 * now, as any other. SDM Vol. 3A, "Page-Fault Exceptions" (CR2 is the address whose access faulted: that in the second page).
 */
import assert from 'node:assert/strict';
import { State } from '../../../emulator-core/cpu/layout';
import { Flag } from '../../../emulator-core/cpu/vcpu';
import { linearPage } from '../../../emulator-core/cpu/memoryPath';
import type { MachineHooks } from '../../../emulator-core/machine';
import { HANDLERS, TABLES, TestMachine } from '../testMachine';

/** Page-fault error code: I/D. SDM Vol. 3A, "Page-Fault Exceptions" */
const INSTRUCTION_FETCH = 0x10n;

/** Linear pages, and where they are at first. */
const MAIN = 0x600000;
const FRAME = 0x300000;
const OTHER_FRAME = 0x304000;
const PAGE_TABLE = 0xd000;
const END = MAIN + 0x1000;
const ROUNDS = 3000;

const HANDLER = 0x10000;

/** At START: dec ecx; nop; add eax, 0x01020304, of which 3 bytes are in the first page; test ecx, ecx; jnz START; hlt. */
const LOOP = 'ffc9 90 05 04030201 85c9 75f4 f4';
const START = END - 6;
const ADD = START + 3;
const ADDED = 0x01020304;
const LENGTHS = [2, 1, 5, 2, 2];
const PLACES = LENGTHS.map((_, i) => START + LENGTHS.slice(0, i).reduce((sum, length) => sum + length, 0));

function machine(compile: 'off' | 'auto' | 'always', hooks: Partial<MachineHooks> = {}): TestMachine {
  const t = new TestMachine({ compile }, hooks).enter('64');
  t.write64(TABLES + 0x2000 + 3 * 8, BigInt(PAGE_TABLE | 3));
  map(t, 0, FRAME);
  map(t, 1, FRAME + 0x1000);
  t.writeHex(FRAME + 0xffa, LOOP);
  t.write(OTHER_FRAME, t.read(FRAME + 0x1000, 16));
  t.set({ rax: 0, rcx: ROUNDS, rsp: 0x9000 });
  t.cpu.rip = BigInt(START);
  return t;
}

function map(t: TestMachine, page: number, frame: number): void {
  t.write64(PAGE_TABLE + page * 8, frame ? BigInt(frame | 3) : 0n);
  t.machine.core.flushAllTranslations();
}

const times = (rounds: number): bigint => BigInt.asUintN(32, BigInt(rounds) * BigInt(ADDED));

for (const compile of ['off', 'auto', 'always'] as const) {
  describe(`instructions in two pages, compiling ${compile}`, () => {
    it('are run round after round, and counted', () => {
      const t = machine(compile);
      t.runInPieces(5 * ROUNDS);
      assert.equal(t.get('rax'), times(ROUNDS));
      assert.equal(t.machine.core.retired, 5 * ROUNDS);
      assert.equal(Number(t.cpu.rip), PLACES[4] + 2);
    });

    it('a stop before and behind them is where it was asked for', () => {
      const t = machine(compile);
      t.runInPieces(5 * 100);
      for (let i = 0, done = 500; i < 100; i++) {
        const n = 1 + ((i * 7) % 23);
        t.machine.run(n);
        done += n;
        assert.equal(Number(t.cpu.rip), PLACES[done % 5]);
        assert.equal(t.get('rax'), times(Math.floor((done + 2) / 5)));
      }
    });

    it('are what the second page has now: written to, or another one', () => {
      const t = machine(compile);
      t.runInPieces(5 * 1000);
      // The last byte of the immediate.
      t.write(FRAME + 0x1001, [0x11]);
      t.runInPieces(5 * 10);
      const changed = times(1000) + BigInt(ADDED + 0x10000000) * 10n;
      assert.equal(t.get('rax'), BigInt.asUintN(32, changed));
      map(t, 1, OTHER_FRAME);
      t.runInPieces(5 * 10);
      assert.equal(t.get('rax'), BigInt.asUintN(32, changed + times(10)));
    });

    it('fault where the second page is missing, with its address, and then go on', () => {
      const t = machine(compile);
      t.runInPieces(5 * 1000);
      map(t, 1, 0);
      // In the page of the instructions before it.
      t.machine.run(2);
      t.machine.run(1);
      const frame = Number(t.get('rsp'));
      assert.deepEqual([t.vector, t.read64(frame), Number(t.read64(frame + 8))], [14, INSTRUCTION_FETCH, ADD]);
      assert.equal(Number(t.cpu.get64(State.cr2)), END);
      // The handler jumps to itself: one instruction of it.
      assert.equal(t.machine.core.retired, 5 * 1000 + 3);
      map(t, 1, FRAME + 0x1000);
      t.writeHex(HANDLERS + 14 * 16, '4883c408 48cf'); // add rsp, 8; iretq
      t.cpu.rip = BigInt(HANDLERS + 14 * 16);
      t.runInPieces(2 + 5 * 10 - 2);
      assert.equal(t.get('rax'), times(1010));
    });

    it('fault in the middle of a run, each time', () => {
      const t = machine(compile);
      t.runInPieces(5 * 1000);
      map(t, 1, 0);
      // The page-fault handler: inc ebx; sub qword [rsp+8], 3, back to START; add rsp, 8; iretq
      t.writeHex(HANDLER, 'ffc3 48836c240803 4883c408 48cf');
      t.gate('64', 14, HANDLER);
      t.set({ rbx: 0 });
      const round = 2 + 4;
      t.runInPieces(round * 500 + 1, 333);
      assert.deepEqual([t.get('rbx'), t.get('rcx')], [500n, BigInt(ROUNDS - 1501)]);
      assert.equal(Number(t.cpu.get64(State.cr2)), END);
      assert.equal(t.machine.core.retired, 5 * 1000 + round * 500 + 1);
      assert.equal(Number(t.cpu.rip), START + 2);
    });

    it('trap behind themselves with RFLAGS.TF', () => {
      const t = machine(compile);
      t.runInPieces(5 * 1000 + 2);
      t.cpu.rflags |= Flag.TF;
      t.machine.run(1);
      assert.equal(t.vector, 1);
      assert.equal(Number(t.read64(Number(t.get('rsp')))), PLACES[3]);
      assert.equal(t.get('rax'), times(1001));
    });

    it('stop at breakpoints, before they run, each time', () => {
      let armed = false;
      let hits = 0;
      const t: TestMachine = machine(compile, {
        breakpointsOn: (page) =>
          armed && page === linearPage(BigInt(ADD)) ? { key: 'add', offsets: new Set([ADD & 0xfff]) } : undefined,
        breakpoint: (_cpu, linear) => {
          if (!armed || linear !== BigInt(ADD)) return false;
          hits++;
          assert.equal(t.machine.core.icount, 5 * 1000 + 2 + 5 * (hits - 1));
          return false;
        },
      });
      t.runInPieces(5 * 1000);
      armed = true;
      t.machine.core.invalidateJumps();
      t.runInPieces(5 * 20);
      assert.equal(hits, 20);
      assert.equal(t.get('rax'), times(1020));
    });

    for (const piece of [1000, 4, 5, 7]) {
      it(`branches: a call, its return, and a jump, ${piece} instructions at a time`, () => {
        const t = machine(compile);
        // END - 3: call END + 0x20; dec ecx; jnz END + 0xfe; hlt. END + 0xfe: jmp END - 3
        t.writeHex(FRAME + 0xffd, 'e81e000000 ffc9 0f85f4000000 f4');
        t.writeHex(FRAME + 0x10fe, 'e9fafeffff');
        // END + 0x20: nop; nop; add eax, 0x01020304; nop; ret
        t.writeHex(FRAME + 0x1020, '90 90 05 04030201 90 c3');
        t.cpu.rip = BigInt(END - 3);
        t.runInPieces(9 * ROUNDS - 1, piece);
        assert.equal(t.get('rax'), times(ROUNDS));
        assert.equal(t.machine.core.retired, 9 * ROUNDS - 1);
        assert.equal(t.get('rsp'), 0x9000n);
      });
    }
  });
}
