/** Vector moves: whole registers, their low and high parts, to and from general registers. */
import type { Builder } from '../../../translate/builder';
import type { Expr } from '../../../translate/wasm';
import { i64x2, shuffle, v128 } from '../../../translate/wasmSimd';
import type { Family, Instruction } from '../instruction';
import {
  DOUBLE_UP,
  SINGLE_UP,
  SSE2_UP,
  SSE41_UP,
  binaryParts,
  encodings,
  joinHigh,
  joinLow,
  readParts,
  unaryParts,
  type Encodings,
} from './forms';

type Semantics = (b: Builder) => void;
const move: Semantics = (b) => b.writeVector(0, readParts(b, 1));

/** Moves of whole registers. `aligned`: of their memory operands. `place`: of the operand that tells the encodings apart. */
const whole = (name: string, sets: Encodings, manual: string, aligned: boolean, place = 0): Instruction[] =>
  encodings(name, sets, { manual, aligned, semantics: move }, place);

/** Moves of integers came with AVX in both sizes. */
const INTEGERS: Encodings = { ...SSE2_UP, vex256: 'avx' };

/** Bytes 0 .. count-1 of `low`, the rest of `rest`. */
const mergeLow = (low: Expr, rest: Expr, count: 4 | 8): Expr =>
  shuffle(
    low,
    rest,
    Array.from({ length: 16 }, (_, i) => (i < count ? i : 16 + i)),
  );

/**
 * MOVSS, MOVSD: a load clears the rest of the register; between registers the rest is that of the first source (legacy: of the
 * destination); a store writes the low lane.
 */
const scalarMove =
  (bytes: 4 | 8): Semantics =>
  (b) => {
    const last = b.operandCount - 1;
    const source = b.let(b.readVector(last));
    if (b.kind(0) === 'm' || b.kind(1) === 'm') b.writeVector(0, [source]);
    else b.writeVector(0, [mergeLow(source, b.let(b.readVector(last - 1)), bytes)]);
  };
function scalar(name: string, feature: string, bytes: 4 | 8, manual: string): Instruction[] {
  const semantics = scalarMove(bytes);
  return [
    { mnemonic: name, manual, operands: /xmm/, feature, unit: 'sse', semantics },
    { mnemonic: 'Vm' + name.slice(1), manual, feature: 'avx', unit: 'avx', semantics },
  ];
}

/** Half a register from or to memory: `load(value, first source)`, `store(register)`. */
const half =
  (load: (value: Expr, rest: Expr) => Expr, store: (x: Expr) => Expr): Semantics =>
  (b) => {
    const last = b.operandCount - 1;
    const value = b.let(b.readVector(last));
    if (b.kind(0) === 'm') b.writeVector(0, [store(value)]);
    else b.writeVector(0, [load(value, b.let(b.readVector(last === 2 ? 1 : 0)))]);
  };
const lowHalf = half(
  (value, rest) => mergeLow(value, rest, 8),
  (x) => x,
);
const highHalf = half(
  (value, rest) => joinLow(rest, value),
  (x) => joinHigh(x, v128.zero),
);
const halves = (name: string, feature: string, manual: string, semantics: Semantics): Instruction[] => [
  { mnemonic: name, manual, feature, unit: 'sse', semantics },
  { mnemonic: 'Vm' + name.slice(1), manual, feature: 'avx', unit: 'avx', semantics },
];

const duplicate = (name: string, manual: string, bytes: number, odd: 0 | 1): Instruction[] =>
  encodings(
    name,
    { sse: 'sse3', vex128: 'avx', vex256: 'avx' },
    {
      manual,
      semantics: unaryParts((x) => {
        const lanes = Array.from({ length: 16 }, (_, i) => (2 * Math.floor(i / bytes / 2) + odd) * bytes + (i % bytes));
        return shuffle(x, x, lanes);
      }),
    },
  );

/** Writes all registers with VEX semantics: eight of them outside of 64-bit mode. */
function clearRegisters(b: Builder, parts: (register: number) => Expr[]): void {
  for (let register = 0; register < 8; register++) b.setVectorRegister(register, parts(register));
  b.when(b.in64BitMode(), () => {
    for (let register = 8; register < 16; register++) b.setVectorRegister(register, parts(register));
  });
}

const fromGeneral: Semantics = (b) => b.writeVector(0, [i64x2.replace(v128.zero, 0, b.read(1))]);
const toGeneral: Semantics = (b) => b.write(0, i64x2.extract(b.readVector(1), 0));
const lowQuadword: Semantics = (b) => b.writeVector(0, [joinLow(b.readVector(1), v128.zero)]);

const FILES = [
  { vex: '', file: 'mm', feature: 'mmx', unit: 'mmx' },
  { vex: 'V', file: 'xmm', feature: 'avx', unit: 'avx' },
  { vex: '', file: 'xmm', feature: 'sse2', unit: 'sse' },
] as const;
/** MOVD or MOVQ between vector registers and general ones or memory, `rm` as Code names spell those. */
const general = (name: string, rm: string): Instruction[] =>
  FILES.flatMap(({ vex, file, feature, unit }) => {
    const row = { mnemonic: vex ? vex + name.toLowerCase() : name, manual: MOVD, feature, unit };
    return [
      { ...row, operands: new RegExp(`^${file}_${rm}$`), semantics: fromGeneral },
      { ...row, operands: new RegExp(`^${rm}_${file}$`), semantics: toGeneral },
    ];
  });

