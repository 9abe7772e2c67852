/** Micro-ops that come from templates against those that iced-x86 makes of the same bytes. */
import assert from 'node:assert';
import { coreFeatures } from '../../../emulator-core/cpu/cpuFeatures';
import { SegmentIndex, Uop } from '../../../emulator-core/cpu/layout';
import type { DecodeContext, InstructionDecoder } from '../../../emulator-core/x86/decode';
import { TestMachine, toHex } from '../testMachine';

const ROUNDS = 20_000;
const PREFIXES = [0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x64, 0x65, 0x36];

/** Numbers that look random and are the same each time. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 0x100000000) * below);
  };
}

const context = (bitness: 16 | 32 | 64, flat: boolean): DecodeContext => ({
  ...{ bitness, real: bitness === 16 },
  flat: (segment) => flat && segment !== SegmentIndex.fs && segment !== SegmentIndex.gs,
  units: { mmx: 0, sse: 0, avx: 0 },
});

describe('templates of decoded instructions', () => {
  const t = new TestMachine({ features: coreFeatures('intel').map((name) => '+' + name) });
  const { decoder } = t.machine.core;
  const { memory } = t.machine;
  const at = memory.uopBase;

  /** The micro-op of the first of the bytes, and what the decoder says of it. */
  function decoded(d: InstructionDecoder, how: DecodeContext, bytes: Uint8Array, ip: number, keep: boolean): string {
    d.begin(how.bitness, bytes, ip, keep ? how : undefined);
    const status = d.next();
    const facts = `${status} ${d.code} ${d.length} ${d.endsBlock} ${d.fallsThrough}`;
    if (status === 'truncated') return facts;
    d.write(at, ip, how);
    return `${facts} ${[...memory.u32.subarray(at >> 2, (at + Uop.bytes) >> 2)].map((w) => w.toString(16)).join(' ')}`;
  }

  const kinds = [context(64, false), context(32, true), context(32, false), context(16, false)];
  for (const [i, how] of kinds.entries()) {
    it(`are what the bytes say, in ${how.bitness}-bit code${how.bitness === 32 ? (how.flat(3) ? ', flat' : ', with segments') : ''}`, () => {
      const next = numbers(i + 1);
      for (let round = 0; round < ROUNDS; round++) {
        const head: number[] = [];
        while (next(3) === 0) head.push(PREFIXES[next(PREFIXES.length)]);
        if (how.bitness === 64 && next(2)) head.push(0x40 + next(16));
        if (next(8) === 0) head.push(0xc5, next(256));
        else if (next(3) === 0) head.push(0x0f, ...(next(8) ? [] : [next(2) ? 0x38 : 0x3a]));
        head.push(next(256), next(256), next(256));
        // The same head comes again with other constants behind it, elsewhere in the page.
        for (let other = 0; other < 3; other++) {
          const tail = Array.from({ length: 12 }, () => (next(3) ? next(256) : next(2) * 255));
          const bytes = Uint8Array.from([...head, ...tail].slice(0, 3 + next(18)));
          const ip = next(4096 - bytes.length);
          const plain = decoded(decoder, how, bytes, ip, false);
          assert.strictEqual(decoded(decoder, how, bytes, ip, true), plain, `${toHex(bytes)} at ${ip}`);
        }
      }
    });
  }

  it('are forgotten when there are too many, and made again', () => {
    // Each of these heads of 12 bytes has nodes of its own.
    const next = numbers(9);
    for (let round = 0; round < 4000; round++) {
      const bytes = Uint8Array.from(
        [...Array.from({ length: 9 }, () => PREFIXES[next(9)]), 0x90, 0x8b, 0x05, 1, 2, 3, 4].filter((b) => b !== 0xf0),
      );
      const plain = decoded(decoder, kinds[0], bytes, 0, false);
      assert.strictEqual(decoded(decoder, kinds[0], bytes, 0, true), plain, toHex(bytes));
    }
  });

  it('are bounded, also where contexts come and go without any', () => {
    const { nodes, records } = sizes();
    for (let i = 0; i < 30_000; i++) {
      // jmp far, which has two immediates: no template is made
      decoded(decoder, context(32, true), Uint8Array.of(0xea, 1, 2, 3, 4, 5, 6), 0, true);
    }
    assert.ok(sizes().nodes <= Math.max(nodes, 8192 * 256), `${sizes().nodes}`);
    assert.equal(sizes().records, records);
    for (let i = 0; i < 200_000; i++) {
      // lea with any prefix, ModRM and SIB: each a head of its own
      const [a, b, c] = [i & 15, (i >> 4) & 63, (i >> 10) & 255];
      decoded(decoder, kinds[0], Uint8Array.of(0x40 + a, 0x8d, b, c, 0, 0, 0, 0), 0, true);
    }
    assert.ok(sizes().records <= 65536 * 24, `${sizes().records}`);
  });

  function sizes(): { nodes: number; records: number } {
    const { nodes, records } = (decoder as unknown as { templates: Record<'nodes' | 'records', Int32Array> }).templates;
    return { nodes: nodes.length, records: records.length };
  }
});
