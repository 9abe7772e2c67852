/** CRC-32 as in Ethernet, gzip and PNG: polynomial 0x04c11db7, reflected. Source: RFC 1952, "Appendix: Sample CRC Code". */

const POLYNOMIAL = 0xedb88320;

/** TABLES[n][b]: the CRC of byte b followed by n zero bytes; eight bytes are looked up at a time. */
const TABLES = makeTables();

function makeTables(): Uint32Array[] {
  const tables = Array.from({ length: 8 }, () => new Uint32Array(256));
  for (let byte = 0; byte < 256; byte++) {
    let value = byte;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ POLYNOMIAL : value >>> 1;
    tables[0][byte] = value;
  }
  for (let n = 1; n < 8; n++) {
    for (let byte = 0; byte < 256; byte++) {
      const before = tables[n - 1][byte];
      tables[n][byte] = (before >>> 8) ^ tables[0][before & 255];
    }
  }
  return tables;
}

/**
 * The CRC of `bytes`, unsigned.
 * @param before CRC of what comes before them: of a long piece in parts
 */
export function crc32(bytes: Uint8Array, before = 0): number {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = TABLES;
  let crc = ~before;
  let i = 0;
  // Eight bytes at a time as two words, little-endian as all memory is that WebAssembly shares; before and after them byte by byte.
  const start = Math.min(bytes.length, -bytes.byteOffset & 3);
  for (; i < start; i++) crc = (crc >>> 8) ^ t0[(crc ^ bytes[i]) & 255];
  if (bytes.length - i >= 8) {
    const words = new Int32Array(bytes.buffer, bytes.byteOffset + i, 2 * ((bytes.length - i) >>> 3));
    for (let w = 0; w < words.length; w += 2) {
      const a = crc ^ words[w];
      const b = words[w + 1];
      crc =
        t7[a & 255] ^
        t6[(a >>> 8) & 255] ^
        t5[(a >>> 16) & 255] ^
        t4[a >>> 24] ^
        t3[b & 255] ^
        t2[(b >>> 8) & 255] ^
        t1[(b >>> 16) & 255] ^
        t0[b >>> 24];
    }
    i += 4 * words.length;
  }
  for (; i < bytes.length; i++) crc = (crc >>> 8) ^ t0[(crc ^ bytes[i]) & 255];
  return ~crc >>> 0;
}
