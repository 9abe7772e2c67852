/** A decoded field for people: name, value as 0x-prefixed hex of full width (or plain text), meaning, parts. */
export interface Field {
  name: string;
  value: string;
  text?: string;
  children?: Field[];
}

/** 0x-prefixed hex, zero-padded to `bits` wide. */
export function hex(value: bigint | number, bits: number): string {
  return (
    '0x' +
    BigInt.asUintN(bits, BigInt(value))
      .toString(16)
      .padStart(Math.ceil(bits / 4), '0')
  );
}
