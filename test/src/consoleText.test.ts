/** The serial console's text, both ways. */
import assert from 'node:assert';
import { ConsoleText, lumpDelay, sizeCommand, typedBytes } from '../../src/consoleText';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (data: Uint8Array): string => new TextDecoder().decode(data);

describe('serial output', () => {
  it('decodes UTF-8 wherever it is cut', () => {
    const whole = 'naïve 漢字 😀\r\n';
    const console = new ConsoleText(1000);
    let shown = '';
    for (const byte of bytes(whole)) shown += console.decode(Uint8Array.of(byte));
    assert.strictEqual(shown, whole);
    assert.strictEqual(console.kept, whole);
  });

  it('shows bytes that are no UTF-8 as such, and goes on', () => {
    const console = new ConsoleText(1000);
    assert.strictEqual(console.decode(Uint8Array.of(0x41, 0xff, 0x42)), 'A\ufffdB');
  });

  it('adds carriage returns for a guest that never sends any', () => {
    const console = new ConsoleText(1000);
    assert.strictEqual(console.decode(bytes('one\ntwo\n')), 'one\r\ntwo\r\n');
  });

  it('passes line feeds as they are once the guest has sent CR LF: cursor movement of full-screen programs', () => {
    const console = new ConsoleText(1000);
    assert.strictEqual(console.decode(bytes('boot\r')), 'boot\r');
    assert.strictEqual(console.decode(bytes('\nabc\n\n')), '\nabc\n\n');
    assert.strictEqual(console.decode(bytes('\x1b[2J\n')), '\x1b[2J\n');
  });

  it('does always or never so where that is set', () => {
    assert.strictEqual(new ConsoleText(9, 'always').decode(bytes('a\r\nb\n')), 'a\r\nb\r\n');
    assert.strictEqual(new ConsoleText(9, 'never').decode(bytes('b\nc\r\n')), 'b\nc\r\n');
  });

  it('keeps the newest output, as much as it is told', () => {
    const console = new ConsoleText(100);
    for (let i = 0; i < 1000; i++) console.decode(bytes(`${i} `.padStart(10)));
    assert.ok(console.kept.length >= 100 && console.kept.length <= 125);
    assert.ok(console.kept.endsWith('     999 '));
    const none = new ConsoleText(0);
    assert.strictEqual(none.decode(bytes('x')), 'x');
    assert.strictEqual(none.kept, '');
  });

  it('puts a note on a line of its own', () => {
    const console = new ConsoleText(1000);
    assert.strictEqual(console.note('hello'), '\x1b[0m\x1b[2mhello\x1b[0m\r\n');
    console.decode(bytes('login: '));
    assert.strictEqual(console.note('bye'), '\x1b[0m\r\n\x1b[2mbye\x1b[0m\r\n');
  });
});

describe('lumps of output', () => {
  it('follow each other at the rate of a screen, and more slowly behind one that fills it', () => {
    const frame = 1000 / 60;
    for (const characters of [0, 1, 80]) assert.ok(lumpDelay(characters) <= frame);
    for (const characters of [80 * 24, 1e6])
      assert.ok(lumpDelay(characters) >= 4 * frame && lumpDelay(characters) <= 100);
  });
});

describe('typed text', () => {
  it('ends lines with CR, however they came', () => {
    assert.strictEqual(text(typedBytes('a\nb\r\nc\r')), 'a\rb\rc\r');
  });
  it('passes control characters, sequences of keys and bracketed paste', () => {
    for (const typed of ['\x03', '\x04', '\x7f', '\n', '\x1b[A', '\x1bOP', '\x1b[15~', '\x1b[200~x\x1b[201~', 'é😀'])
      assert.deepStrictEqual(typedBytes(typed), bytes(typed));
  });
  it('tells the size of the terminal as stty takes it', () => {
    assert.strictEqual(sizeCommand(40, 132), 'stty rows 40 cols 132\r');
  });
});
