/** FXSAVE and the XSAVE family: images against hardware, then checks and faults from the manual. */
import assert from 'node:assert';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { State } from '../../../emulator-core/cpu/layout';
import { Cr0, Cr4 } from '../../../emulator-core/cpu/vcpu';
import { TestMachine, fromHex, toHex, type Mode } from '../testMachine';

const CODE = 0x100000;
const FROM = 0x200000;
const TO = 0x201000;
const AREA = 832;
const FEATURES = ['+avx', '+xsaveopt', '+xsaves', '+xgetbv1'];

function enabled(mode: Mode = '64', cpl: 0 | 3 = 0, xcr0 = 7n, memory = 8 << 20): TestMachine {
  const t = new TestMachine({ features: FEATURES, memory }).enter(mode, cpl);
  t.cpu.set64(State.cr4, t.cpu.get64(State.cr4) | BigInt(Cr4.OSFXSR | Cr4.OSXSAVE));
  t.cpu.set64(State.xcr0, xcr0);
  t.cpu.modeChanged();
  return t;
}

/** '00*6,12ab' -> 00000000000012ab */
const expand = (text: string): string =>
  text.replace(/(..)\*(\d+),?/g, (_, byte: string, count: string) => byte.repeat(Number(count)));

describe('extended state against hardware', () => {
  const lines = readFileSync(path.join(__dirname, 'xstate.vectors'), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));

  for (const line of lines) {
    const [head, masks, from, to] = line.split('|').map((part) => part.trim());
    it(`${head}, masks ${masks}`, () => {
      const t = enabled();
      const [restore, save] = head.split(' ')[1].split('/');
      const [restored, saved] = masks.split(' ').map((mask) => parseInt(mask, 16));
      t.writeHex(FROM, expand(from));
      t.write(TO, new Uint8Array(AREA).fill(0xcc));
      t.write(TO + 512, new Uint8Array(64));
      // fninit; restore [rdi]; mov eax, ecx; save [rsi]
      const registers = { rax: restored, rcx: saved, rdx: 0, rdi: FROM, rsi: TO };
      t.run(CODE, `dbe3 ${restore} 89c8 ${save}`, registers, 4);
      assert.strictEqual(t.vector, undefined);
      const got = t.read(TO, AREA);
      const want = fromHex(expand(to));
      got.fill(0, 28, 32);
      want.fill(0, 28, 32);
      // The bytes that differ: whole images would fill the screen.
      const differences = [...got].flatMap((byte, i) => (byte === want[i] ? [] : [`${i}: ${byte}, not ${want[i]}`]));
      assert.deepStrictEqual(differences, []);
    });
  }
});

// SDM Vol. 2, FXSAVE, tables of the layout of the 512-byte area.
describe('x87 pointers in images', () => {
  const CODE_SELECTOR = 0x08n;
  it('FXSAVE with and without REX.W', () => {
    const t = enabled();
    // fninit; fld dword [rsi]; fxsave [rdi]; fxsave64 [rbx]
    const registers = { rsi: FROM, rdi: TO, rbx: TO + 512 };
    t.run(CODE, 'dbe3 d906 0fae07 480fae03', registers, 4);
    assert.strictEqual(t.read64(TO + 8), BigInt(CODE + 2) | (CODE_SELECTOR << 32n));
    assert.strictEqual(t.read64(TO + 16), BigInt(FROM) | (0x10n << 32n));
    assert.strictEqual(t.read64(TO + 512 + 8), BigInt(CODE + 2));
    assert.strictEqual(t.read64(TO + 512 + 16), BigInt(FROM));
    // 00 in the abridged tag word is empty: ST(0) is R7.
    assert.strictEqual(t.read(TO + 4, 1)[0], 0x80);
    assert.strictEqual(t.read32(TO + 28), 0xffff);
  });
  it('FXRSTOR64 takes 64-bit pointers and 11 opcode bits', () => {
    const t = enabled();
    t.writeHex(FROM, '7f03 0000 00 00 ffff 8877665544332200 8070605040302000'.replace(/ /g, ''));
    t.write32(FROM + 24, 0x1f80);
    t.run(CODE, '480fae0f 480fae06', { rdi: FROM, rsi: TO }, 2);
    assert.strictEqual(toHex(t.read(TO, 24)), '7f0300000000ff0788776655443322008070605040302000');
  });
});

