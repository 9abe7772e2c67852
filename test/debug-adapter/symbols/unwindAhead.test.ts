/** Code by GNU as; thunks as arch/x86/lib/retpoline.S makes them. */
import assert from 'node:assert/strict';
import type { FrameContext } from '../../../debug-adapter/symbols/location';
import type { UnwindResult } from '../../../debug-adapter/symbols/unwind';
import { unwindAhead } from '../../../debug-adapter/symbols/unwindAhead';

const THUNK = 0xffffffff81e01740n;
const RETURN_THUNK = 0xffffffff81e01ef0n;
/** The function that the thunk is to call, and where the thunk's caller goes on. */
const TARGET = 0xffffffff81501000n;
const BACK = 0xffffffff81200123n;
const STACK = 0xffffc90000001000n;
const [RAX, RBX, RBP, RSP] = [0, 3, 6, 7];

const RETPOLINE = [
  ...[0xe8, 0x07, 0x00, 0x00, 0x00], // +0x0: call +0xc
  ...[0xf3, 0x90], // +0x5: pause
  ...[0x0f, 0xae, 0xe8], // +0x7: lfence
  ...[0xeb, 0xf9], // +0xa: jmp +0x5
  ...[0x48, 0x89, 0x04, 0x24], // +0xc: mov [rsp], rax
  ...[0xe9, 0x9b, 0x07, 0x00, 0x00], // +0x10: jmp RETURN_THUNK
];
const RET = [0xc3, 0xcc];

interface Rig {
  code?: Record<string, number[]>;
  registers?: Record<number, bigint>;
  words?: Record<string, bigint>;
  /** Where unwinding information speaks, and of what: the stack's end, or a return address so far above the stack pointer. */
  known?: Record<string, 'end' | number>;
  returnAddresses?: bigint[];
}

async function unwind(pc: bigint, rig: Rig): Promise<UnwindResult | undefined> {
  const { registers = {}, words = {}, known = {}, returnAddresses = [BACK] } = rig;
  const code = { [`${THUNK}`]: RETPOLINE, [`${RETURN_THUNK}`]: RET, ...rig.code };
  const context: FrameContext = {
    pc,
    register: async (number) => registers[number],
    read: async (address, length) => {
      for (const [start, bytes] of Object.entries(code)) {
        const offset = Number(address - BigInt(start));
        if (offset >= 0 && offset < bytes.length) return Uint8Array.from(bytes.slice(offset, offset + length));
      }
      const word = words[`${address}`];
      if (word === undefined || length !== 8) return new Uint8Array(0);
      return new Uint8Array(new BigUint64Array([word]).buffer);
    },
  };
  return unwindAhead(context, {
    isReturnAddress: async (address) => returnAddresses.includes(address),
    unwind: async (address, at) => {
      const found = known[`${address}`];
      if (found === undefined) return undefined;
      const sp = (await at.register(RSP))!;
      const slot = sp + BigInt(found === 'end' ? 0 : found);
      const returnAddress = found === 'end' ? undefined : words[`${slot}`];
      const values = new Map<number, bigint>();
      const rest = { signalFrame: false, registers: values, register: async () => undefined };
      return { cfa: slot + 8n, returnAddress, ...rest, ...(found === 'end' ? { outermost: true } : {}) };
    },
  });
}

/** As ORC says of a retpoline: the stack ends up to its jump, which is like a function's first instruction. */
const ORC_OF_THUNK: Record<string, 'end' | number> = {
  ...Object.fromEntries([0x0n, 0x5n, 0x7n, 0xan, 0xcn].map((at) => [`${THUNK + at}`, 'end' as const])),
  [`${THUNK + 0x10n}`]: 0,
  [`${RETURN_THUNK}`]: 0,
  [`${TARGET}`]: 0,
};

