/** Regions of 32-bit code: they take registers for 32 bits wide, and what 64-bit code has left in the upper halves is kept all the same. */
import assert from 'node:assert/strict';
import { Selector, TestMachine, type Mode } from '../../testMachine';

const CODE = 0x300000;
/** add eax, edx; sub dl, 1; movzx esi, dl; dec ecx; jnz to the start; hlt */
const LOOP = '01d0 80ea01 0fb6f2 49 75f5 f4';
const ROUND = 5;
const ROUNDS = 1000;
const UPPER = 0x1234_5678_0000_0000n;

function machine(mode: Mode, compile: 'off' | 'always', upper: bigint): TestMachine {
  const t = new TestMachine({ compile }).enter(mode);
  if (mode === 'compat') t.segment('cs', Selector.code32, 0, 0xffffffff, 0xc09b);
  t.writeHex(CODE, LOOP);
  const low = { rax: 0x7fffff00n, rbx: 0x55n, rcx: BigInt(ROUNDS), rdx: 0xffffff80n, rsi: 0n };
  t.set(Object.fromEntries(Object.entries(low).map(([name, value]) => [name, upper | value])));
  t.cpu.rip = BigInt(CODE);
  return t;
}

const state = (t: TestMachine): string[] => [
  ...(['rax', 'rbx', 'rcx', 'rdx', 'rsi'] as const).map((name) => t.get(name).toString(16)),
  t.cpu.rflags.toString(16),
];

describe('regions of 32-bit code', () => {
  for (const mode of ['32', 'compat'] as const) {
    for (const upper of [0n, UPPER]) {
      it(`leave what the interpreter does, ${mode === '32' ? 'legacy' : 'compatibility'} mode, upper halves ${upper ? 'in use' : 'zero'}`, () => {
        const [off, always] = [machine(mode, 'off', upper), machine(mode, 'always', upper)];
        for (const count of [1, 2, 3, 7, 100, ROUND * ROUNDS]) {
          const left = ROUND * ROUNDS - off.machine.core.retired;
          for (const t of [off, always]) t.machine.run(Math.min(count, left));
          assert.deepEqual(state(always), state(off), `after ${off.machine.core.retired} instructions`);
        }
        // The sum of edx, computed here: its low byte goes down by 1 each round.
        let [sum, edx] = [0x7fffff00, 0xffffff80];
        for (let i = 0; i < ROUNDS; i++) {
          sum = (sum + edx) >>> 0;
          edx = ((edx & 0xffffff00) | ((edx - 1) & 0xff)) >>> 0;
        }
        assert.equal(always.get('rax'), BigInt(sum));
        assert.equal(always.get('rbx'), upper | 0x55n);
        // An 8-bit result keeps the rest of the register, upper half included.
        assert.equal(always.get('rdx'), upper | BigInt(edx));
        const compiled = always.machine.core.compiledInstructions;
        if (upper) assert.equal(compiled, 0);
        else assert.ok(compiled > ROUND * ROUNDS * 0.9, `${compiled} compiled`);
      });
    }
  }
});
