/**
 * Rounds and message schedules of SHA-1 and SHA-256. FIPS 180-4, sections 4.1, 5 and 6; SDM Vol. 2, each instruction's Operation.
 * Words are counted from a register's low end.
 */
import { State } from '../layout';
import type { VectorOperation } from './operations';

const left = (v: number, n: number): number => (v << n) | (v >>> (32 - n));
const right = (v: number, n: number): number => (v >>> n) | (v << (32 - n));
const choose = (x: number, y: number, z: number): number => (x & y) ^ (~x & z);
const majority = (x: number, y: number, z: number): number => (x & y) ^ (x & z) ^ (y & z);
const parity = (x: number, y: number, z: number): number => x ^ y ^ z;

/** Functions and constants of SHA-1's four groups of rounds. */
const GROUPS = [
  { f: choose, k: 0x5a827999 },
  { f: parity, k: 0x6ed9eba1 },
  { f: majority, k: 0x8f1bbcdc },
  { f: parity, k: 0xca62c1d6 },
] as const;

type Words = readonly number[];

/** An operation over the words of up to three vectors. */
function overWords(run: (a: Words, b: Words, c: Words, argument: number) => Words): VectorOperation {
  return ({ i32 }, cpu, argument) => {
    const read = (offset: number): Words => {
      const at = (cpu + offset) >> 2;
      return [i32[at], i32[at + 1], i32[at + 2], i32[at + 3]];
    };
    const result = run(read(State.vectorA), read(State.vectorB), read(State.vectorC), argument);
    i32.set(result, (cpu + State.vectorResult) >> 2);
    return 0;
  };
}

const sha1Rounds = overWords((state, message, _c, argument) => {
  const { f, k } = GROUPS[argument & 3];
  let [d, c, b, a] = state;
  // The first word has E added already.
  let e = 0;
  for (let i = 3; i >= 0; i--) {
    const next = (f(b, c, d) + left(a, 5) + message[i] + e + k) | 0;
    [a, b, c, d, e] = [next, a, left(b, 30), c, d];
  }
  return [d, c, b, a];
});

const sha1NextE = overWords((a, b) => [b[0], b[1], b[2], (b[3] + left(a[3], 30)) | 0]);

const sha1Message1 = overWords((a, b) => [b[2] ^ a[0], b[3] ^ a[1], a[0] ^ a[2], a[1] ^ a[3]]);

const sha1Message2 = overWords((a, b) => {
  const w16 = left(a[3] ^ b[2], 1);
  return [left(a[0] ^ w16, 1), left(a[1] ^ b[0], 1), left(a[2] ^ b[1], 1), w16];
});

const bigSigma0 = (v: number): number => right(v, 2) ^ right(v, 13) ^ right(v, 22);
const bigSigma1 = (v: number): number => right(v, 6) ^ right(v, 11) ^ right(v, 25);
const smallSigma0 = (v: number): number => right(v, 7) ^ right(v, 18) ^ (v >>> 3);
const smallSigma1 = (v: number): number => right(v, 17) ^ right(v, 19) ^ (v >>> 10);

/** Two rounds; the third vector (XMM0) holds the sums of message words and constants. */
const sha256Rounds = overWords((first, second, sums) => {
  let [h, g, d, c] = first;
  let [f, e, b, a] = second;
  for (let i = 0; i < 2; i++) {
    const t = (h + bigSigma1(e) + choose(e, f, g) + sums[i]) | 0;
    const next = (t + majority(a, b, c) + bigSigma0(a)) | 0;
    [a, b, c, d, e, f, g, h] = [next, a, b, c, (d + t) | 0, e, f, g];
  }
  return [f, e, b, a];
});

const sha256Message1 = overWords((a, b) => a.map((w, i) => (w + smallSigma0(i < 3 ? a[i + 1] : b[0])) | 0));

const sha256Message2 = overWords((a, b) => {
  const w16 = (a[0] + smallSigma1(b[2])) | 0;
  const w17 = (a[1] + smallSigma1(b[3])) | 0;
  return [w16, w17, (a[2] + smallSigma1(w16)) | 0, (a[3] + smallSigma1(w17)) | 0];
});

export const SHA_OPERATIONS = {
  'sha1:rounds': sha1Rounds,
  'sha1:nextE': sha1NextE,
  'sha1:message1': sha1Message1,
  'sha1:message2': sha1Message2,
  'sha256:rounds': sha256Rounds,
  'sha256:message1': sha256Message1,
  'sha256:message2': sha256Message2,
};
