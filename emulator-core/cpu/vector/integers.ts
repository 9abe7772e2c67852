/** Integer operations without a counterpart in WebAssembly. */
import { State } from '../layout';
import type { VectorOperation } from './operations';

const PART = 16;

/**
 * MPSADBW for both parts: sums of absolute differences of four bytes of B, at the offset that the argument's bits 1:0 give in
 * doublewords, against those of A from eight consecutive bytes on (from byte 0 or 4, bit 2). Bits 5:3 are for the high part.
 * SDM Vol. 2, "MPSADBW—Compute Multiple Packed Sums of Absolute Difference".
 */
const blockDifferences: VectorOperation = ({ u8, u16 }, cpu, argument) => {
  for (let part = 0; part < 2; part++) {
    const fields = argument >> (3 * part);
    const block = cpu + State.vectorB + part * PART + (fields & 3) * 4;
    const start = cpu + State.vectorA + part * PART + (fields & 4);
    for (let i = 0; i < 8; i++) {
      let sum = 0;
      for (let k = 0; k < 4; k++) sum += Math.abs(u8[start + i + k] - u8[block + k]);
      u16[((cpu + State.vectorResult + part * PART) >> 1) + i] = sum;
    }
  }
  return 0;
};

/** PHMINPOSUW: the smallest word of A, and the place of the first one that small. The rest is zero. */
const minimumWord: VectorOperation = ({ u16 }, cpu) => {
  const words = (cpu + State.vectorA) >> 1;
  let place = 0;
  for (let i = 1; i < 8; i++) if (u16[words + i] < u16[words + place]) place = i;
  const result = (cpu + State.vectorResult) >> 1;
  const smallest = u16[words + place];
  u16.fill(0, result, result + 8);
  u16[result] = smallest;
  u16[result + 1] = place;
  return 0;
};

export const INTEGER_VECTOR_OPERATIONS = { blockDifferences, minimumWord };
