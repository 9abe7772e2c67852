/**
 * AES rounds on the 16-byte state as the instructions hold it: byte i of a register is row i mod 4 of column i / 4.
 * FIPS 197, sections 5.1 and 5.3; SDM Vol. 1, "Programming with Intel AES-NI".
 */
import type { MachineMemory } from '../../mmu/memory';
import { State } from '../layout';
import type { VectorOperation } from './operations';

/** Fields of the argument. */
export const AesArgument = { round: 0xff, last: 1 << 8, twoLanes: 1 << 9 } as const;

const LANE = 16;

/** Product by x in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1. */
const double = (v: number): number => ((v << 1) ^ (v & 0x80 ? 0x1b : 0)) & 0xff;

function multiply(a: number, b: number): number {
  let product = 0;
  for (let x = a, y = b; y; y >>= 1, x = double(x)) if (y & 1) product ^= x;
  return product;
}

const SUBSTITUTE = new Uint8Array(256);
const SUBSTITUTE_BACK = new Uint8Array(256);
for (let v = 0; v < 256; v++) {
  // The inverse is v^254, and 0 for 0; then the affine map of FIPS 197, 5.1.1.
  let inverse = 1;
  for (let i = 0; i < 254; i++) inverse = multiply(inverse, v);
  let s = 0x63;
  for (let turn = 0; turn < 5; turn++) s ^= (inverse << turn) | (inverse >> (8 - turn));
  SUBSTITUTE[v] = s;
  SUBSTITUTE_BACK[s & 0xff] = v;
}

const products = (by: number): Uint8Array => Uint8Array.from({ length: 256 }, (_, v) => multiply(v, by));
/** Columns of MixColumns' matrix and of its inverse, as tables of products. */
const MIX = [2, 3, 1, 1].map(products);
const MIX_BACK = [14, 11, 13, 9].map(products);

const state = new Uint8Array(LANE);

/** out[row] = sum over i of matrix[i] * column[row + i]. */
function mixColumns(bytes: Uint8Array, matrix: readonly Uint8Array[], out: Uint8Array, to: number): void {
  for (let i = 0; i < LANE; i++) {
    const column = i & ~3;
    let sum = 0;
    for (let k = 0; k < 4; k++) sum ^= matrix[k][bytes[column + ((i + k) & 3)]];
    out[to + i] = sum;
  }
}

function round(
  { u8 }: MachineMemory,
  cpu: number,
  argument: number,
  table: Uint8Array,
  shift: 1 | -1,
  matrix: readonly Uint8Array[],
): number {
  const result = cpu + State.vectorResult;
  for (let lane = 0; lane <= (argument & AesArgument.twoLanes ? LANE : 0); lane += LANE) {
    const from = cpu + State.vectorA + lane;
    // ShiftRows: row r moves by r columns.
    for (let i = 0; i < LANE; i++) state[i] = table[u8[from + ((i + shift * 4 * (i & 3)) & 15)]];
    if (argument & AesArgument.last) u8.set(state, result + lane);
    else mixColumns(state, matrix, u8, result + lane);
    for (let i = 0; i < LANE; i++) u8[result + lane + i] ^= u8[cpu + State.vectorB + lane + i];
  }
  return 0;
}

const encrypt: VectorOperation = (memory, cpu, argument) => round(memory, cpu, argument, SUBSTITUTE, 1, MIX);
const decrypt: VectorOperation = (memory, cpu, argument) => round(memory, cpu, argument, SUBSTITUTE_BACK, -1, MIX_BACK);

const inverseMixColumns: VectorOperation = ({ u8 }, cpu) => {
  const from = cpu + State.vectorA;
  mixColumns(u8.subarray(from, from + LANE), MIX_BACK, u8, cpu + State.vectorResult);
  return 0;
};

/** SubWord of words 1 and 3, each also rotated by a byte and with the round constant in its low byte. */
const keyGenerationAssist: VectorOperation = ({ u8 }, cpu, argument) => {
  const to = cpu + State.vectorResult;
  for (const half of [0, 8]) {
    const word = cpu + State.vectorA + half + 4;
    for (let i = 0; i < 4; i++) {
      u8[to + half + i] = SUBSTITUTE[u8[word + i]];
      u8[to + half + 4 + i] = SUBSTITUTE[u8[word + ((i + 1) & 3)]];
    }
    u8[to + half + 4] ^= argument & AesArgument.round;
  }
  return 0;
};

/** First vector: the state; second one: the round key. */
export const AES_OPERATIONS = {
  'aes:encrypt': encrypt,
  'aes:decrypt': decrypt,
  'aes:inverseMixColumns': inverseMixColumns,
  'aes:keyGenerationAssist': keyGenerationAssist,
};
