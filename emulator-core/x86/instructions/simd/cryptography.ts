/** AES rounds, carry-less multiplication, SHA. */
import { AesArgument } from '../../../cpu/vector/aes';
import type { VectorOperationName } from '../../../cpu/vector/operations';
import type { Builder } from '../../../translate/builder';
import { i32, i32c, i64, i64c, select, type Expr } from '../../../translate/wasm';
import { i64x2 } from '../../../translate/wasmSimd';
import { rows, type Family, type Instruction } from '../instruction';
import { encodings, readParts } from './forms';

const AES_ROUND = { sse: 'aes', vex128: 'aes', vex256: 'vaes' } as const;
const AES_KEY = { sse: 'aes', vex128: 'aes' } as const;

function aesRound(name: string, title: string, operation: VectorOperationName, last: boolean): Instruction[] {
  const semantics = (b: Builder): void => {
    const first = b.operandCount === 3 ? 1 : 0;
    const key = readParts(b, first + 1);
    const argument = (last ? AesArgument.last : 0) | (b.parts === 2 ? AesArgument.twoLanes : 0);
    b.writeVector(0, b.vectorOperation(operation, [readParts(b, first), key], i32c(argument)));
  };
  return encodings(name, AES_ROUND, { manual: title, semantics });
}

/** Bits of a 64-bit value in reverse order. */
function reverseBits(b: Builder, value: Expr): Expr {
  let r = value;
  const masks = [
    0x5555555555555555n,
    0x3333333333333333n,
    0x0f0f0f0f0f0f0f0fn,
    0x00ff00ff00ff00ffn,
    0x0000ffff0000ffffn,
  ];
  masks.forEach((mask, i) => {
    const by = i64c(1 << i);
    r = b.let(i64.or(i64.and(i64.shrU(r, by), i64c(mask)), i64.shl(i64.and(r, i64c(mask)), by)));
  });
  return b.let(i64.rotl(r, i64c(32)));
}

/**
 * Low 64 bits of the product without carries. Factors are taken apart into every fourth bit, so that carries of an ordinary
 * product (at most 16 ones in a place) stay in the three places between, which are cleared; what leaves at the top does not count.
 */
function lowCarrylessProduct(b: Builder, x: Expr, y: Expr): Expr {
  const every4 = 0x1111111111111111n;
  const mask = (i: number): Expr => i64c(every4 << BigInt(i));
  const split = (v: Expr): Expr[] => [0, 1, 2, 3].map((i) => b.let(i64.and(v, mask(i))));
  const xs = split(x);
  const ys = split(y);
  return b.let(
    [0, 1, 2, 3]
      .map((place) => {
        const products = [0, 1, 2, 3].map((i) => i64.mul(xs[i], ys[(place - i) & 3]));
        return i64.and(products.reduce(i64.xor), mask(place));
      })
      .reduce(i64.or),
  );
}

/** One 128-bit lane: the immediate's bits 0 and 4 choose the halves. */
function carrylessMultiply(b: Builder, x: Expr, y: Expr, control: Expr): Expr {
  const half = (v: Expr, bit: number): Expr =>
    b.let(select(i32.wrap(i64.and(control, i64c(bit))), i64x2.extract(v, 1), i64x2.extract(v, 0)));
  const p = half(x, 1);
  const q = half(y, 16);
  const low = lowCarrylessProduct(b, p, q);
  // The product of reversed factors is the reversed product, which is 127 bits wide.
  const mirrored = lowCarrylessProduct(b, reverseBits(b, p), reverseBits(b, q));
  const high = i64.shrU(reverseBits(b, mirrored), i64c(1));
  return b.let(i64x2.replace(i64x2.splat(low), 1, high));
}

function pclmulqdq(b: Builder): void {
  const first = b.operandCount === 4 ? 1 : 0;
  const second = readParts(b, first + 1);
  const control = b.let(b.read(first + 2));
  b.writeVector(
    0,
    readParts(b, first).map((x, part) => carrylessMultiply(b, x, second[part], control)),
  );
}

const sha = (
  mnemonic: string,
  title: string,
  operation: VectorOperationName,
  more: (b: Builder) => { vector?: Expr[]; argument?: Expr } = () => ({}),
): Instruction => ({
  mnemonic,
  manual: title,
  feature: 'sha',
  unit: 'sse',
  note: 'A memory operand must be aligned, as the manual says; AMD processors take any',
  semantics: (b) => {
    const source = readParts(b, 1);
    const { vector, argument } = more(b);
    const vectors = [readParts(b, 0), source, ...(vector ? [vector] : [])];
    b.writeVector(0, b.vectorOperation(operation, vectors, argument));
  },
});

export const simdCrypto: Family = [
  ...aesRound('Aesenc', 'AESENC—Perform One Round of an AES Encryption Flow', 'aes:encrypt', false),
  ...aesRound('Aesenclast', 'AESENCLAST—Perform Last Round of an AES Encryption Flow', 'aes:encrypt', true),
  ...aesRound('Aesdec', 'AESDEC—Perform One Round of an AES Decryption Flow', 'aes:decrypt', false),
  ...aesRound('Aesdeclast', 'AESDECLAST—Perform Last Round of an AES Decryption Flow', 'aes:decrypt', true),
  ...encodings('Aesimc', AES_KEY, {
    manual: 'AESIMC—Perform the AES InvMixColumn Transformation',
    semantics: (b) => b.writeVector(0, b.vectorOperation('aes:inverseMixColumns', [readParts(b, 1)])),
  }),
  ...encodings('Aeskeygenassist', AES_KEY, {
    manual: 'AESKEYGENASSIST—AES Round Key Generation Assist',
    semantics: (b) => {
      const constant = i32.wrap(b.read(2));
      b.writeVector(0, b.vectorOperation('aes:keyGenerationAssist', [readParts(b, 1)], constant));
    },
  }),
  ...encodings(
    'Pclmulqdq',
    { sse: 'pclmulqdq', vex128: 'pclmulqdq', vex256: 'vpclmulqdq' },
    { manual: 'PCLMULQDQ—Carry-Less Multiplication Quadword', semantics: pclmulqdq },
  ),
  sha('Sha1rnds4', 'SHA1RNDS4—Perform Four Rounds of SHA1 Operation', 'sha1:rounds', (b) => ({
    argument: i32.wrap(b.read(2)),
  })),
  sha('Sha256rnds2', 'SHA256RNDS2—Perform Two Rounds of SHA256 Operation', 'sha256:rounds', (b) => ({
    vector: [b.let(b.vectorRegister(0))],
  })),
  ...rows(
    [
      ['Sha1nexte', 'SHA1NEXTE—Calculate SHA1 State Variable E After Four Rounds', 'sha1:nextE'],
      [
        'Sha1msg1',
        'SHA1MSG1—Perform an Intermediate Calculation for the Next Four SHA1 Message Dwords',
        'sha1:message1',
      ],
      ['Sha1msg2', 'SHA1MSG2—Perform a Final Calculation for the Next Four SHA1 Message Dwords', 'sha1:message2'],
      [
        'Sha256msg1',
        'SHA256MSG1—Perform an Intermediate Calculation for the Next Four SHA256 Message Dwords',
        'sha256:message1',
      ],
      [
        'Sha256msg2',
        'SHA256MSG2—Perform a Final Calculation for the Next Four SHA256 Message Dwords',
        'sha256:message2',
      ],
    ] as const,
    ([mnemonic, title, operation]) => sha(mnemonic, title, operation),
  ),
];
