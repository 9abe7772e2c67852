/** What a vector instruction needs before it runs, and what a fault in the middle of one leaves. Expectations: SDM Vol. 2 and 3A. */
import assert from 'node:assert';
import { State } from '../../../emulator-core/cpu/layout';
import { Cr0, Cr4, Vector } from '../../../emulator-core/cpu/vcpu';
import { INTERRUPT_STACK, TestMachine } from '../testMachine';

const PADDB_MM0_MM1 = '0ffcc1';
const EMMS = '0f77';
const PADDB_XMM0_XMM1 = '660ffcc1';
const VPADDB_XMM0_XMM0_XMM1 = 'c5f9fcc1';
/** A page that is not mapped, and the last bytes before it. */
const HOLE = 0x400000;

function machine(cr0 = 0, cr4: number = Cr4.OSFXSR | Cr4.OSXSAVE): TestMachine {
  const t = new TestMachine({ features: ['+mmx', '+avx2'] }).enter('64');
  const { cpu } = t;
  cpu.set64(State.cr0, cpu.get64(State.cr0) | BigInt(cr0));
  cpu.set64(State.cr4, cpu.get64(State.cr4) | BigInt(cr4));
  cpu.set64(State.xcr0, 7n);
  cpu.modeChanged();
  return t;
}
/** Runs one instruction; the exception it raised. */
function exception(
  t: TestMachine,
  code: string,
  registers: Parameters<TestMachine['run']>[2] = {},
): number | undefined {
  t.run(0x100000, code, registers, 1);
  return t.vector;
}
/** Removes the 2 MiB page at HOLE. */
function unmap(t: TestMachine): void {
  t.write64(0x3000 + (HOLE >> 21) * 8, 0n);
  t.machine.core.flushAllTranslations();
}
const setYmm = ({ cpu }: TestMachine, n: number, ...dwords: number[]): void =>
  dwords.forEach((value, i) => cpu.set32(State.ymm + 32 * n + 4 * i, value));
const ymm = ({ cpu }: TestMachine, n: number): number[] =>
  Array.from({ length: 8 }, (_, i) => cpu.get32(State.ymm + 32 * n + 4 * i));

describe('vector units', () => {
  it('CR0.EM: MMX and SSE are undefined, AVX is not', () => {
    for (const code of [PADDB_MM0_MM1, EMMS, PADDB_XMM0_XMM1]) assert.strictEqual(exception(machine(Cr0.EM), code), Vector.UD, code);
    assert.strictEqual(exception(machine(Cr0.EM), VPADDB_XMM0_XMM0_XMM1), undefined);
  }); // prettier-ignore
  it('CR0.TS: #NM', () => {
    for (const code of [PADDB_MM0_MM1, EMMS, PADDB_XMM0_XMM1, VPADDB_XMM0_XMM0_XMM1])
      assert.strictEqual(exception(machine(Cr0.TS), code), Vector.NM, code);
  });
  it('without OSFXSR SSE is undefined, without OSXSAVE AVX', () => {
    assert.strictEqual(exception(machine(0, Cr4.OSXSAVE), PADDB_XMM0_XMM1), Vector.UD);
    assert.strictEqual(exception(machine(0, Cr4.OSFXSR), VPADDB_XMM0_XMM0_XMM1), Vector.UD);
    assert.strictEqual(exception(machine(0, 0), PADDB_MM0_MM1), undefined);
  });
  it('a pending x87 exception is raised before MMX instructions and EMMS, not before SSE', () => {
    for (const [code, expected] of [[PADDB_MM0_MM1, Vector.MF], [EMMS, Vector.MF], [PADDB_XMM0_XMM1, undefined]] as const) {
      const t = machine();
      t.cpu.set64(State.fsw, 0x3881n);
      assert.strictEqual(exception(t, code), expected, code);
    }
  }); // prettier-ignore
  it('MMX instructions leave TOP 0 and all registers valid, EMMS all empty', () => {
    const t = machine();
    t.cpu.set64(State.fsw, 0x1800n);
    t.cpu.set64(State.ftw, 0xffffn);
    assert.strictEqual(exception(t, PADDB_MM0_MM1), undefined);
    assert.deepStrictEqual([t.cpu.get32(State.fsw), t.cpu.get32(State.ftw)], [0, 0]);
    assert.strictEqual(exception(t, EMMS), undefined);
    assert.deepStrictEqual([t.cpu.get32(State.fsw), t.cpu.get32(State.ftw)], [0, 0xffff]);
  });
});

