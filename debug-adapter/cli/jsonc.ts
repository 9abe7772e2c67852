import { UsageError } from './usageError';

/** Deeper nesting is an error, so that no file can exhaust the stack. */
const MAX_DEPTH = 100;

/**
 * Reads JSON with // and block comments and trailing commas, as VS Code writes launch.json.
 * Source: RFC 8259 for the rest.
 * @param file name for messages
 * @throws UsageError with file, line and column, and what was expected
 */
export function parseJsonc(text: string, file: string): unknown {
  return new Parser(text, file).document();
}

class Parser {
  private at = 0;

  constructor(
    private readonly text: string,
    private readonly file: string,
  ) {}

  document(): unknown {
    if (this.text.startsWith('\uFEFF')) this.at = 1;
    const value = this.value(0);
    if (this.peek() !== '') this.fail('the end of the file');
    return value;
  }

  /** Next character that means something, '' at the end. */
  private peek(): string {
    const { text } = this;
    for (;;) {
      const space = /[ \t\r\n]*/y;
      space.lastIndex = this.at;
      space.exec(text);
      this.at = space.lastIndex;
      if (text.startsWith('//', this.at)) {
        const end = text.indexOf('\n', this.at);
        this.at = end < 0 ? text.length : end;
      } else if (text.startsWith('/*', this.at)) {
        const end = text.indexOf('*/', this.at + 2);
        if (end < 0) this.fail('an end of this comment');
        this.at = end + 2;
      } else {
        return text.charAt(this.at);
      }
    }
  }

  private value(depth: number): unknown {
    if (depth > MAX_DEPTH) this.fail(`at most ${MAX_DEPTH} levels`);
    const character = this.peek();
    if (character === '{') return this.object(depth);
    if (character === '[') return this.array(depth);
    if (character === '"') return this.string();
    const literal = /true|false|null|-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y;
    literal.lastIndex = this.at;
    const found = literal.exec(this.text);
    if (!found) this.fail('a value');
    this.at = literal.lastIndex;
    return JSON.parse(found[0]);
  }

  private object(depth: number): Record<string, unknown> {
    const entries: [string, unknown][] = [];
    this.at++;
    for (;;) {
      const next = this.peek();
      if (next === '}') break;
      if (next !== '"') this.fail(`a name in double quotes or '}'`);
      const name = this.string();
      if (this.peek() !== ':') this.fail(`':'`);
      this.at++;
      entries.push([name, this.value(depth + 1)]);
      if (!this.separator('}')) break;
    }
    this.at++;
    // fromEntries makes own properties of any name, '__proto__' too.
    return Object.fromEntries(entries);
  }

  private array(depth: number): unknown[] {
    const items: unknown[] = [];
    this.at++;
    while (this.peek() !== ']') {
      items.push(this.value(depth + 1));
      if (!this.separator(']')) break;
    }
    this.at++;
    return items;
  }

  /** After an item: true at a comma, which is passed, false at `close`. */
  private separator(close: string): boolean {
    const next = this.peek();
    if (next === close) return false;
    if (next !== ',') this.fail(`',' or '${close}'`);
    this.at++;
    return true;
  }

  private string(): string {
    const literal = /"(?:[^"\\\n\r]|\\.)*"/y;
    literal.lastIndex = this.at;
    const found = literal.exec(this.text);
    if (!found) this.fail('a text that ends with double quotes on the same line');
    try {
      const value = JSON.parse(found[0]) as string;
      this.at = literal.lastIndex;
      return value;
    } catch {
      return this.fail('a text with valid escapes and without control characters');
    }
  }

  private fail(expected: string): never {
    const before = this.text.slice(0, this.at).split('\n');
    const found = this.text.charAt(this.at);
    const got = found ? `'${found}'` : 'the end of the file';
    throw new UsageError(
      `${this.file}:${before.length}:${before[before.length - 1].length + 1}: expected ${expected}, got ${got}`,
    );
  }
}
