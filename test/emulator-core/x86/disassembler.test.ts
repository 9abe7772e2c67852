import assert from 'node:assert/strict';
import { disassemble } from '../../../emulator-core/x86/disassembler';

/** Bytes, bitness, text: encodings from SDM Vol. 2, syntax as NASM reads it. */
const CASES: [number[], 16 | 32 | 64, string][] = [
  [[0x90], 64, 'nop'],
  [[0x0f, 0xa2], 64, 'cpuid'],
  [[0x48, 0x89, 0xe5], 64, 'mov rbp, rsp'],
  [[0xb8, 0x05, 0x00, 0x00, 0x00], 64, 'mov eax, 0x5'],
  [[0xb8, 0x05, 0x00], 16, 'mov ax, 0x5'],
  [[0xe6, 0xf4], 32, 'out 0xf4, al'],
  [[0x0f, 0x01, 0xc1], 64, 'vmcall'],
  [[0x48, 0x8b, 0x05, 0x10, 0x00, 0x00, 0x00], 64, 'mov rax, [rel 0x1017]'],
];

describe('the disassembler', () => {
  for (const [bytes, bitness, text] of CASES) {
    it(text, () => {
      const [instruction] = disassemble(Uint8Array.from(bytes), 0x1000n, bitness);
      assert.equal(instruction.text, text);
      assert.equal(instruction.length, bytes.length);
    });
  }

  it('names targets of branches and RIP-relative operands', () => {
    const resolve = (address: bigint): string | undefined =>
      address === 0x1105n ? 'main' : address === 0x1017n ? 'data' : undefined;
    const [call] = disassemble(Uint8Array.from([0xe8, 0x00, 0x01, 0x00, 0x00]), 0x1000n, 64, 1, resolve);
    assert.deepEqual([call.text, call.target, call.isCall], ['call 0x1105 <main>', 0x1105n, true]);
    const [load] = disassemble(Uint8Array.from([0x48, 0x8b, 0x05, 0x10, 0x00, 0x00, 0x00]), 0x1000n, 64, 1, resolve);
    assert.deepEqual([load.text, load.target], ['mov rax, [rel 0x1017] <data>', 0x1017n]);
  });

  it('goes on behind bytes that are no instruction, and leaves out one that is cut off', () => {
    const rows = disassemble(Uint8Array.from([0x06, 0x90, 0xe8, 0x00]), 0n, 64);
    assert.deepEqual(
      rows.map(({ text, valid }) => [text, valid]),
      [
        ['db 0x06', false],
        ['nop', true],
      ],
    );
  });
});
