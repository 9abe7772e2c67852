/** Vector moves. */
import type { Builder } from '../../../translate/builder';
import type { Family } from '../instruction';
import { SSE2_UP, encodings, readParts } from './forms';

const move = (b: Builder): void => b.writeVector(0, readParts(b, 1));
const MOVDQA = 'MOVDQA,VMOVDQA32/64—Move Aligned Packed Integer Values';
const MOVDQU = 'MOVDQU,VMOVDQU8/16/32/64—Move Unaligned Packed Integer Values';

export const simdMoves: Family = [
  ...encodings('Movdqa', { ...SSE2_UP, vex256: 'avx' }, { manual: MOVDQA, aligned: true, semantics: move }),
  ...encodings('Movdqu', { ...SSE2_UP, vex256: 'avx' }, { manual: MOVDQU, aligned: false, semantics: move }),
];
