/** Floating-point operations on vectors against hardware: every line of softfloat.vectors, and the bounds of the approximations. */
import assert from 'node:assert';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { FloatUnit, type FloatVector } from '../../../../emulator-core/cpu/fpu/softfloat/lanes';
import { DOUBLE, SINGLE, type BinaryFormat } from '../../../../emulator-core/cpu/fpu/softfloat/rounding';
import { FLOAT_OPERATIONS, type FloatOperation } from '../../../../emulator-core/cpu/fpu/softfloat/operations';

const unit = new FloatUnit();

function put(vector: FloatVector, hex = '0'): void {
  vector.bytes.set(Buffer.from(hex.padStart(32, '0'), 'hex').reverse());
}
function hex(vector: FloatVector): string {
  const digits = Buffer.from(vector.bytes.slice(0, 16)).reverse().toString('hex');
  return digits.replace(/^0+(?=.)/, '');
}

const BINARY: Record<string, keyof typeof FLOAT_OPERATIONS> = {
  add: 'add',
  sub: 'subtract',
  mul: 'multiply',
  div: 'divide',
  min: 'minimum',
  max: 'maximum',
  addsub: 'alternate',
  hadd: 'horizontalAdd',
  hsub: 'horizontalSubtract',
  cmp: 'compare',
  dp: 'dot',
};
const FUSED: Record<string, number> = { madd: 0, nmadd: 1, msub: 6, nmsub: 7, maddsub: 2, msubadd: 4 };
const FLAGS = [0n, 1n, 0x40n, 0x45n];

interface Plan {
  operation: FloatOperation;
  format: BinaryFormat;
  count: number;
  option: number;
  /** Where a, b and c come from; '' : rax. */
  operands: string[];
  /** What comes back in rax, in bits. */
  integer?: 32 | 64;
  flags?: boolean;
  /** The result's high quadword is cleared. */
  clears?: boolean;
}

/** How a line's instruction is made of an operation. */
function plan(name: string): Plan {
  const [stem, immediate = '0'] = name.split('_');
  const option = Number(immediate);
  // Where the name's end does not say it, the operation knows.
  const kind = /(ps|ss|pd|sd)(32|64)?$/.exec(stem)?.[1] ?? '';
  const single = kind.endsWith('s');
  const format = single ? SINGLE : DOUBLE;
  const count = kind.startsWith('s') ? 1 : single ? 4 : 2;
  const of = (operation: FloatOperation, operands: string[], more: Partial<Plan> = {}): Plan => ({
    operation, format, count, option, operands, ...more,
  }); // prettier-ignore
  const F = FLOAT_OPERATIONS;
  const binary = BINARY[stem.slice(0, -2)];
  if (binary) return of(F[binary], ['xmm0', 'xmm1']);
  if (stem.startsWith('sqrt')) return of(F.squareRoot, ['xmm1']);
  if (stem.startsWith('round')) return of(F.integral, ['xmm1']);
  if (stem.includes('comi')) return of(F.relate, ['xmm0', 'xmm1'], { option: stem[0] === 'u' ? 0 : 1, flags: true });
  const fused = /^f(n?m\D+)(132|213|231)/.exec(stem);
  if (fused) {
    const order = { 132: ['xmm0', 'xmm2', 'xmm1'], 213: ['xmm1', 'xmm0', 'xmm2'], 231: ['xmm1', 'xmm2', 'xmm0'] };
    return of(F.fused, order[Number(fused[2]) as 132 | 213 | 231], { option: FUSED[fused[1]] });
  }
  const truncate = stem.startsWith('cvtt') ? 1 : 0;
  const toGpr = /^cvtt?(ss|sd)2si(32|64)$/.exec(stem);
  if (toGpr) {
    const integer = Number(toGpr[2]) as 32 | 64;
    const more = { option: truncate, integer, format: toGpr[1] === 'ss' ? SINGLE : DOUBLE, count: 1 };
    return of(integer === 32 ? F.toInt32 : F.toInt64, ['xmm1'], more);
  }
  const fromGpr = /^cvtsi2..(32|64)$/.exec(stem);
  if (fromGpr) return of(fromGpr[1] === '32' ? F.fromInt32 : F.fromInt64, ['']);
  const toLanes = /^cvtt?(ps|pd)2dq$/.exec(stem);
  if (toLanes) {
    const wide = toLanes[1] === 'pd';
    const lanes = { format: wide ? DOUBLE : SINGLE, count: wide ? 2 : 4 };
    return of(F.toInt32, ['xmm1'], { option: truncate, clears: wide, ...lanes });
  }
  const others: Record<string, Plan> = {
    cvtdq2ps: of(F.fromInt32, ['xmm1']),
    cvtdq2pd: of(F.fromInt32, ['xmm1']),
    cvtps2pd: of(F.widen, ['xmm1']),
    cvtss2sd: of(F.widen, ['xmm1']),
    cvtpd2ps: of(F.narrow, ['xmm1'], { count: 2, clears: true }),
    cvtsd2ss: of(F.narrow, ['xmm1']),
    cvtph2ps: of(F.widenHalf, ['xmm1']),
    cvtps2ph: of(F.narrowHalf, ['xmm1'], { count: 4, clears: true }),
  };
  assert(others[stem], stem);
  return others[stem];
}

describe('softfloat', () => {
  const file = path.join(__dirname, 'softfloat.vectors');
  const lines = readFileSync(file, 'utf8').split('\n');
  for (const line of lines.filter((l) => l && !l.startsWith('#'))) {
    const [head, inputs, outputs] = line.split(' | ');
    const fields = (text: string): Record<string, string> =>
      Object.fromEntries(text.split(' ').map((w) => w.split('=')));
    it(head.split(' ')[0] + ' ' + inputs, () => {
      const before = fields(inputs);
      const after = fields(outputs);
      const p = plan(head.split(' ')[0]);
      const sources = [unit.a, unit.b, unit.c];
      p.operands.forEach((register, i) => put(sources[i], register ? before[register] : before.rax));
      put(unit.result, before.xmm0);
      if (p.clears) unit.result.bytes.fill(0, 8);
      const mxcsr = parseInt(before.mxcsr, 16);
      unit.begin(mxcsr);
      p.operation(unit, p.format, p.count, p.option);
      const flags = unit.end();
      assert.strictEqual((mxcsr | flags).toString(16), after.mxcsr);
      assert.strictEqual((flags & ~(mxcsr >> 7) & 0x3f) !== 0, 'xm' in after);
      if ('xm' in after) return;
      if (p.flags) assert.strictEqual(FLAGS[unit.result.u32[0]].toString(16), after.flags);
      else if (p.integer)
        assert.strictEqual(BigInt.asUintN(p.integer, BigInt('0x' + hex(unit.result))).toString(16), after.rax);
      else assert.strictEqual(hex(unit.result), after.xmm0);
    });
  }

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
