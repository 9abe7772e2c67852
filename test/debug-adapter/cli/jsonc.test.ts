import assert from 'node:assert';
import { parseJsonc } from '../../../debug-adapter/cli/jsonc';

describe('parseJsonc', () => {
  const good: [string, unknown][] = [
    ['{"a": 1}', { a: 1 }],
    ['\uFEFF{"a": 1}', { a: 1 }],
    ['// before\n{"a": 1, // in\n "b": [1, 2,],} // after', { a: 1, b: [1, 2] }],
    ['{"a": /* many\nlines, */ 1, /**/}', { a: 1 }],
    ['{"url": "http://x/*y*/", "c": ",]", "q": "\\"//"}', { url: 'http://x/*y*/', c: ',]', q: '"//' }],
    ['[1, // one\n]', [1]],
    ['["a\\\\", "b",]', ['a\\', 'b']],
  ];
  for (const [text, value] of good) {
    it(`reads ${JSON.stringify(text)}`, () => assert.deepStrictEqual(parseJsonc(text, 'f'), value));
  }

  const bad: [string, string][] = [
    ['{"a": 1', "f:1:8: expected ',' or '}', got the end of the file"],
    ['{\n  "a": oops\n}', "f:2:8: expected a value, got 'o'"],
    ['{a: 1}', `f:1:2: expected a name in double quotes or '}', got 'a'`],
    ['{"a" 1}', "f:1:6: expected ':', got '1'"],
    ['{"a": 1} /* open', "f:1:10: expected an end of this comment, got '/'"],
    ['{"a": "open\n"}', `f:1:7: expected a text that ends with double quotes on the same line, got '"'`],
    ['["\\x"]', `f:1:2: expected a text with valid escapes and without control characters, got '"'`],
    ['', 'f:1:1: expected a value, got the end of the file'],
    ['[1,,]', "f:1:4: expected a value, got ','"],
    ['[,]', "f:1:2: expected a value, got ','"],
    ['[01]', "f:1:3: expected ',' or ']', got '1'"],
    ['{} {}', "f:1:4: expected the end of the file, got '{'"],
  ];
  for (const [text, message] of bad) {
    it(`refuses ${JSON.stringify(text)}`, () =>
      assert.throws(() => parseJsonc(text, 'f'), { name: 'UsageError', message }));
  }

  it('refuses what would exhaust the stack', () => {
    assert.throws(() => parseJsonc('['.repeat(100_000), 'f'), /at most 100 levels/);
  });

  it('makes plain properties of all names', () => {
    const value = parseJsonc('{"__proto__": {"x": 1}}', 'f') as object;
    assert.deepStrictEqual(Object.keys(value), ['__proto__']);
  });

  it('takes time in proportion to the input', () => {
    const text = `[${'"\\"", // ,\n'.repeat(50_000)}]`;
    assert.strictEqual((parseJsonc(text, 'f') as unknown[]).length, 50_000);
  });
});