const MOVD = 'MOVD/MOVQ—Move Doubleword/Move Quadword';
const MOVDQA = 'MOVDQA,VMOVDQA32/64—Move Aligned Packed Integer Values';
const MOVDQU = 'MOVDQU,VMOVDQU8/16/32/64—Move Unaligned Packed Integer Values';
const SINGLE = 'Single Precision Floating-Point Values';
const DOUBLE = 'Double Precision Floating-Point Values';
const NON_TEMPORAL = 'Using Non-Temporal Hint';

export const simdMoves: Family = [
  ...whole('Movdqa', INTEGERS, MOVDQA, true),
  ...whole('Movdqu', INTEGERS, MOVDQU, false),
  ...whole('Movaps', SINGLE_UP, `MOVAPS—Move Aligned Packed ${SINGLE}`, true),
  ...whole('Movapd', DOUBLE_UP, `MOVAPD—Move Aligned Packed ${DOUBLE}`, true),
  ...whole('Movups', SINGLE_UP, `MOVUPS—Move Unaligned Packed ${SINGLE}`, false),
  ...whole('Movupd', DOUBLE_UP, `MOVUPD—Move Unaligned Packed ${DOUBLE}`, false),
  ...whole('Lddqu', { ...INTEGERS, sse: 'sse3' }, 'LDDQU—Load Unaligned Integer 128 Bits', false),
  ...whole('Movntdqa', SSE41_UP, 'MOVNTDQA—Load Double Quadword Non-Temporal Aligned Hint', true),
  ...whole('Movntdq', INTEGERS, `MOVNTDQ—Store Packed Integers ${NON_TEMPORAL}`, true, 1),
  ...whole('Movntps', SINGLE_UP, `MOVNTPS—Store Packed ${SINGLE} ${NON_TEMPORAL}`, true, 1),
  ...whole('Movntpd', DOUBLE_UP, `MOVNTPD—Store Packed ${DOUBLE} ${NON_TEMPORAL}`, true, 1),
  ...whole('Movntq', { mmx: 'sse' }, 'MOVNTQ—Store of Quadword Using Non-Temporal Hint', true, 1),

  ...scalar('Movss', 'sse', 4, 'MOVSS—Move or Merge Scalar Single Precision Floating-Point Value'),
  ...scalar('Movsd', 'sse2', 8, 'MOVSD—Move or Merge Scalar Double Precision Floating-Point Value'),
  ...halves('Movlps', 'sse', `MOVLPS—Move Low Packed ${SINGLE}`, lowHalf),
  ...halves('Movlpd', 'sse2', 'MOVLPD—Move Low Packed Double Precision Floating-Point Value', lowHalf),
  ...halves('Movhps', 'sse', `MOVHPS—Move High Packed ${SINGLE}`, highHalf),
  ...halves('Movhpd', 'sse2', 'MOVHPD—Move High Packed Double Precision Floating-Point Value', highHalf),
  ...encodings(
    'Movhlps',
    { sse: 'sse', vex128: 'avx' },
    {
      manual: `MOVHLPS—Move Packed ${SINGLE} High to Low`,
      semantics: binaryParts((x, y) => joinHigh(y, x)),
    },
  ),
  ...encodings(
    'Movlhps',
    { sse: 'sse', vex128: 'avx' },
    { manual: `MOVLHPS—Move Packed ${SINGLE} Low to High`, semantics: binaryParts(joinLow) },
  ),
  ...duplicate('Movddup', 'MOVDDUP—Replicate Double Precision Floating-Point Values', 8, 0),
  ...duplicate('Movshdup', `MOVSHDUP—Replicate ${SINGLE}`, 4, 1),
  ...duplicate('Movsldup', `MOVSLDUP—Replicate ${SINGLE}`, 4, 0),

  ...general('Movd', 'rm32'),
  ...general('Movq', 'rm64'),
  ...encodings(
    'Movq',
    { mmx: 'mmx', sse: 'sse2', vex128: 'avx' },
    { manual: 'MOVQ—Move Quadword', semantics: lowQuadword },
  ),
  {
    mnemonic: 'Movq2dq',
    manual: 'MOVQ2DQ—Move Quadword from MMX Technology to XMM Register',
    feature: 'sse2',
    unit: 'sse',
    semantics: move,
  },
  {
    mnemonic: 'Movdq2q',
    manual: 'MOVDQ2Q—Move Quadword from XMM to MMX Technology Register',
    feature: 'sse2',
    unit: 'sse',
    semantics: move,
  },
  {
    mnemonic: 'Emms',
    manual: 'EMMS—Empty MMX Technology State',
    feature: 'mmx',
    unit: 'mmx',
    assist: 'emptyMmx',
  },
  {
    mnemonic: 'Vzeroupper',
    manual: 'VZEROUPPER—Zero Upper Bits of YMM and ZMM Registers',
    feature: 'avx',
    unit: 'avx',
    semantics: (b) => clearRegisters(b, (register) => [b.vectorRegister(register)]),
  },
  {
    mnemonic: 'Vzeroall',
    manual: 'VZEROALL—Zero XMM, YMM, and ZMM Registers',
    feature: 'avx',
    unit: 'avx',
    semantics: (b) => clearRegisters(b, () => [v128.zero]),
  },
];
