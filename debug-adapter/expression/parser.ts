/** Tokens to a syntax tree: C's operators with C's precedence (ISO C, "Expressions"), without calls, increments and compound assignment. */
import { ExpressionError, tokenize, type Token } from './tokens';

export interface TypeName {
  /** 'uint32_t', 'struct page', 'unsigned long'. */
  name: string;
  pointers: number;
}

export type Node = { column: number } & (
  | { kind: 'number'; value: bigint; hex: boolean; unsigned: boolean }
  | { kind: 'name'; name: string }
  | { kind: 'register'; name: string }
  | { kind: 'space'; space: 'phys' | 'host' | 'virt'; operand: Node }
  | { kind: 'unary'; operator: '-' | '+' | '~' | '!' | '*' | '&'; operand: Node }
  | { kind: 'binary'; operator: string; left: Node; right: Node }
  | { kind: 'conditional'; test: Node; then: Node; otherwise: Node }
  | { kind: 'cast'; type: TypeName; operand: Node }
  | { kind: 'sizeof'; type?: TypeName; operand?: Node }
  | { kind: 'member'; operand: Node; member: string; arrow: boolean }
  | { kind: 'index'; operand: Node; index: Node }
  | { kind: 'assign'; target: Node; value: Node }
);

/** Binary operators by binding strength; a higher one binds tighter. */
export const PRECEDENCE: Readonly<Record<string, number>> = {
  '||': 1,
  '&&': 2,
  '|': 3,
  '^': 4,
  '&': 5,
  '==': 6,
  '!=': 6,
  '<': 7,
  '>': 7,
  '<=': 7,
  '>=': 7,
  '<<': 8,
  '>>': 8,
  '+': 9,
  '-': 9,
  '*': 10,
  '/': 10,
  '%': 10,
};

const TYPE_WORDS = new Set([
  'unsigned',
  'signed',
  'char',
  'short',
  'int',
  'long',
  'struct',
  'union',
  'enum',
  'const',
  'volatile',
  'void',
  '_Bool',
  'bool',
  'float',
  'double',
]);
/** Deeper nesting is an error, so that no input can exhaust the stack. */
const MAX_DEPTH = 200;

/** Whether a lone name (`size_t`, `uint32_t`, a typedef of the program) is a type. */
export type IsTypeName = (name: string) => boolean;

class Parser {
  private at = 0;
  private depth = 0;

  constructor(
    private readonly tokens: Token[],
    private readonly isTypeName: IsTypeName,
  ) {}

  whole(): Node {
    if (this.peek().kind === 'end') throw new ExpressionError('expected an expression', 1);
    const node = this.assignment();
    const rest = this.peek();
    if (rest.kind !== 'end')
      throw new ExpressionError(`expected an operator or the end, got ${show(rest)}`, rest.column);
    return node;
  }

  private peek(ahead = 0): Token {
    return this.tokens[Math.min(this.at + ahead, this.tokens.length - 1)];
  }

  private is(text: string, ahead = 0): boolean {
    const token = this.peek(ahead);
    return token.kind === 'punctuation' && token.text === text;
  }

  private accept(text: string): boolean {
    if (!this.is(text)) return false;
    this.at++;
    return true;
  }

  private expect(text: string, why: string): void {
    const token = this.peek();
    if (!this.accept(text)) throw new ExpressionError(`expected '${text}' ${why}, got ${show(token)}`, token.column);
  }

  private nested<T>(parse: () => T): T {
    if (++this.depth > MAX_DEPTH) throw new ExpressionError('expression is nested too deeply', this.peek().column);
    const result = parse();
    this.depth--;
    return result;
  }

  private assignment(): Node {
    return this.nested(() => {
      const target = this.conditional();
      const { column } = this.peek();
      if (!this.accept('=')) return target;
      return { kind: 'assign', target, value: this.assignment(), column };
    });
  }

  private conditional(): Node {
    return this.nested(() => {
      const test = this.binary(1);
      const { column } = this.peek();
      if (!this.accept('?')) return test;
      const then = this.conditional();
      this.expect(':', "of '?'");
      return { kind: 'conditional', test, then, otherwise: this.conditional(), column };
    });
  }

