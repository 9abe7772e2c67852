/** Node's zlib as the core is given it. */
import assert from 'node:assert/strict';
import { deflateSync } from 'node:zlib';
import { zlib } from '../../../debug-adapter/node/zlib';
import { skip } from '../../skip';

describe("the host's zlib", () => {
  const contents = Buffer.from(Array.from({ length: 3 << 20 }, (_, i) => (i * i) >>> 7));
  const packed = deflateSync(contents);

  function* pieces(bytes: Uint8Array, size: number): Generator<Uint8Array, void> {
    for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
  }
  async function expanded(bytes: Uint8Array, size: number): Promise<Buffer> {
    const out: Uint8Array[] = [];
    for await (const piece of zlib.expand(pieces(bytes, size))) out.push(piece);
    return Buffer.concat(out);
  }

  it('expands what comes in pieces of any size', async () => {
    for (const size of [4099, 1 << 16, packed.length]) assert.ok((await expanded(packed, size)).equals(contents));
  });

  it('says what is wrong with a stream', async () => {
    await assert.rejects(expanded(packed.subarray(0, packed.length - 1), 1 << 16), /unexpected end of file/);
    await assert.rejects(expanded(packed.subarray(0, 1000), 1 << 16), /unexpected end of file/);
    await assert.rejects(expanded(Buffer.from('not zlib'), 8), /incorrect header check/);
    const damaged = Buffer.from(packed);
    damaged[damaged.length - 1] ^= 1; // of the Adler-32 at the end
    await assert.rejects(expanded(damaged, 1 << 16), /incorrect data check/);
  });

  it('takes no more of its source once nobody wants the rest', async () => {
    let taken = 0;
    function* endless(): Generator<Uint8Array, void> {
      yield packed.subarray(0, 1000);
      for (;;) {
        taken++;
        yield packed.subarray(1000, 2000);
      }
    }
    for await (const piece of zlib.expand(endless())) {
      assert.ok(piece.length > 0);
      break;
    }
    const before = taken;
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(taken, before);
  });

  it('has the CRC-32 of RFC 1952, where this Node has one', function () {
    if (!zlib.crc32) skip(this, 'this Node has no zlib.crc32: 20.15 and 22.2 brought it');
    assert.equal(zlib.crc32(Buffer.from('123456789')), 0xcbf43926);
    assert.equal(zlib.crc32(Buffer.from('6789'), zlib.crc32(Buffer.from('12345'))), 0xcbf43926);
  });
});
