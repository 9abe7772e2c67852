/**
 * The messages of a stopped Linux kernel, as dmesg prints them: its ring of records, from 5.10 on.
 * Source: Linux, kernel/printk/printk_ringbuffer.h (printk_ringbuffer, prb_desc_ring, prb_desc, printk_info, prb_data_ring,
 * prb_data_block; DESC_STATE, DESC_ID, desc_committed and desc_finalized), printk_ringbuffer.c (data blocks, wrapped and without data).
 */
import { KernelMemory, printable, type KernelContext } from './kernelMemory';

/** Logarithms: no kernel can be configured to more (CONFIG_LOG_BUF_SHIFT is at most 25, log_buf_len= a little more). */
const MOST_BITS = { records: 22, text: 27 };
/** Characters that are shown, from the newest message, and that message more with which they are reached. */
const SHOWN = 4 << 20;

/** enum desc_state: records that have all of their text. */
const COMMITTED = 1;
const FINALIZED = 2;

export interface KernelMessage {
  seq: bigint;
  /** Nanoseconds since boot. */
  time: bigint;
  /** As syslog has it: 0 emergency to 7 debug. */
  level: number;
  text: string;
}

/** The newest, until SHOWN is reached, oldest of these first. `more`: there may be older ones. @throws Error that says what was expected */
export async function listMessages(context: KernelContext): Promise<{ messages: KernelMessage[]; more: boolean }> {
  const memory = new KernelMemory(context, 'info dmesg');
  const { word } = memory;
  const at = await memory.pointer(memory.address('prb'), 'prb');
  const kinds = {
    ring: memory.struct('printk_ringbuffer'),
    desc: memory.struct('prb_desc'),
    info: memory.struct('printk_info'),
  };
  const ring = await memory.object(kinds.ring, at);
  const field = (path: string) => kinds.ring.field(path);
  const countBits = ring.number(field('desc_ring.count_bits'));
  const sizeBits = ring.number(field('text_data_ring.size_bits'));
  if (countBits > MOST_BITS.records || sizeBits > MOST_BITS.text)
    throw new Error(
      `info dmesg: the ring of records says that it has 2^${countBits} records and 2^${sizeBits} bytes of text: it is not set up`,
    );
  const descs = ring.pointer(field('desc_ring.descs'));
  const infos = ring.pointer(field('desc_ring.infos'));
  const text = await memory.bytes(ring.pointer(field('text_data_ring.data')), 2 ** sizeBits, 'the text of messages');
  // Ids are positions in a ring that never ends; the upper two bits of a state variable are the state.
  const idMask = (1n << BigInt(8 * word - 2)) - 1n;
  const last = ring.pointer(field('desc_ring.head_id')) & idMask;
  const tail = ring.pointer(field('desc_ring.tail_id')) & idMask;
  const capacity = 1n << BigInt(countBits);
  const between = (last - tail) & idMask;
  const count = between < capacity ? between + 1n : capacity;
  const stateField = kinds.desc.field('state_var');
  const [begin, next] = [kinds.desc.field('text_blk_lpos.begin'), kinds.desc.field('text_blk_lpos.next')];
  const [seq, time, length, level] = ['seq', 'ts_nsec', 'text_len', 'level'].map((name) => kinds.info.field(name));
  const found: KernelMessage[] = [];
  let size = 0;
  for (let n = 0n; n < count && size <= SHOWN; n++) {
    const id = (last - n) & idMask;
    const index = id & (capacity - 1n);
    const desc = await memory.object(kinds.desc, descs + index * BigInt(kinds.desc.size));
    const state = desc.pointer(stateField);
    const kind = Number(state >> BigInt(8 * word - 2));
    if ((state & idMask) === id && (kind === COMMITTED || kind === FINALIZED)) {
      const info = await memory.object(kinds.info, infos + index * BigInt(kinds.info.size));
      const block = dataBlock(text, desc.pointer(begin), desc.pointer(next), word);
      const bytes = block.subarray(0, info.number(length));
      const message = { seq: info.wide(seq), time: info.wide(time), level: info.number(level), text: printable(bytes) };
      size += lineOf(message.time, message.text).length;
      found.push(message);
    }
  }
  return { messages: found.reverse(), more: size > SHOWN };
}

/** The text of a block between two positions in the ring that never ends; none where it has none. */
function dataBlock(ring: Uint8Array, begin: bigint, next: bigint, word: 4 | 8): Uint8Array {
  // LPOS_DATALESS: no text, or none for want of room.
  if (begin & 1n) return new Uint8Array(0);
  const size = BigInt(ring.length);
  const wraps = begin / size !== next / size && next % size !== 0n;
  // What does not fit behind is at the beginning, as a whole.
  const from = wraps ? 0 : Number(begin % size);
  const to = wraps || next % size !== 0n ? Number(next % size) : ring.length;
  // The block begins with the id of its record.
  return ring.subarray(Math.min(from + word, to), to);
}

/** As dmesg prints them: seconds in front of each line. */
export async function messageLines(context: KernelContext): Promise<string> {
  const { messages, more } = await listMessages(context);
  const lines = messages.map(({ time, text }) => lineOf(time, text));
  if (more) lines.unshift('... older messages');
  return lines.join('\n') || 'the kernel has not said anything yet';
}

function lineOf(time: bigint, text: string): string {
  const before = stamp(time);
  return text
    .split('\n')
    .map((line) => before + line)
    .join('\n');
}

function stamp(time: bigint): string {
  const seconds = String(time / 1_000_000_000n).padStart(5);
  const microseconds = String((time / 1000n) % 1_000_000n).padStart(6, '0');
  return `[${seconds}.${microseconds}] `;
}
