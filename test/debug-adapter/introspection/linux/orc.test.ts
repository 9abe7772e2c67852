import assert from 'node:assert/strict';
import { OrcTable } from '../../../../debug-adapter/introspection/linux/orc';
import type { FrameContext } from '../../../../debug-adapter/symbols/location';

/** struct orc_entry, arch/x86/include/asm/orc_types.h. */
interface Row {
  at: bigint;
  sp?: number;
  spOffset?: number;
  bp?: number;
  bpOffset?: number;
  type: number;
  /** Bits of the last byte above `type`. */
  flags?: number;
}

const TEXT = 0xffffffff81000000n;
const IP = 0xffffffff82c00000n;
/** ORC_REG_* */
const [UNDEFINED, PREV_SP, DX, DI, BP, SP, R10, R13, BP_INDIRECT, SP_INDIRECT] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
/** ORC_TYPE_* since 6.4, and UNWIND_HINT_TYPE_* before. */
const NEW = { undefined: 0, end: 1, call: 2, regs: 3, partial: 4 };
const OLD = { call: 0, regs: 1, partial: 2 };

function table(rows: Row[], version: [number, number] = [6, 1], order = rows.map((_, i) => i)): OrcTable {
  const ip = new DataView(new ArrayBuffer(4 * rows.length));
  const entries = new DataView(new ArrayBuffer(6 * rows.length));
  order.forEach((row, i) => {
    const { at, sp = SP, spOffset = 8, bp = UNDEFINED, bpOffset = 0, type, flags = 0 } = rows[row];
    ip.setInt32(4 * i, Number(at - (IP + BigInt(4 * i))), true);
    entries.setInt16(6 * i, spOffset, true);
    entries.setInt16(6 * i + 2, bpOffset, true);
    entries.setUint8(6 * i + 4, sp | (bp << 4));
    entries.setUint8(6 * i + 5, type | flags);
  });
  return new OrcTable({
    ip: new Uint8Array(ip.buffer),
    ipAddress: IP,
    entries: new Uint8Array(entries.buffer),
    version,
  });
}

/** A frame's registers by DWARF number, and a stack of 64-bit words. */
function frame(registers: Record<number, bigint>, words: Record<string, bigint> = {}): FrameContext {
  const memory = new Map(Object.entries(words).map(([address, value]) => [BigInt(address), value]));
  return {
    pc: 0n,
    register: async (number) => registers[number],
    read: async (address, length) => {
      const out = new DataView(new ArrayBuffer(length));
      for (let i = 0; i < length; i += 8) {
        const word = memory.get(address + BigInt(i));
        if (word === undefined) return new Uint8Array(out.buffer, 0, i);
        out.setBigUint64(i, word, true);
      }
      return new Uint8Array(out.buffer);
    },
  };
}

const RBP = 6;
const RSP = 7;
const STACK = 0xffffc90000001000n;