describe('unwinding by the code ahead', () => {
  // At each instruction: where the stack pointer is, and what lies there.
  const below = STACK - 8n;
  const inThunk: [string, bigint, bigint, Record<string, bigint>][] = [
    ['before the call', THUNK, STACK, {}],
    ['before the address is replaced', THUNK + 0xcn, below, { [`${below}`]: THUNK + 5n }],
    ['behind that', THUNK + 0x10n, below, { [`${below}`]: TARGET }],
    ['at the return', RETURN_THUNK, below, { [`${below}`]: TARGET }],
  ];
  for (const [where, pc, sp, words] of inThunk)
    for (const [information, known] of [
      ['ORC', ORC_OF_THUNK],
      ['ORC of the target only', { [`${TARGET}`]: 0 }],
    ] as const)
      // prettier-ignore
      it(`a retpoline leads back to its caller, ${where}, with ${information}`, async () => {
        const registers = { [RSP]: sp, [RAX]: TARGET, [RBP]: 7n };
        const found = await unwind(pc, { known, registers, words: { [`${STACK}`]: BACK, ...words } });
        assert.deepEqual([found?.returnAddress, found?.cfa], [BACK, STACK + 8n]);
      });

  it('an indirect jump leaves the stack as it is', async () => {
    const code = { '0x5000': [0x0f, 0xae, 0xe8, 0xff, 0xe0] }; // lfence; jmp rax
    const registers = { [RSP]: STACK, [RAX]: TARGET };
    const words = { [`${STACK}`]: BACK };
    const found = await unwind(0x5000n, { code, registers, words, known: { '20480': 'end', [`${TARGET}`]: 0 } });
    assert.equal(found?.returnAddress, BACK);
    // A jump through memory says nothing.
    const memory = await unwind(0x5000n, { code: { '0x5000': [0xff, 0x20] }, registers, words });
    assert.equal(memory, undefined);
  });

  it('a function of its own returns through what is on the stack, with the registers that it restores', async () => {
    // mov [rsp+16], ecx; xor eax, eax; add rsp, 8; pop rbx; leave; ret 8
    const code = [...[0x89, 0x4c, 0x24, 0x10, 0x31, 0xc0, 0x48, 0x83, 0xc4, 0x08, 0x5b, 0xc9, 0xc2, 0x08, 0x00]];
    const registers = { [RSP]: STACK, [RAX]: 1n, [RBX]: 2n, [RBP]: STACK + 0x40n };
    const words = { [`${STACK + 8n}`]: 0xbbn, [`${STACK + 0x40n}`]: 0xb0n, [`${STACK + 0x48n}`]: BACK };
    const found = await unwind(0x5000n, { code: { '0x5000': code }, registers, words });
    assert.deepEqual([found?.returnAddress, found?.cfa], [BACK, STACK + 0x58n]);
    assert.deepEqual(
      [RAX, RBX, RBP, RSP].map((number) => found?.registers.get(number)),
      [undefined, 0xbbn, 0xb0n, STACK + 0x58n],
    );
  });

  it('invents nothing', async () => {
    const registers = { [RSP]: STACK, [RAX]: TARGET };
    const words = { [`${STACK}`]: BACK };
    const cases: [string, number[], Rig?][] = [
      ['what is on the stack is behind no call', [0xc3], { returnAddresses: [] }],
      ['it was pushed just now', [0x50, 0xc3], { registers: { [RSP]: STACK, [RAX]: BACK } }], // push rax; ret
      ['a function is called', [0xe8, 0x00, 0x10, 0x00, 0x00, 0xc3]],
      ['a call goes back', [0xe8, 0xf6, 0xff, 0xff, 0xff, 0xc3]],
      ['a decision is taken', [0x74, 0x00, 0xc3]],
      ['the stack pointer comes from elsewhere', [0x48, 0x8b, 0x20, 0xc3]], // mov rsp, [rax]
      ['the stack is aligned', [0x48, 0x83, 0xe4, 0xf0, 0xc3]], // and rsp, -16
      ['the return address was written over', [0xc7, 0x04, 0x24, 1, 0, 0, 0, 0xc3]], // mov dword [rsp], 1
      ['an interrupt returns', [0x48, 0xcf]],
      ['a system call', [0x0f, 0x05, 0xc3]],
      ['a loop', [0xeb, 0xfe]],
      ['no instruction', [0x06]],
      ['too far', [...Array<number>(40).fill(0x90), 0xc3]],
      ['nothing readable', []],
    ];
    for (const [why, code, rig] of cases)
      assert.equal(await unwind(0x5000n, { registers, words, ...rig, code: { '0x5000': code } }), undefined, why);
    const known = { '20480': 'end' as const };
    const end = await unwind(0x5000n, { registers, words, known, code: { '0x5000': [0x74, 0x00, 0xc3] } });
    assert.equal(end?.outermost, true, 'the end of the stack stays one');
  });

  it('believes unwinding information where nothing better is found', async () => {
    // As of a task that is switched to for the first time: it returns to where no call is.
    const rig = { registers: { [RSP]: STACK }, words: { [`${STACK}`]: 0x1234n }, known: { '20480': 0 } };
    assert.equal((await unwind(0x5000n, { ...rig, code: { '0x5000': [0x74, 0x00, 0xc3] } }))?.returnAddress, 0x1234n);
  });
});
