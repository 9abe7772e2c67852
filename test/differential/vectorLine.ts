/** A case as one line of text. */
import type { Sequence } from './generate';
import type { Outcome } from './protocol';

export function caseLine(sequence: Sequence, cases: Buffer, at: number, want: Outcome): string {
  void at;
  void want;
  void cases;
  return `${sequence.name} ${Buffer.from(sequence.code).toString('hex')}`;
}