// SDM Vol. 2, "XSAVE", "XRSTOR", "FXSAVE": exceptions; Vol. 1, "XRSTOR and the init and modified optimizations".
describe('extended state: what is refused', () => {
  const vector = (t: TestMachine, bytes: string, registers = {}): number | undefined =>
    t.run(CODE, `${bytes} 90`, { rax: 7, rcx: 0, rdx: 0, rdi: FROM, ...registers }, 2).vector;
  const XSAVE = '0fae27';
  const XRSTOR = '0fae2f';

  it('#UD without CR4.OSXSAVE', () => {
    for (const bytes of [XSAVE, XRSTOR, '0fae37', '0fc727', '0fc72f', '0fc71f', '0f01d0', '0f01d1']) {
      const t = enabled();
      t.cpu.set64(State.cr4, t.cpu.get64(State.cr4) & ~BigInt(Cr4.OSXSAVE));
      t.cpu.modeChanged();
      assert.strictEqual(vector(t, bytes), 6, bytes);
    }
  });
  it('#UD without the feature', () => {
    for (const bytes of ['0fae07', XSAVE, '0fc727', '0f01d0', '0fae17'])
      assert.strictEqual(vector(new TestMachine({ features: ['-fxsr'] }).enter('64'), bytes), 6, bytes);
  });
  it('#NM with CR0.TS', () => {
    for (const bytes of ['0fae07', '0fae0f', XSAVE, XRSTOR, '0fc727', '0fae17', '0fae1f']) {
      const t = enabled();
      t.cpu.set64(State.cr0, t.cpu.get64(State.cr0) | BigInt(Cr0.TS));
      t.cpu.modeChanged();
      assert.strictEqual(vector(t, bytes), 7, bytes);
    }
  });
  it('#NM with CR0.EM for FXSAVE and FXRSTOR only', () => {
    for (const [bytes, expected] of [
      ['0fae07', 7],
      ['0fae0f', 7],
      [XSAVE, undefined],
    ] as const) {
      const t = enabled();
      t.cpu.set64(State.cr0, t.cpu.get64(State.cr0) | BigInt(Cr0.EM));
      t.cpu.modeChanged();
      assert.strictEqual(vector(t, bytes), expected, bytes);
    }
  });
  it('#GP for an operand that is not aligned', () => {
    assert.strictEqual(vector(enabled(), '0fae07', { rdi: FROM + 8 }), 13);
    assert.strictEqual(vector(enabled(), '0fae07', { rdi: FROM + 16 }), undefined);
    assert.strictEqual(vector(enabled(), XSAVE, { rdi: FROM + 16 }), 13);
    assert.strictEqual(vector(enabled(), XRSTOR, { rdi: FROM + 32 }), 13);
  });
  it('#GP for reserved MXCSR bits', () => {
    const with17 = (bytes: string): number | undefined => {
      const t = enabled();
      t.write32(FROM + 24, 0x10000);
      return vector(t, bytes);
    };
    assert.strictEqual(with17('0fae0f'), 13);
    assert.strictEqual(with17(XRSTOR), 13);
    assert.strictEqual(with17('0fae5f18'), undefined); // stmxcsr [rdi + 24]
    const t = enabled();
    t.write32(FROM, 0x10000);
    assert.strictEqual(vector(t, '0fae17'), 13); // ldmxcsr [rdi]
  });
  it('#GP for malformed headers', () => {
    const header = (text: string, bytes = XRSTOR, mxcsr = 0x1f80): number | undefined => {
      const t = enabled();
      t.write32(FROM + 24, mxcsr);
      t.writeHex(FROM + 512, expand(text));
      return vector(t, bytes);
    };
    assert.strictEqual(header('0700*15'), undefined);
    assert.strictEqual(header('0f00*15'), 13); // not in XCR0
    assert.strictEqual(header('0700*7,0100*7'), 13); // XCOMP_BV without bit 63
    assert.strictEqual(header('0700*15,01'), 13); // bytes 23:16
    assert.strictEqual(header('0700*23,01'), undefined); // the rest is ignored in the standard format
    assert.strictEqual(header('0300*7,0300*6,80'), undefined);
    assert.strictEqual(header('0300*7,0100*6,80'), 13); // XSTATE_BV beyond XCOMP_BV
    assert.strictEqual(header('0300*7,0b00*6,80'), 13); // XCOMP_BV beyond XCR0
    assert.strictEqual(header('0300*6,800300*6,80'), 13); // bit 63 of XSTATE_BV
    assert.strictEqual(header('0300*7,0300*6,8000*40,01'), 13); // bytes 63:16
    assert.strictEqual(header('0300*7,0300*6,80', XRSTOR, 0x10000), 13);
    // SSE not in the image: MXCSR is not read.
    assert.strictEqual(header('0100*7,0100*6,80', XRSTOR, 0x10000), undefined);
    assert.strictEqual(header('0700*15', '0fc71f'), 13); // XRSTORS takes the compacted format only
  });
  it('a page fault at the end of an area leaves memory and registers alone', () => {
    for (const bytes of [XSAVE, XRSTOR]) {
      const t = enabled('64', 0, 7n, 16 << 20);
      const at = 0x1000000 - 576;
      t.writeHex(at + 512, '07');
      // fninit; fld1; xsave or xrstor [rdi], whose AVX part is not mapped
      t.run(CODE, `dbe3 d9e8 ${bytes} 90`, { rax: 7, rdx: 0, rdi: at }, 4);
      assert.strictEqual(t.vector, 14, bytes);
      assert.strictEqual(toHex(t.read(at, 8)), '00'.repeat(8), bytes);
      assert.strictEqual(t.cpu.get32(State.ftw), 0x3fff, bytes);
    }
  });
  it('XSETBV', () => {
    const XSETBV = '0f01d1';
    const value = (rax: number, more = {}): number | undefined => vector(enabled(), XSETBV, { rax, ...more });
    assert.deepStrictEqual(
      [1, 3, 7].map((v) => value(v)),
      [undefined, undefined, undefined],
    );
    assert.deepStrictEqual(
      [0, 2, 5, 6, 9, 0x207].map((v) => value(v)),
      [13, 13, 13, 13, 13, 13],
    );
    assert.strictEqual(value(7, { rcx: 1 }), 13);
    assert.strictEqual(value(7, { rdx: 1 }), 13);
    assert.strictEqual(vector(enabled('64', 3), XSETBV), 13);
    assert.strictEqual(vector(enabled('64', 3), '0f01d0'), undefined);
  });
  it('XSAVES and XRSTORS at CPL 3', () => {
    assert.strictEqual(vector(enabled('64', 3), '0fc72f'), 13);
    assert.strictEqual(vector(enabled('64', 3), '0fc71f'), 13);
  });
});