describe('ORC', () => {
  for (const [name, kinds, version] of [
    ['4.14', OLD, [4, 14]],
    ['6.1', OLD, [6, 1]],
    ['6.4', NEW, [6, 4]],
  ] as const) {
    it(`finds callers by the stack pointer and the frame pointer, as of ${name}`, async () => {
      const orc = table(
        [
          { at: TEXT, spOffset: 8, type: kinds.call },
          { at: TEXT + 1n, spOffset: 16, bp: PREV_SP, bpOffset: -16, type: kinds.call },
          { at: TEXT + 4n, sp: BP, spOffset: 16, bp: PREV_SP, bpOffset: -16, type: kinds.call },
        ],
        [...version],
      );
      // At the entry: nothing pushed.
      const entry = await orc.unwind(TEXT, frame({ [RSP]: STACK, [RBP]: 7n }, { [`${STACK}`]: 0x1111n }));
      assert.deepEqual([entry!.returnAddress, entry!.cfa, entry!.registers.get(RBP)], [0x1111n, STACK + 8n, 7n]);
      assert.equal(entry!.signalFrame, false);
      assert.equal(entry!.otherStack, undefined);
      // After push rbp; then by rbp, wherever rsp is.
      const words = { [`${STACK}`]: 0xb0n, [`${STACK + 8n}`]: 0x2222n };
      for (const [at, context] of [
        [TEXT + 3n, frame({ [RSP]: STACK, [RBP]: 7n }, words)],
        [TEXT + 0x10n, frame({ [RSP]: 1n, [RBP]: STACK }, words)],
      ] as const) {
        const found = await orc.unwind(at, context);
        assert.deepEqual(
          [found!.returnAddress, found!.cfa, found!.registers.get(RBP)],
          [0x2222n, STACK + 16n, 0xb0n],
          at.toString(16),
        );
      }
    });

    it(`restores all registers from struct pt_regs, and what the processor pushed from an iret frame, as of ${name}`, async () => {
      const orc = table(
        [
          { at: TEXT, type: kinds.call },
          { at: TEXT + 0x10n, spOffset: 0, type: kinds.regs },
          { at: TEXT + 0x20n, spOffset: 8, type: kinds.partial },
          { at: TEXT + 0x30n, type: kinds.call },
        ],
        [...version],
      );
      // Field i of pt_regs (r15 first) holds 0x100 + i.
      const words: Record<string, bigint> = {};
      for (let i = 0; i < 21; i++) words[`${STACK + BigInt(8 * i)}`] = 0x100n + BigInt(i);
      const found = await orc.unwind(TEXT + 0x10n, frame({ [RSP]: STACK, [RBP]: 7n }, words));
      const dwarf = { r15: 15, r12: 12, rbp: 6, rbx: 3, rax: 0, rdi: 5, rip: 16, cs: 51, rflags: 49, rsp: 7, ss: 52 };
      const values = Object.fromEntries(
        Object.entries(dwarf).map(([key, n]) => [key, Number(found!.registers.get(n))]),
      );
      // arch/x86/include/asm/ptrace.h: r15 r14 r13 r12 bp bx r11 r10 r9 r8 ax cx dx si di orig_ax ip cs flags sp ss
      assert.deepEqual(values, {
        r15: 0x100, r12: 0x103, rbp: 0x104, rbx: 0x105, rax: 0x10a, rdi: 0x10e,
        rip: 0x110, cs: 0x111, rflags: 0x112, rsp: 0x113, ss: 0x114,
      }); // prettier-ignore
      assert.deepEqual([found!.signalFrame, found!.otherStack, found!.cfa], [true, true, 0x113n]);

      const partial = await orc.unwind(TEXT + 0x2fn, frame({ [RSP]: STACK + 15n * 8n, [RBP]: 7n }, words));
      assert.deepEqual(
        [16, 51, 7, 52, 6, 0].map((n) => partial!.registers.get(n)),
        [0x110n, 0x111n, 0x113n, 0x114n, 7n, undefined],
      );
    });
  }

  it('changes stacks through a word on the stack; since 5.12 the offset is added to what it holds', async () => {
    const rows = [
      { at: TEXT, type: OLD.call },
      { at: TEXT + 4n, sp: SP_INDIRECT, spOffset: 8, type: OLD.call },
    ];
    const words = { [`${STACK}`]: 0x5000n, [`${STACK + 8n}`]: 0x6000n, '0x5000': 0xaan, '0x5ff8': 0xbbn };
    const since = await table(rows, [5, 12]).unwind(TEXT + 4n, frame({ [RSP]: STACK }, words));
    assert.deepEqual([since!.returnAddress, since!.cfa, since!.otherStack], [0xaan, 0x5008n, true]);
    const before = await table(rows, [5, 11]).unwind(TEXT + 4n, frame({ [RSP]: STACK }, words));
    assert.deepEqual([before!.returnAddress, before!.cfa], [0xbbn, 0x6000n]);
    const byBp = await table([{ at: TEXT, sp: BP_INDIRECT, spOffset: 8, type: OLD.call }]).unwind(
      TEXT,
      frame({ [RBP]: STACK, [RSP]: 0n }, words),
    );
    assert.deepEqual([byBp!.returnAddress, byBp!.cfa], [0xbbn, 0x6000n]);
  });

  it('takes the stack pointer from registers that realigned stacks keep it in', async () => {
    for (const [reg, dwarf] of [
      [R10, 10],
      [R13, 13],
      [DI, 5],
      [DX, 1],
    ]) {
      const orc = table([{ at: TEXT, sp: reg, spOffset: 0, type: OLD.call }]);
      const found = await orc.unwind(TEXT, frame({ [dwarf]: STACK, [RSP]: 0n }, { [`${STACK - 8n}`]: 0x77n }));
      assert.equal(found?.returnAddress, 0x77n);
      assert.equal(await orc.unwind(TEXT, frame({ [RSP]: 0n })), undefined);
    }
  });

  it('knows the end of the stack from a gap', async () => {
    const before = table([
      { at: TEXT, type: OLD.call },
      { at: TEXT + 4n, sp: UNDEFINED, type: OLD.call, flags: 4 },
      { at: TEXT + 8n, sp: UNDEFINED, type: OLD.call },
    ]);
    assert.equal((await before.unwind(TEXT + 4n, frame({})))!.outermost, true);
    assert.equal(await before.unwind(TEXT + 8n, frame({})), undefined);
    const since = table([
      { at: TEXT, type: NEW.call },
      { at: TEXT + 4n, sp: UNDEFINED, type: NEW.end },
      { at: TEXT + 8n, sp: UNDEFINED, type: NEW.undefined },
    ]);
    assert.equal((await since.unwind(TEXT + 4n, frame({})))!.outermost, true);
    assert.equal(await since.unwind(TEXT + 8n, frame({})), undefined);
    assert.equal(await since.unwind(TEXT - 1n, frame({})), undefined);
    assert.equal(await since.unwind(0x47b5e1n, frame({})), undefined);
  });

  it('gives up where the stack can not be read', async () => {
    const orc = table([
      { at: TEXT, type: OLD.call },
      { at: TEXT + 4n, spOffset: 0, type: OLD.regs },
    ]);
    assert.equal(await orc.unwind(TEXT, frame({ [RSP]: STACK })), undefined);
    assert.equal(await orc.unwind(TEXT + 4n, frame({ [RSP]: STACK }, { [`${STACK}`]: 1n })), undefined);
  });

  it('sorts the tables of kernels that did so themselves', async () => {
    const rows = [0, 1, 2, 3].map((i) => ({ at: TEXT + BigInt(16 * i), spOffset: 8 * (i + 1), type: OLD.call }));
    const orc = table(rows, [4, 19], [2, 0, 3, 1]);
    for (let i = 0; i < 4; i++) assert.equal(orc.find(TEXT + BigInt(16 * i + 5))!.spOffset, 8 * (i + 1));
  });

  it('refuses sections that do not belong together', () => {
    assert.throws(
      () => new OrcTable({ ip: new Uint8Array(8), ipAddress: IP, entries: new Uint8Array(6) }),
      /ORC: 8 bytes of addresses and 6 of entries, expected 4 and 6 for each/,
    );
  });
});
