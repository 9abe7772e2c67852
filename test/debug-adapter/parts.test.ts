import assert from 'node:assert/strict';
import { parseExamine, showUnit } from '../../debug-adapter/commands/examine';
import { BACKLOG, GuestConsole, OutputBatch } from '../../debug-adapter/guestConsole';
import { parseHitCondition, splitLogMessage } from '../../debug-adapter/hitCondition';
import { formatMemoryReference, fromBase64, parseMemoryReference, toBase64 } from '../../debug-adapter/memoryReference';
import { fromHex, toWire } from '../../debug-adapter/wire';

describe('hit conditions', () => {
  const hits = (text: string): number[] => [1, 2, 3, 4, 5, 6].filter(parseHitCondition(text));
  const cases: [string, number[]][] = [
    ['3', [3]],
    ['== 3', [3]],
    ['=3', [3]],
    ['>3', [4, 5, 6]],
    ['>= 3', [3, 4, 5, 6]],
    ['<3', [1, 2]],
    ['<=3', [1, 2, 3]],
    ['!=3', [1, 2, 4, 5, 6]],
    ['%2', [2, 4, 6]],
  ];
  for (const [text, expected] of cases)
    it(`${text} stops at ${expected.join()}`, () => assert.deepEqual(hits(text), expected));
  for (const text of ['', 'x', '> ', '3.5', '%0', '-1'])
    it(`refuses '${text}'`, () => assert.throws(() => parseHitCondition(text)));
});

describe('log messages', () => {
  it('are split at expressions', () => {
    assert.deepEqual(splitLogMessage('a {x} b\\{c\\}{y}'), [
      { text: 'a ', expression: false },
      { text: 'x', expression: true },
      { text: ' b{c}', expression: false },
      { text: 'y', expression: true },
    ]);
  });
  it('need their braces closed', () => assert.throws(() => splitLogMessage('a {x'), /column 3: expected '}'/));
});

describe('memory references', () => {
  it('are read and written in all spaces', () => {
    for (const text of ['0x1000', 'phys:0x1000', 'host:0xffffffffffffffff'])
      assert.equal(formatMemoryReference(parseMemoryReference(text)), text);
    assert.deepEqual(parseMemoryReference('0x10', -0x20), { space: 'virtual', address: 0xffff_ffff_ffff_fff0n });
    assert.throws(() => parseMemoryReference('main'), /expected 0x1000, phys:0x1000 or host:0x1000/);
  });
  it('base64 is that of RFC 4648', () => {
    assert.equal(toBase64(new TextEncoder().encode('foobar')), 'Zm9vYmFy');
    assert.deepEqual(fromBase64('Zm8='), new TextEncoder().encode('fo'));
    assert.throws(() => fromBase64('%'), /no base64/);
    const large = Uint8Array.from({ length: 100_000 }, (_, i) => i & 255);
    assert.deepEqual(fromBase64(toBase64(large)), large);
  });
});

describe('x/FMT', () => {
  const none = (): undefined => undefined;
  it('takes count, letter and size', () => {
    assert.deepEqual(parseExamine('8xg', 8), { count: 8, format: 'x', size: 8 });
    assert.deepEqual(parseExamine('gx', 8), { count: 1, format: 'x', size: 8 });
    assert.deepEqual(parseExamine('', 8), { count: 1, format: 'x', size: 4 });
    assert.deepEqual(parseExamine('3c', 8), { count: 3, format: 'c', size: 1 });
    assert.deepEqual(parseExamine('a', 4), { count: 1, format: 'a', size: 4 });
    for (const text of ['z', '8xx', 'xgx', '99999']) assert.throws(() => parseExamine(text, 8));
  });
  it('shows units', () => {
    const show = (format: 'x' | 'd' | 'u' | 'o' | 't' | 'c' | 'a', size: number, value: bigint): string =>
      showUnit(value, { count: 1, format, size }, none);
    assert.equal(show('x', 2, 0xabn), '0x00ab');
    assert.equal(show('d', 1, 0xffn), '-1');
    assert.equal(show('u', 1, 0xffn), '255');
    assert.equal(show('o', 1, 8n), '010');
    assert.equal(show('t', 1, 5n), '00000101');
    assert.equal(show('c', 1, 65n), "65 'A'");
    assert.equal(
      showUnit(16n, { count: 1, format: 'a', size: 8 }, () => 'main+0x10'),
      '0x10 <main+0x10>',
    );
  });
});

describe('the wire codec', () => {
  it('sends bigint as hex', () => {
    assert.deepEqual(toWire({ a: 255n, b: [{ c: 0n }], d: 'x', e: undefined, f: 1.5 }), {
      a: '0xff',
      b: [{ c: '0x0' }],
      d: 'x',
      e: undefined,
      f: 1.5,
    });
    assert.equal(fromHex('0xff', 'gpa'), 255n);
    assert.throws(() => fromHex('ff', 'gpa'), /gpa: expected a 0x-prefixed number/);
  });
});

describe('the guest console', () => {
  const make = (
    route: 'output' | 'attach' | 'file',
  ): { console: GuestConsole; text: string[]; bytes: Uint8Array[]; file: Uint8Array[] } => {
    const sent = { text: [] as string[], bytes: [] as Uint8Array[], file: [] as Uint8Array[] };
    const sink = {
      text: (t: string) => void sent.text.push(t),
      bytes: (b: Uint8Array) => void sent.bytes.push(b),
      file: (b: Uint8Array) => (sent.file.push(b), undefined),
    };
    return { console: new GuestConsole(route, sink), ...sent };
  };
  it('joins output and never cuts a character', () => {
    const { console, text } = make('output');
    const bytes = new TextEncoder().encode('aé€😀');
    for (const byte of bytes) {
      void console.write(new Uint8Array([byte]));
      console.flush();
    }
    assert.equal(text.join(''), 'aé€😀');
    assert.ok(!text.join('').includes('\ufffd'));
  });
  it('keeps a backlog of 1 MB for the terminal that attaches', () => {
    const { console, text, bytes } = make('attach');
    const chunk = new Uint8Array(300_000);
    for (let i = 1; i <= 5; i++) void console.write(chunk.fill(i));
    const { data: backlog, missing } = console.attach();
    assert.equal(backlog.length, BACKLOG);
    assert.equal(missing, 1_500_000 - BACKLOG);
    assert.equal(backlog[BACKLOG - 1], 5);
    assert.equal(backlog[0], 2);
    assert.equal(bytes.length, 0);
    void console.write(new Uint8Array([9]));
    console.flush();
    assert.deepEqual(bytes, [new Uint8Array([9])]);
    assert.deepEqual(text, []);
  });
  it('bounds what a busy log point sends', () => {
    const sent: string[] = [];
    const batch = new OutputBatch((text) => sent.push(text));
    for (let i = 0; i < 40; i++) batch.write('x'.repeat(100_000) + '\n');
    batch.flush();
    assert.equal(sent.length, 1);
    assert.ok(sent[0].length < 2 * BACKLOG);
    assert.match(sent[0], /\.\.\. \d+ more lines left out\n$/);
  });
});
