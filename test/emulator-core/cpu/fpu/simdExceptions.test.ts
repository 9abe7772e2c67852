/** Unmasked SIMD floating-point exceptions. SDM Vol. 3A, "Exception Reference", interrupt 19; "Control Registers", CR4.OSXMMEXCPT. */
import assert from 'node:assert';
import { State } from '../../../../emulator-core/cpu/layout';
import { Cr4, Vector } from '../../../../emulator-core/cpu/vcpu';
import { TestMachine } from '../../testMachine';

const CODE = 0x100000;
const ONE = 0x3f800000_3f800000_3f800000_3f800000n;
const INEXACT_SEEN = 0x1fa0;
const ZE = 4;
const ZE_UNMASKED = INEXACT_SEEN & ~(ZE << 7);

/** DIVPS xmm0, xmm1 with this XMM1 under this MXCSR; what interrupted it, if anything. */
function divide(t: TestMachine, divisor: bigint, mxcsr: number): number | undefined {
  t.writeHex(CODE, '0f5ec1f4'); // divps xmm0, xmm1; hlt
  const { cpu } = t;
  for (const [register, value] of [ONE, divisor].entries()) {
    cpu.set64(State.ymm + 32 * register, BigInt.asUintN(64, value));
    cpu.set64(State.ymm + 32 * register + 8, value >> 64n);
  }
  cpu.set32(State.mxcsr, mxcsr);
  cpu.rip = BigInt(CODE);
  t.machine.run(4);
  return t.vector;
}

function machine(cr4: number): TestMachine {
  const t = new TestMachine({ features: ['+sse2'] }).enter('64');
  t.cpu.set64(State.cr4, t.cpu.get64(State.cr4) | BigInt(cr4));
  t.cpu.modeChanged();
  return t;
}

describe('SIMD floating-point exceptions', function () {
  this.timeout(60_000);
  const lastLaneZero = ONE & ((1n << 96n) - 1n);

  it('are #XM with CR4.OSXMMEXCPT: flags in MXCSR, destination as it was', () => {
    const t = machine(Cr4.OSFXSR | Cr4.OSXMMEXCPT);
    assert.strictEqual(divide(t, lastLaneZero, ZE_UNMASKED), Vector.XM);
    assert.strictEqual(t.cpu.get32(State.mxcsr), ZE_UNMASKED | ZE);
    assert.strictEqual((t.cpu.get64(State.ymm + 8) << 64n) | t.cpu.get64(State.ymm), ONE);
  });

  it('are #UD without it', () => {
    const t = machine(Cr4.OSFXSR);
    assert.strictEqual(divide(t, lastLaneZero, ZE_UNMASKED), Vector.UD);
    assert.strictEqual(t.cpu.get32(State.mxcsr), ZE_UNMASKED | ZE);
  });

  it('flags that are set already raise nothing when they get unmasked: only what an instruction meets', () => {
    const t = machine(Cr4.OSFXSR | Cr4.OSXMMEXCPT);
    assert.strictEqual(divide(t, ONE, ZE_UNMASKED | ZE), undefined);
    assert.strictEqual(t.cpu.get32(State.mxcsr), ZE_UNMASKED | ZE);
  });
});