describe('XGETBV', () => {
  it('reads XCR0, and with ECX = 1 what of it is in use', () => {
    const t = enabled().run(CODE, '0f01d0', { rcx: 0 }, 1);
    assert.deepStrictEqual([t.get('rax'), t.get('rdx')], [7n, 0n]);
    // fninit: x87, SSE and AVX state are in their initial configuration. The 8-byte data registers were never written.
    t.run(CODE + 64, 'dbe3 0f01d0', { rcx: 1 }, 2);
    assert.strictEqual(t.get('rax'), 0n);
    t.run(CODE + 128, 'd9e8 0f01d0', { rcx: 1 }, 2);
    assert.strictEqual(t.get('rax'), 1n);
  });
  it('#GP for other registers', () => {
    assert.strictEqual(enabled().run(CODE, '0f01d0 90', { rcx: 2 }, 2).vector, 13);
  });
});

describe('modes', () => {
  // SDM Vol. 1, "Processor Tracking of XSAVE-Managed State": outside 64-bit mode XMM8 to XMM15 are left alone.
  it('32-bit code has eight vector registers', () => {
    const t = enabled('32');
    t.cpu.set64(State.ymm + 8 * 32, 0x1122n);
    t.write32(FROM + 24, 0x1f80);
    t.write(FROM + 160, new Uint8Array(256).fill(0x5a));
    t.write(TO, new Uint8Array(512).fill(0xcc));
    // fxrstor [edi]; fxsave [esi]
    t.run(CODE, '0fae0f 0fae06', { rdi: FROM, rsi: TO }, 2);
    assert.strictEqual(t.cpu.get64(State.ymm + 8 * 32), 0x1122n);
    assert.strictEqual(t.cpu.get64(State.ymm + 7 * 32), 0x5a5a5a5a5a5a5a5an);
    assert.strictEqual(toHex(t.read(TO + 160 + 127, 2)), '5acc');
  });
  it('with CR4.OSFXSR clear FXSAVE leaves the XMM registers out', () => {
    const t = enabled();
    t.cpu.set64(State.cr4, t.cpu.get64(State.cr4) & ~BigInt(Cr4.OSFXSR));
    t.cpu.modeChanged();
    t.write(TO, new Uint8Array(512).fill(0xcc));
    t.run(CODE, '0fae06', { rsi: TO }, 1);
    // MXCSR is there all the same.
    assert.strictEqual(toHex(t.read(TO + 24, 8)), '801f0000ffff0000');
    assert.strictEqual(toHex(t.read(TO + 160, 8)), 'cc'.repeat(8));
  });
});

