/** Bits sorted by at a time. */
const DIGIT = 16;
/** Fewer keys are compared with each other: counting all values of a digit takes longer. */
const FEW = 4096;

/**
 * The order that sorts keys ascending, those that are equal by rank, and those that are still equal as they stand. Takes time in
 * proportion to their number; yields between passes.
 * @param ranks 0 to 255, one for each key
 */
export function* sortedOrder(keys: BigUint64Array, ranks: Uint8Array): Generator<void, Uint32Array> {
  const { length } = keys;
  // Little-endian halves: digit n of key i is digits[4 * i + n].
  const digits = new Uint16Array(keys.buffer, keys.byteOffset, length * 4);
  let order = Uint32Array.from(ranks, (_, i) => i);
  if (length < FEW) {
    return order.sort((a, b) => (keys[a]! < keys[b]! ? -1 : keys[a]! > keys[b]! ? 1 : ranks[a]! - ranks[b]! || a - b));
  }
  let other = new Uint32Array(length);
  for (let pass = -1; pass < 4; pass++) {
    yield;
    const digit = (i: number): number => (pass < 0 ? ranks[i]! : digits[4 * i + pass]!);
    const starts = new Uint32Array((1 << DIGIT) + 1);
    for (let i = 0; i < length; i++) starts[digit(i) + 1]!++;
    for (let value = 1; value < starts.length; value++) starts[value]! += starts[value - 1]!;
    for (let i = 0; i < length; i++) other[starts[digit(order[i]!)]!++] = order[i]!;
    [order, other] = [other, order];
  }
  return order;
}