describe('elements that are not wanted', () => {
  /** vmaskmovps ymm0, ymm1, [rsi]; vmaskmovps [rsi], ymm1, ymm2 */
  const LOAD = 'c4e2752c06';
  const STORE = 'c4e2752e16';

  it('raise no page fault in masked loads and stores', () => {
    const t = machine();
    unmap(t);
    t.write32(HOLE - 4, 0x12345678);
    setYmm(t, 0, 9, 9, 9, 9, 9, 9, 9, 9);
    setYmm(t, 1, -1, 0, 0x7fffffff, 0, 0, 0, 0, 0);
    setYmm(t, 2, 77, 78, 79, 80, 81, 82, 83, 84);
    assert.strictEqual(exception(t, LOAD, { rsi: HOLE - 4 }), undefined);
    assert.deepStrictEqual(ymm(t, 0), [0x12345678, 0, 0, 0, 0, 0, 0, 0]);
    assert.strictEqual(exception(t, STORE, { rsi: HOLE - 4 }), undefined);
    assert.strictEqual(t.read32(HOLE - 4), 77);
  });
  it('others do, and nothing has been loaded or stored then', () => {
    for (const code of [LOAD, STORE]) {
      const t = machine();
      unmap(t);
      t.write32(HOLE - 4, 5);
      setYmm(t, 0, 9, 9, 9, 9, 9, 9, 9, 9);
      setYmm(t, 1, -1, -1, 0, 0, 0, 0, 0, 0);
      assert.strictEqual(exception(t, code, { rsi: HOLE - 4 }), Vector.PF);
      // Of a store that began in the page before, the last byte of the last element.
      assert.strictEqual(t.cpu.get64(State.cr2), BigInt(code === STORE ? HOLE + 3 : HOLE));
      assert.deepStrictEqual(ymm(t, 0), [9, 9, 9, 9, 9, 9, 9, 9]);
      assert.strictEqual(t.read32(HOLE - 4), 5);
    }
  });
});

describe('gathers', () => {
  /** vpgatherdd ymm0, [rsi + ymm3*4], ymm1 */
  const GATHER = 'c4e27590049e';

  it('a fault leaves the elements before it done; started again, it goes on', () => {
    const t = machine();
    unmap(t);
    for (let i = 1; i <= 3; i++) t.write32(HOLE - 4 * i, 100 + i);
    setYmm(t, 0, 9, 9, 9, 9, 9, 9, 9, 9);
    setYmm(t, 1, -1, 0, -1, -1, 0, -1, 0, 0);
    setYmm(t, 3, -1, 0, -2, 0, 0, -3, 0, 0);
    assert.strictEqual(exception(t, GATHER, { rsi: HOLE }), Vector.PF);
    assert.strictEqual(t.read64(INTERRUPT_STACK - 40), 0x100000n);
    assert.deepStrictEqual(ymm(t, 0), [101, 9, 102, 9, 9, 9, 9, 9]);
    assert.deepStrictEqual(ymm(t, 1), [0, 0, 0, -1, 0, -1, 0, 0]);
    t.write64(0x3000 + (HOLE >> 21) * 8, BigInt(HOLE) | 0x83n);
    t.machine.core.flushAllTranslations();
    t.write32(HOLE, 55);
    assert.strictEqual(exception(t, GATHER, { rsi: HOLE }), undefined);
    assert.deepStrictEqual(ymm(t, 0), [101, 9, 102, 55, 9, 103, 9, 9]);
    assert.deepStrictEqual(ymm(t, 1), [0, 0, 0, 0, 0, 0, 0, 0]);
  });
  it('two of the three registers the same: undefined', () => {
    // ymm0 as destination and mask; as destination and index; index and mask.
    for (const code of ['c4e27d90049e', 'c4e275900486', 'c4e27590048e'])
      assert.strictEqual(exception(machine(), code, { rsi: 0x200000 }), Vector.UD, code);
  });
});