describe('where an image lies makes no difference', () => {
  const PLAIN = 0x300000;
  const BACK = 0x310000;
  /** Two linear pages whose physical ones are not in line. */
  const SPLIT = 0x600000;
  const [FIRST, SECOND] = [0x500000, 0x480000];

  function mapped(): TestMachine {
    const t = enabled();
    t.write64(0x3000 + 3 * 8, 0xd007n);
    t.write64(0xd000, BigInt(FIRST | 7));
    t.write64(0xd008, BigInt(SECOND | 7));
    t.machine.core.flushAllTranslations();
    return t;
  }
  const watch = (t: TestMachine): void => {
    for (const page of [SPLIT >> 12, (SPLIT >> 12) + 1]) t.machine.core.memoryPath.watchedLinear.add(page);
  };
  const decode = (t: TestMachine): void => {
    t.writeHex(SECOND + 0x800, '90');
    t.run(SECOND + 0x800, '90');
    assert.strictEqual(t.vector, undefined);
  };
  const placements: [string, number, (t: TestMachine) => void][] = [
    ['in one page', 0, () => {}],
    ['in two pages', 4096 - 128, () => {}],
    ['in two pages, the header in the second', 4096 - 512, () => {}],
    ['in two watched pages', 4096 - 128, watch],
    ['in two pages, decoded code in the second', 4096 - 128, decode],
  ];
  const instructions: [string, string, string][] = [
    ['FXSAVE64', '480fae07', '480fae0f'],
    ['XSAVE', '0fae27', '0fae2f'],
    ['XSAVEC', '0fc727', '0fae2f'],
  ];
  for (const [name, save, restore] of instructions) {
    for (const [where, offset, prepare] of placements) {
      it(`${name} ${where}`, () => {
        const t = mapped();
        prepare(t);
        const place = (at: number): object => ({ rax: 7, rdx: 0, rdi: at, rsp: 0x9000 });
        t.run(CODE, 'd9e8 d9ee', {}, 2); // fld1; fldz
        for (let word = 0; word < 128; word++) t.cpu.set32(State.ymm + word * 4, Math.imul(word + 1, 0x9e3779b1));
        t.run(CODE + 0x100, save, place(PLAIN));
        t.run(CODE + 0x100, save, place(SPLIT + offset));
        const plain = t.read(PLAIN, AREA);
        const first = t.read(FIRST + offset, Math.min(AREA, 4096 - offset));
        const both = Uint8Array.from([...first, ...t.read(SECOND, AREA - first.length)]);
        assert.deepStrictEqual(toHex(both.subarray(0, 832)), toHex(plain.subarray(0, 832)));
        for (let word = 0; word < 128; word++) t.cpu.set32(State.ymm + word * 4, 0);
        t.run(CODE + 0x200, `dbe3 ${restore}`, place(SPLIT + offset), 2); // fninit; restore
        t.run(CODE + 0x300, save, place(BACK));
        assert.deepStrictEqual(toHex(t.read(BACK, 576)), toHex(plain.subarray(0, 576)));
        assert.strictEqual(t.cpu.get32(State.ymm + 15 * 32 + 12), Math.imul(124, 0x9e3779b1));
        assert.strictEqual(t.vector, undefined);
      });
    }
  }

  it('decoded code that an image is written over runs as written', () => {
    const t = mapped();
    const at = SECOND + 0x40;
    t.run(at, '31c0', { rax: 5 }); // xor eax, eax
    assert.strictEqual(t.get('rax'), 0n);
    // XMM0 = mov al, 42h; its place in an FXSAVE image is A0h.
    t.cpu.set32(State.ymm, 0x42b0);
    t.run(CODE, '480fae07', { rdi: at - 0xa0, rsp: 0x9000 });
    t.cpu.rip = BigInt(at);
    t.machine.run(1);
    assert.strictEqual(t.get('rax') & 0xffn, 0x42n);
  });
});
