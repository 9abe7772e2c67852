/** DAP's framing on the editor's side. */
import assert from 'node:assert/strict';
import { encodeMessage, MessageReader } from '../../src/dapStream';

/** As the specification's section "Base Protocol" has it. */
const framed = (json: string): string => `Content-Length: ${Buffer.byteLength(json)}\r\n\r\n${json}`;

describe('messages of DAP in a stream', () => {
  it('are written with their length in bytes', () => {
    assert.equal(Buffer.from(encodeMessage({ text: '漢字' })).toString(), framed('{"text":"漢字"}'));
  });

  it('are found however the stream is cut', () => {
    const messages = [{ seq: 1, text: '漢字 😀' }, {}, { seq: 2, long: 'x'.repeat(10_000) }, [3]];
    const stream = Buffer.from(messages.map((message) => framed(JSON.stringify(message))).join(''));
    for (const piece of [1, 2, 3, 7, 19, 4096, stream.length]) {
      const reader = new MessageReader();
      const found: unknown[] = [];
      for (let at = 0; at < stream.length; at += piece) found.push(...reader.add(stream.subarray(at, at + piece)));
      assert.deepEqual(found, messages, `pieces of ${piece}`);
    }
  });

  it('may have further fields in their header', () => {
    const text = 'Content-Type: application/json\r\ncontent-length: 2\r\n\r\n{}';
    assert.deepEqual([...new MessageReader().add(Buffer.from(text))], [{}]);
  });

  it('are told from what a program prints by mistake', () => {
    assert.throws(
      () => [...new MessageReader().add(Buffer.from('hello\r\n\r\n'))],
      /expected Content-Length, found "hello/,
    );
    assert.throws(() => [...new MessageReader().add(Buffer.alloc(5000, 'x'))], /expected Content-Length/);
    assert.throws(() => [...new MessageReader().add(Buffer.from(framed('{')))], SyntaxError);
  });

  it('has the messages before what is none', () => {
    const seen: unknown[] = [];
    assert.throws(() => {
      for (const message of new MessageReader().add(Buffer.from(framed('{"a":1}') + 'junk\r\n\r\n')))
        seen.push(message);
    }, /expected Content-Length/);
    assert.deepEqual(seen, [{ a: 1 }]);
  });
});
