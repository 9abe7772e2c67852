/** What of the floating-point vector operations no line of test/vectors/float.txt says: the bounds of the approximations. */
import assert from 'node:assert';
import { FloatUnit } from '../../../../emulator-core/cpu/fpu/softfloat/lanes';
import { FLOAT_OPERATIONS } from '../../../../emulator-core/cpu/fpu/softfloat/operations';
import { SINGLE } from '../../../../emulator-core/cpu/fpu/softfloat/rounding';

const unit = new FloatUnit();

describe('softfloat', () => {
  it('approximations keep the error bound and the special values of the manual', () => {
    const single = (x: number): number => {
      unit.a.f32[0] = x;
      return unit.a.f32[0];
    };
    const run = (name: 'reciprocal' | 'reciprocalRoot'): number => {
      FLOAT_OPERATIONS[name](unit, SINGLE, 1, 0);
      return unit.result.f32[0];
    };
    const bound = 1.5 * 2 ** -12;
    for (let i = 0; i < 5000; i++) {
      const x = single((1 + ((i * 7919) % 5003) / 5003) * 2 ** ((i % 250) - 125));
      assert(Math.abs(run('reciprocal') * x - 1) <= bound, `1/${x}`);
      assert(Math.abs(run('reciprocalRoot') * Math.sqrt(x) - 1) <= bound, `1/sqrt(${x})`);
    }
    const bits = (name: 'reciprocal' | 'reciprocalRoot', value: number): string => {
      unit.a.u32[0] = value;
      run(name);
      return unit.result.u32[0].toString(16);
    };
    // Values that hardware gives too: zeros, denormals, infinities, NaNs, negative numbers, tiny results.
    assert.deepStrictEqual(
      [0, 0x80000000, 1, 0x807fffff, 0x7f800000, 0xff800000, 0x7f800001, 0x7e800001].map((v) => bits('reciprocal', v)),
      ['7f800000', 'ff800000', '7f800000', 'ff800000', '0', '80000000', '7fc00001', '0'],
    );
    assert.deepStrictEqual(
      [0, 0x80000000, 1, 0x80000001, 0x7f800000, 0xff800000, 0xff800001, 0xbf800000].map((v) =>
        bits('reciprocalRoot', v),
      ),
      ['7f800000', 'ff800000', '7f800000', 'ff800000', '0', 'ffc00000', 'ffc00001', 'ffc00000'],
    );
  });
});