  private binary(least: number): Node {
    let left = this.unary();
    for (;;) {
      const token = this.peek();
      const strength = token.kind === 'punctuation' ? PRECEDENCE[token.text] : undefined;
      if (strength === undefined || strength < least) return left;
      this.at++;
      const right = this.nested(() => this.binary(strength + 1));
      left = { kind: 'binary', operator: (token as { text: string }).text, left, right, column: token.column };
    }
  }

  private unary(): Node {
    return this.nested(() => {
      const token = this.peek();
      if (token.kind === 'space') {
        this.at++;
        return { kind: 'space', space: token.text, operand: this.unary(), column: token.column };
      }
      if (token.kind === 'name' && token.text === 'sizeof') {
        this.at++;
        if (this.is('(') && this.startsType(1)) {
          this.at++;
          const type = this.typeName();
          this.expect(')', 'after the type');
          return { kind: 'sizeof', type, column: token.column };
        }
        return { kind: 'sizeof', operand: this.unary(), column: token.column };
      }
      if (token.kind === 'punctuation') {
        switch (token.text) {
          case '-':
          case '+':
          case '~':
          case '!':
          case '*':
          case '&':
            this.at++;
            return { kind: 'unary', operator: token.text, operand: this.unary(), column: token.column };
          case '(':
            if (this.startsType(1)) {
              this.at++;
              const type = this.typeName();
              this.expect(')', 'after the type');
              return { kind: 'cast', type, operand: this.unary(), column: token.column };
            }
        }
      }
      return this.postfix();
    });
  }

  private startsType(ahead: number): boolean {
    const token = this.peek(ahead);
    if (token.kind !== 'name') return false;
    if (TYPE_WORDS.has(token.text)) return true;
    // (name) is a type when it is one, or when only a cast to a pointer can look like it: (name *)
    return (
      this.isTypeName(token.text) || (this.is('*', ahead + 1) && (this.is(')', ahead + 2) || this.is('*', ahead + 2)))
    );
  }

  private typeName(): TypeName {
    const words: string[] = [];
    for (let token = this.peek(); token.kind === 'name'; token = this.peek()) {
      this.at++;
      if (token.text !== 'const' && token.text !== 'volatile') words.push(token.text);
    }
    let pointers = 0;
    while (this.is('*') || ((this.peek() as { text?: string }).text === 'const' && pointers > 0)) {
      if (this.is('*')) pointers++;
      this.at++;
    }
    if (words.length === 0) throw new ExpressionError(`expected a type, got ${show(this.peek())}`, this.peek().column);
    return { name: words.join(' '), pointers };
  }

  private postfix(): Node {
    let node = this.primary();
    for (;;) {
      const { column } = this.peek();
      if (this.accept('[')) {
        const index = this.conditional();
        this.expect(']', 'after the index');
        node = { kind: 'index', operand: node, index, column };
      } else if (this.is('.') || this.is('->')) {
        const arrow = this.is('->');
        this.at++;
        const name = this.peek();
        if (name.kind !== 'name') throw new ExpressionError(`expected a member's name, got ${show(name)}`, name.column);
        this.at++;
        node = { kind: 'member', operand: node, member: name.text, arrow, column };
      } else if (this.is('(')) {
        throw new ExpressionError("functions of the guest can't be called from the debugger", column);
      } else return node;
    }
  }

  private primary(): Node {
    const token = this.peek();
    switch (token.kind) {
      case 'number':
        this.at++;
        return { kind: 'number', value: token.value, hex: token.hex, unsigned: token.unsigned, column: token.column };
      case 'name':
        this.at++;
        return { kind: 'name', name: token.text, column: token.column };
      case 'register':
        this.at++;
        return { kind: 'register', name: token.text, column: token.column };
    }
    if (this.accept('(')) {
      const node = this.assignment();
      this.expect(')', "to close '('");
      return node;
    }
    throw new ExpressionError(`expected a number, name, $register or '(', got ${show(token)}`, token.column);
  }
}

function show(token: Token): string {
  switch (token.kind) {
    case 'end':
      return 'the end';
    case 'number':
      return token.hex ? `0x${token.value.toString(16)}` : `${token.value}`;
    case 'register':
      return `'$${token.text}'`;
    default:
      return `'${token.text}'`;
  }
}

/** Parses a whole expression. Throws ExpressionError that names the column and what was expected. */
export function parse(text: string, isTypeName: IsTypeName = () => false): Node {
  return new Parser(tokenize(text), isTypeName).whole();
}
