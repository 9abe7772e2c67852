/** The same numbers, with room for as many more, and for `further` ones. */
export function doubled<T extends Int32Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Uint8Array<ArrayBuffer>>(
  numbers: T,
  further = 0,
): T {
  const more = new (numbers.constructor as new (length: number) => T)(numbers.length * 2 + further);
  more.set(numbers);
  return more;
}
