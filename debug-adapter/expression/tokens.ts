/** Tokens of the expression language: C's, with $registers and the address-space prefixes phys: and host:. */

/** An expression that cannot be understood or evaluated. The message says where (column, from 1) and what was expected. */
export class ExpressionError extends Error {
  override name = 'ExpressionError';
  constructor(
    readonly problem: string,
    readonly column?: number,
  ) {
    super(column === undefined ? problem : `column ${column}: ${problem}`);
  }
}

export type Token =
  | { kind: 'number'; value: bigint; hex: boolean; unsigned: boolean; column: number; end: number }
  | { kind: 'name'; text: string; column: number; end: number }
  | { kind: 'register'; text: string; column: number; end: number }
  | { kind: 'space'; text: 'phys' | 'host' | 'virt'; column: number; end: number }
  | { kind: 'punctuation'; text: string; column: number; end: number }
  | { kind: 'end'; column: number; end: number };

/** Longest first, so that '<<=' would never be read as '<' '<='. */
const PUNCTUATION = ['->', '<<', '>>', '<=', '>=', '==', '!=', '&&', '||', ...'+-*/%&|^~!<>()[].?:=,'];
const MAX_LENGTH = 10_000;

const NUMBER = /(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|[0-9][0-9_]*[hH]?)([uUlL]*)/y;
const REAL = /[0-9]+(?:\.[0-9]+(?:e[+-]?[0-9]+)?|e[+-]?[0-9]+)/iy;
const REGISTER = /\$[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)?/y;
const SPACE = /(phys|host|virt):(?!:)/y;
const NAME = /[A-Za-z_][A-Za-z0-9_]*(?:::[A-Za-z_~][A-Za-z0-9_]*)*/y;
const CHARACTER = /'(\\?[^'\n])'/y;
const ESCAPES: Record<string, string> = { n: '\n', r: '\r', t: '\t', '0': '\0', '\\': '\\', "'": "'" };

/** Splits an expression. Throws ExpressionError with the column of what cannot begin a token. */
export function tokenize(text: string): Token[] {
  if (text.length > MAX_LENGTH)
    throw new ExpressionError(`expression is longer than ${MAX_LENGTH} characters`, MAX_LENGTH + 1);
  const tokens: Token[] = [];
  let at = 0;
  const match = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    return pattern.exec(text);
  };
  while (at < text.length) {
    if (/\s/.test(text[at])) {
      at++;
      continue;
    }
    const column = at + 1;
    let found: RegExpExecArray | null;
    if ((found = match(NUMBER))) {
      const end = at + found[0].length;
      const real = match(REAL);
      if (real)
        throw new ExpressionError(`${real[0]} is a floating-point number; expressions compute with whole ones`, column);
      if (/[A-Za-z0-9_]/.test(text[end] ?? '')) {
        throw new ExpressionError(
          `'${/^\w+/.exec(text.slice(at))![0]}' is no number; expected decimal, 0x, 0b or 0o`,
          column,
        );
      }
      const body = found[0].slice(0, found[0].length - found[1].length).replace(/_/g, '');
      const suffixHex = /[hH]$/.test(body) && !/^0[xX]/.test(body);
      const hex = suffixHex || /^0[xX]/.test(body);
      if (/^0[xXbBoO]$/.test(body)) throw new ExpressionError(`expected digits after '${body}'`, column + 2);
      const octal = /^0[0-7]+$/.test(body);
      const value = BigInt(suffixHex ? `0x${body.slice(0, -1)}` : octal ? `0o${body.slice(1)}` : body);
      if (value >= 1n << 256n) throw new ExpressionError('number does not fit in 256 bits', column);
      tokens.push({ kind: 'number', value, hex, unsigned: /[uU]/.test(found[1]), column, end });
      at = end;
    } else if ((found = match(CHARACTER))) {
      const body = found[1];
      const character = body.length > 1 ? (ESCAPES[body[1]] ?? body[1]) : body;
      at += found[0].length;
      tokens.push({
        kind: 'number',
        value: BigInt(character.codePointAt(0)!),
        hex: false,
        unsigned: false,
        column,
        end: at,
      });
    } else if ((found = match(REGISTER))) {
      at += found[0].length;
      tokens.push({ kind: 'register', text: found[0].slice(1), column, end: at });
    } else if ((found = match(SPACE))) {
      at += found[0].length;
      tokens.push({ kind: 'space', text: found[1] as 'phys' | 'host' | 'virt', column, end: at });
    } else if ((found = match(NAME))) {
      at += found[0].length;
      tokens.push({ kind: 'name', text: found[0], column, end: at });
    } else {
      const text1 = PUNCTUATION.find((p) => text.startsWith(p, at));
      if (!text1) throw new ExpressionError(`unexpected '${text[at]}'`, column);
      at += text1.length;
      tokens.push({ kind: 'punctuation', text: text1, column, end: at });
    }
  }
  tokens.push({ kind: 'end', column: text.length + 1, end: text.length });
  return tokens;
}
