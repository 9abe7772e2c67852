/** Hit counts and log messages of breakpoints, as texts. */
import { ExpressionError } from './expression/tokens';

/**
 * A hit condition: `5` or `==5` (only the fifth hit), `>5`, `>=5`, `<5`, `<=5`, `!=5`, `%5` (every fifth). Throws ExpressionError.
 * @returns whether hit number `hits` (from 1) stops
 */
export function parseHitCondition(text: string): (hits: number) => boolean {
  const found = /^\s*(==|=|>=|<=|!=|>|<|%)?\s*(\d+)\s*$/.exec(text);
  if (!found)
    throw new ExpressionError(`'${text}' is no hit count; expected a number, or one after >, >=, <, <=, ==, != or %`);
  const count = Number(found[2]);
  switch (found[1]) {
    case '>':
      return (hits) => hits > count;
    case '>=':
      return (hits) => hits >= count;
    case '<':
      return (hits) => hits < count;
    case '<=':
      return (hits) => hits <= count;
    case '!=':
      return (hits) => hits !== count;
    case '%':
      if (count === 0) throw new ExpressionError("'%0' never divides; expected a number from 1");
      return (hits) => hits % count === 0;
    default:
      return (hits) => hits === count;
  }
}

export interface LogPart {
  text: string;
  /** `text` is an expression that stood in braces. */
  expression: boolean;
}

/** Splits a log message at its {expressions}; `\{` is a brace. Throws ExpressionError for a brace that is not closed. */
export function splitLogMessage(message: string): LogPart[] {
  const parts: LogPart[] = [];
  let literal = '';
  for (let i = 0; i < message.length; i++) {
    const character = message[i];
    if (character === '\\' && (message[i + 1] === '{' || message[i + 1] === '}')) {
      literal += message[++i];
    } else if (character === '{') {
      const end = message.indexOf('}', i);
      if (end < 0) throw new ExpressionError("expected '}' to close '{' in the log message", i + 1);
      if (literal) parts.push({ text: literal, expression: false });
      literal = '';
      parts.push({ text: message.slice(i + 1, end), expression: true });
      i = end;
    } else literal += character;
  }
  if (literal) parts.push({ text: literal, expression: false });
  return parts;
}
