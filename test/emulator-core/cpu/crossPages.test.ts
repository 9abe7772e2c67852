/** Regions that go beyond their page: made of what stays hot, and right whatever becomes of the other pages. */
import assert from 'node:assert/strict';
import { State } from '../../../emulator-core/cpu/layout';
import { linearPage } from '../../../emulator-core/cpu/memoryPath';
import type { MachineHooks } from '../../../emulator-core/machine';
import { TABLES, TestMachine, fromHex as hex } from '../testMachine';

/** Linear pages, and where they are at first. */
const MAIN = 0x600000;
const MAIN_FRAME = 0x300000;
const FUNCTION = MAIN + 0x1000;
const FUNCTION_FRAME = 0x301000;
const OTHER_FRAME = 0x302000;
const PAGE_TABLE = 0xd000;
const STACK = 0x200000;
const ROUNDS = 400_000;

/** loop: call FUNCTION; dec rdx; jnz loop; hlt */
const CALLS = 'e8fb0f0000 48ffca 75f6 f4';
const CALL_LENGTH = 5;
/** add rax, rdx; ret */
const ADD = '4801d0 c3';
/** sub rax, rdx; ret */
const SUBTRACT = '4829d0 c3';

function machine(hooks: Partial<MachineHooks> = {}, compile: 'auto' | 'always' = 'auto'): TestMachine {
  const t = new TestMachine({ compile }, hooks).enter('64');
  if (compile === 'auto') t.machine.core.compiled.hotter = 1000;
  const entry = (frame: number): string => Buffer.from(BigUint64Array.of(BigInt(frame | 3)).buffer).toString('hex');
  t.write(TABLES + 0x2000 + 3 * 8, hex(entry(PAGE_TABLE)));
  t.write(PAGE_TABLE, hex(entry(MAIN_FRAME) + entry(FUNCTION_FRAME)));
  t.write(MAIN_FRAME, hex(CALLS));
  t.write(FUNCTION_FRAME, hex(ADD));
  t.write(OTHER_FRAME, hex(SUBTRACT));
  t.set({ rax: 0, rdx: ROUNDS, rsp: STACK });
  t.cpu.rip = BigInt(MAIN);
  return t;
}

/** rax after so many rounds that add a counter going down. */
const added = (rounds: number): bigint => BigInt(rounds * ROUNDS) - (BigInt(rounds) * BigInt(rounds - 1)) / 2n;

/** Instructions of a round, and rounds that make the loop hot beyond its page. */
const ROUND = 5;
const WARM = 100_000;

/** A machine whose loop is in one region of two pages, at the beginning of a round. */
function warm(hooks?: Partial<MachineHooks>): TestMachine {
  const t = machine(hooks);
  t.runInPieces(WARM * ROUND);
  assert.equal(t.get('rax'), added(WARM));
  const before = t.machine.core.compiledInstructions;
  t.machine.run(1000 * ROUND);
  // The interpreter does the last ones before a stop.
  assert.ok(t.machine.core.compiledInstructions - before >= 990 * ROUND);
  assert.equal(t.machine.core.compiled.crossing, 1);
  return t;
}

describe('regions across pages', () => {
  it('are made at once with always, and of what is hot when much has been made', () => {
    /** Regions of several pages after a hundred rounds, and after some thousand. */
    const crossing = (thorough?: number): number[] => {
      const t = machine({}, 'always');
      const { compiled } = t.machine.core;
      if (thorough !== undefined) compiled.thorough = thorough;
      return [100, 5000].map((rounds) => {
        t.runInPieces(rounds * ROUND, 10 * ROUND);
        return compiled.crossing;
      });
    };
    assert.deepEqual(
      crossing().map((count) => count > 0),
      [true, true],
    );
    assert.deepEqual(
      crossing(0).map((count) => count > 0),
      [false, true],
    );
  });

  it('are made of what stays hot, and count as ever', () => {
    const t = warm();
    t.runInPieces(ROUNDS * ROUND);
    assert.equal(t.get('rax'), added(ROUNDS));
    assert.equal(t.machine.core.retired, ROUNDS * ROUND + 1);
  });

  it('stop at any instruction', () => {
    const t = warm();
    const places = [MAIN, FUNCTION, FUNCTION + 3, MAIN + CALL_LENGTH, MAIN + CALL_LENGTH + 3];
    for (let i = 0, at = 0; i < 60; i++) {
      const n = 1 + ((i * 7) % 23);
      t.runInPieces(n, n);
      at = (at + n) % ROUND;
      assert.equal(t.cpu.rip, BigInt(places[at]));
    }
  });

  it('notice that the other page is another one now', () => {
    const t = warm();
    const before = t.get('rax');
    const left = t.get('rdx');
    // mov [rdi], rbx; invlpg [rsi]; jmp rbp
    t.write(0x310000, hex('48891f 0f013e ffe5'));
    t.set({ rdi: PAGE_TABLE + 8, rbx: OTHER_FRAME | 3, rsi: FUNCTION, rbp: MAIN });
    t.cpu.rip = 0x310000n;
    t.runInPieces(3, 3);
    t.runInPieces(1000 * ROUND);
    assert.equal(t.get('rax'), BigInt.asUintN(64, before - left * 1000n + (1000n * 999n) / 2n));
  });

  it('are given up when code in any of their pages changes', () => {
    const t = warm();
    const before = t.get('rax');
    const left = t.get('rdx');
    const { statistics } = t.machine.core.compiled;
    const dropped = statistics.dropped;
    t.machine.writePhysical(FUNCTION_FRAME, hex(SUBTRACT));
    assert.ok(statistics.dropped > dropped);
    assert.equal(t.machine.core.compiled.crossing, 0);
    t.runInPieces(1000 * ROUND);
    assert.equal(t.get('rax'), BigInt.asUintN(64, before - left * 1000n + (1000n * 999n) / 2n));
    t.runInPieces(ROUNDS * ROUND);
    assert.equal(t.get('rdx'), 0n);
  });

  it('find a breakpoint set in the other page', () => {
    const places = new Set<bigint>();
    const t = warm({
      breakpointsOn: (page) => {
        const offsets = [...places].filter((at) => linearPage(at) === page).map((at) => Number(at & 0xfffn));
        return offsets.length ? { key: offsets.join(), offsets: new Set(offsets) } : undefined;
      },
      breakpoint: (_cpu, linear) => places.has(linear),
    });
    const at = BigInt(FUNCTION + 3);
    places.add(at);
    t.machine.core.invalidateJumps();
    const before = t.machine.core.retired;
    t.machine.run(1000);
    assert.equal(t.cpu.rip, at);
    assert.equal(t.machine.core.retired - before, 2);
  });

  it('take a page that is gone for a page fault at its first instruction', () => {
    const t = warm();
    const before = t.get('rax');
    t.write(PAGE_TABLE + 8, new Uint8Array(8));
    t.machine.core.flushPage(t.cpu, FUNCTION, 0);
    t.runInPieces(100);
    assert.equal(t.vector, 14);
    assert.equal(t.cpu.get64(State.cr2), BigInt(FUNCTION));
    assert.equal(t.get('rax'), before);
    // The call has happened.
    assert.equal(t.read64(Number(t.get('rsp')) + 8), BigInt(FUNCTION));
  });
});
