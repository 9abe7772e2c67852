/** The formats of `x/FMT ADDR` as in gdb: a count, a letter for how, and a letter for the size of a unit. */

export type ExamineFormat = 'x' | 'd' | 'u' | 'o' | 't' | 'a' | 'c' | 's' | 'i';

export interface ExamineRequest {
  count: number;
  format: ExamineFormat;
  /** Bytes of a unit: 1, 2, 4 or 8. */
  size: number;
}

const SIZES: Record<string, number> = { b: 1, h: 2, w: 4, g: 8 };
const MAX_COUNT = 4096;

/** Parses what stands after the slash: '8xg', '20i', 's', ''. Throws an Error that lists the letters. */
export function parseExamine(text: string, pointerSize: number): ExamineRequest {
  const found = /^(\d*)([xduotacsi]?)([bhwg]?)([xduotacsi]?)$/.exec(text);
  if (!found || (found[2] && found[4])) {
    throw new Error(
      `'/${text}': expected a count, one of x d u o t a c s i, and one of b h w g (1, 2, 4, 8 bytes), such as /8xg`,
    );
  }
  const format = (found[2] || found[4] || 'x') as ExamineFormat;
  const fallback = format === 'a' ? pointerSize : format === 'c' ? 1 : 4;
  const count = found[1] === '' ? 1 : Number(found[1]);
  if (count > MAX_COUNT) throw new Error(`'/${text}': at most ${MAX_COUNT} units`);
  return { count, format, size: format === 'c' && !found[3] ? 1 : (SIZES[found[3]] ?? fallback) };
}

/** One unit as text. `describe` names addresses for format 'a'. */
export function showUnit(
  value: bigint,
  { format, size }: ExamineRequest,
  describe: (address: bigint) => string | undefined,
): string {
  const bits = size * 8;
  switch (format) {
    case 'd':
      return BigInt.asIntN(bits, value).toString();
    case 'u':
      return value.toString();
    case 'o':
      return `0${value.toString(8)}`;
    case 't':
      return value.toString(2).padStart(bits, '0');
    case 'c': {
      const code = Number(value & 0xffn);
      const printable =
        code >= 32 && code < 127 ? String.fromCharCode(code) : `\\x${code.toString(16).padStart(2, '0')}`;
      return `${code} '${printable}'`;
    }
    case 'a': {
      const symbol = describe(value);
      return `0x${value.toString(16)}${symbol ? ` <${symbol}>` : ''}`;
    }
    default:
      return `0x${value.toString(16).padStart(size * 2, '0')}`;
  }
}

/** Units on one line. */
export function perLine({ format, size }: ExamineRequest): number {
  return format === 'a' ? 2 : format === 't' ? Math.max(1, 8 / size) : format === 'c' ? 8 : 16 / size;
}
