/** gzip (RFC 1952), by the platform: browsers and Node have DecompressionStream. */
import { CompressionError } from './error';

/** Bytes given to the stream at a time. */
const CHUNK = 1 << 18;

/** Expands one gzip member to exactly `size` bytes. @throws CompressionError */
export async function expandGzip(data: Uint8Array, size: number): Promise<Uint8Array> {
  const out = new Uint8Array(size);
  let written = 0;
  const stream = new DecompressionStream('gzip');
  const writer = stream.writable.getWriter();
  const feed = async (): Promise<void> => {
    for (let at = 0; at < data.length; at += CHUNK) await writer.write(data.slice(at, at + CHUNK));
    await writer.close();
  };
  const feeding = feed().catch(() => undefined); // the reader sees the same error
  const reader = stream.readable.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (written + value.length > size) throw new Error('more data than expected');
      out.set(value, written);
      written += value.length;
    }
  } catch (error) {
    await reader.cancel().catch(() => undefined);
    throw new CompressionError('gzip', error instanceof Error ? error.message : String(error));
  } finally {
    await feeding;
  }
  if (written !== size) throw new CompressionError('gzip', `expected ${size} bytes, the data gives ${written}`);
  return out;
}
