/**
 * XZ streams of one or more blocks, with the filters that Linux uses: x86 and LZMA2. The XZ File Format, version 1.2.
 * Checks are not computed: what is read out of a kernel proves itself.
 */
import { CompressionError } from './error';
import { expandLzma2 } from './lzma2';

const MAGIC = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00];
const STREAM_HEADER = 12;
const FILTER_X86 = 0x04;
const FILTER_LZMA2 = 0x21;
/** Bytes of the check behind a block by its type. 2.1.1.2, "Stream Flags". */
const CHECK_SIZES = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64];
const BURST = 1 << 18;

const fail = (what: string): never => {
  throw new CompressionError('XZ', what);
};

/** Expands the first stream to exactly `size` bytes. @throws CompressionError */
export function* expandXz(data: Uint8Array, size: number): Generator<void, Uint8Array> {
  if (data.length < STREAM_HEADER || MAGIC.some((byte, i) => data[i] !== byte)) fail('expected the header of a stream');
  const check = CHECK_SIZES[data[7] & 15];
  const out = new Uint8Array(size);
  let at = STREAM_HEADER;
  let written = 0;
  // A zero instead of a header's size begins the index, which ends the stream.
  while (at < data.length && data[at] !== 0) {
    const { x86, end: start } = readHeader(data, at);
    const { end, outEnd } = yield* expandLzma2(data, start, out, written);
    if (x86 !== undefined) yield* undoX86(out.subarray(written, outEnd), x86);
    written = outEnd;
    at = end + ((4 - (end % 4)) % 4) + check;
  }
  if (written !== size) fail(`expected ${size} bytes, the data gives ${written}`);
  return out;
}

/** 3.1, "Block Header". `x86`: where the filter of that name begins to count. */
function readHeader(data: Uint8Array, start: number): { x86: number | undefined; end: number } {
  const end = start + (data[start] + 1) * 4;
  let at = start + 2;
  const byte = (): number => (at < end && at < data.length ? data[at++] : fail('a block header ends early'));
  const integer = (): number => {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const next = byte();
      value += (next & 0x7f) * 2 ** shift;
      if (next < 0x80) return value;
    }
    return fail('a number in a block header is too long');
  };
  const flags = data[start + 1];
  if (flags & 0x40) integer();
  if (flags & 0x80) integer();
  let x86: number | undefined;
  const filters = (flags & 3) + 1;
  for (let i = 0; i < filters; i++) {
    const id = integer();
    const properties = Array.from({ length: integer() & 0xff }, byte);
    const last = i === filters - 1;
    if (id === FILTER_X86 && !last && x86 === undefined)
      x86 = properties.reduceRight((value, next) => value * 256 + next, 0);
    else if (id !== FILTER_LZMA2 || !last) fail(`filter 0x${id.toString(16)}, expected x86 and LZMA2`);
  }
  return { x86, end };
}

/** Bytes of an address's top that the filter takes for one: it is near zero, from either side. */
const isTop = (byte: number): boolean => byte === 0 || byte === 0xff;

/**
 * Undoes the x86 filter: the targets of E8 (CALL) and E9 (JMP), made absolute for the compressor, become relative to the next instruction
 * again. 5.3.2, "Branch/Call/Jump Filters for Executables". Opcodes shortly before another make it doubtful: `recent` has a bit
 * for each of the three bytes before, as the filter kept it.
 */
function* undoX86(code: Uint8Array, start: number): Generator<void, void> {
  let recent = 0;
  let last = -1;
  for (let i = 0; i + 4 < code.length; i++) {
    if (i % BURST === 0) yield;
    if ((code[i] & 0xfe) !== 0xe8) continue;
    const distance = i - last;
    last = i;
    recent = distance > 3 ? 0 : (recent << (distance - 1)) & 7;
    // How many of the target's bytes an earlier opcode may have claimed: none, 1, 2 or 3.
    const claimed = recent === 0 ? 0 : 32 - Math.clz32(recent);
    const doubtful = recent === 3 || recent > 4;
    if (claimed > 0 && (doubtful || isTop(code[i + 4 - claimed]))) {
      recent = (recent << 1) | 1;
      continue;
    }
    if (!isTop(code[i + 4])) {
      recent = (recent << 1) | 1;
      continue;
    }
    let value = code[i + 1] | (code[i + 2] << 8) | (code[i + 3] << 16) | (code[i + 4] << 24);
    let target: number;
    for (;;) {
      target = (value - (start + i + 5)) | 0;
      if (claimed === 0 || !isTop((target >> (24 - claimed * 8)) & 0xff)) break;
      value = target ^ ((1 << (32 - claimed * 8)) - 1);
    }
    code[i + 1] = target;
    code[i + 2] = target >> 8;
    code[i + 3] = target >> 16;
    // Of the top byte one bit was kept.
    code[i + 4] = target & (1 << 24) ? 0xff : 0;
    i += 4;
  }
}
