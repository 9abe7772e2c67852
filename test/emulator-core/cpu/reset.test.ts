/** Power-on and INIT. SDM Vol. 3A, Table "IA-32 and Intel 64 Processor States Following Power-up, Reset, or INIT". */
import assert from 'node:assert';
import { State } from '../../../emulator-core/cpu/layout';
import { TestMachine } from '../testMachine';

describe('processor state after reset and INIT', () => {
  /** A vCPU in 64-bit mode with everything set to something. */
  function used(): TestMachine {
    const t = new TestMachine({ features: ['+pku'] }).enter('64');
    const { cpu } = t;
    for (const slot of [
      State.lstar,
      State.pat,
      State.tscAux,
      State.fpr,
      State.fcw,
      State.mxcsr,
      State.ymm,
      State.xcr0,
      State.pkru,
    ])
      cpu.set64(slot, 3n);
    cpu.set64(State.ymm + 15 * 32 + 24, 5n);
    cpu.msrs.set(0x2ff, 0xc06n);
    for (const slot of [State.cr2, State.cr8, State.dr]) cpu.set64(slot, 7n);
    cpu.setGpr(0, 9n);
    cpu.set64(State.cr0, 0xc0010031n);
    return t;
  }

  it('INIT keeps MSRs, x87, SSE, AVX and PKRU state, and CR0.CD and NW', () => {
    const { cpu } = used();
    cpu.init();
    for (const slot of [
      State.lstar,
      State.pat,
      State.tscAux,
      State.fpr,
      State.fcw,
      State.mxcsr,
      State.ymm,
      State.xcr0,
      State.pkru,
    ])
      assert.strictEqual(cpu.get64(slot), 3n);
    assert.strictEqual(cpu.get64(State.ymm + 15 * 32 + 24), 5n);
    assert.strictEqual(cpu.msrs.get(0x2ff), 0xc06n);
    assert.strictEqual(cpu.get64(State.cr0), 0x40000010n);
  });

  it('INIT clears the rest', () => {
    const { cpu } = used();
    cpu.init();
    for (const slot of [State.cr2, State.cr3, State.cr4, State.efer, State.dr]) assert.strictEqual(cpu.get64(slot), 0n);
    assert.strictEqual(cpu.gpr(0), 0n);
    assert.deepStrictEqual([cpu.rip, cpu.rflags, cpu.bitness, cpu.cpl], [0xfff0n, 2, 16, 0]);
    assert.strictEqual(cpu.get64(State.dr + 7 * 8), 0x400n);
  });

  it('power-on clears all of it', () => {
    const { cpu } = used();
    cpu.reset();
    assert.strictEqual(cpu.get64(State.pat), 0x0007040600070406n);
    assert.deepStrictEqual(
      [State.lstar, State.fpr, State.ymm, State.pkru].map((slot) => cpu.get64(slot)),
      [0n, 0n, 0n, 0n],
    );
    assert.deepStrictEqual(
      [State.fcw, State.mxcsr, State.xcr0].map((slot) => cpu.get64(slot)),
      [0x40n, 0x1f80n, 1n],
    );
    assert.strictEqual(cpu.msrs.size, 0);
    assert.strictEqual(cpu.get64(State.cr0), 0x60000010n);
  });
});
