import assert from 'node:assert/strict';
import { evaluateExpression, ExpressionEnvironment, Location } from '../../../../debug-adapter/symbols/dwarf/expr';
import { readLocation } from '../../../../debug-adapter/symbols/location';

const memory = Uint8Array.from({ length: 256 }, (_, i) => i);
const read = (address: bigint, length: number): Promise<Uint8Array> =>
  Promise.resolve(memory.subarray(Number(address), Number(address) + length));
const register = (number: number): Promise<bigint | undefined> =>
  Promise.resolve(number < 16 ? BigInt(number) * 0x10n : undefined);
const environment: ExpressionEnvironment = {
  addressSize: 8,
  is64: false,
  bias: 0x1000n,
  register,
  read,
  cfa: () => Promise.resolve(0x7000n),
  frameBase: () => Promise.resolve(0x6000n),
  indexedAddress: (index) => BigInt(index) * 0x100n,
  baseType: (offset) => (offset === 1 ? { encoding: 5, size: 2 } : undefined),
};

const memoryAt = (address: bigint): Location => ({ kind: 'memory', address });
const value = (of: bigint): Location => ({ kind: 'value', value: of });

// Opcodes and meanings: DWARF 5, 2.5 and 2.6; encodings: 7.7.1.
const vectors: [what: string, bytes: number[], result: Location][] = [
  ['addr adds the bias', [0x03, 0x10, 0x20, 0, 0, 0, 0, 0, 0], memoryAt(0x3010n)],
  ['addrx adds the bias', [0xa1, 2], memoryAt(0x1200n)],
  ['fbreg -16', [0x91, 0x70], memoryAt(0x5ff0n)],
  ['call_frame_cfa', [0x9c], memoryAt(0x7000n)],
  ['breg3 -1', [0x73, 0x7f], memoryAt(0x2fn)],
  ['reg5', [0x55], { kind: 'register', register: 5 }],
  ['regx 17', [0x90, 17], { kind: 'register', register: 17 }],
  ['lit6 lit7 mul stack_value', [0x36, 0x37, 0x1e, 0x9f], value(42n)],
  ['const1s -8, lit3, div: signed', [0x09, 0xf8, 0x33, 0x1b, 0x9f], value(0xfffffffffffffffen)],
  ['const1s -8, lit1, shra', [0x09, 0xf8, 0x31, 0x26, 0x9f], value(0xfffffffffffffffcn)],
  ['lit1 bra +1: jumps over lit2', [0x35, 0x31, 0x28, 1, 0, 0x32, 0x9f], value(5n)],
  ['lit1 lit2 lit3 rot: the top goes to third place', [0x31, 0x32, 0x33, 0x17, 0x9f], value(2n)],
  ['lit16 deref_size 2', [0x40, 0x94, 2, 0x9f], value(0x1110n)],
  ['breg1 0xfffe as s16, converted', [0x0a, 0xfe, 0xff, 0xa8, 1, 0xa8, 0, 0x9f], value(0xfffffffffffffffen)],
  ['entry_value', [0xa3, 1, 0x55, 0x9f], { kind: 'optimized out', reason: 'known only at the entry of the function' }],
  [
    'breg of an unknown register',
    [0x80, 0],
    { kind: 'optimized out', reason: 'register 16 is not known in this frame' },
  ],
];

describe('symbols: location expressions', () => {
  for (const [what, bytes, expected] of vectors) {
    it(what, async () => assert.deepEqual(await evaluateExpression(Uint8Array.from(bytes), environment), expected));
  }

  it('puts pieces together', async () => {
    // reg2 piece 1; lit16 (memory) piece 2; bit pieces of reg3: 4 bits from bit 4, 4 bits from bit 0.
    const bytes = [0x52, 0x93, 1, 0x40, 0x93, 2, 0x53, 0x9d, 4, 4, 0x53, 0x9d, 4, 0];
    const location = await evaluateExpression(Uint8Array.from(bytes), environment);
    assert.deepEqual([...(await readLocation(location, 4, { register, read }))!], [0x20, 0x10, 0x11, 0x03]);
  });

  it('ends an endless loop', async () => {
    await assert.rejects(evaluateExpression(Uint8Array.of(0x2f, 0xfd, 0xff), environment), /no end after 10000/);
  });

  it('bounds its stack', async () => {
    await assert.rejects(evaluateExpression(Uint8Array.of(0x31, 0x2f, 0xfc, 0xff), environment), /overflows/);
  });
});
