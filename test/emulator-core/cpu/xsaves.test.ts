/** XSAVES and XRSTORS, from the manual: they are privileged, so nothing here was measured. */
import assert from 'node:assert';
import { State } from '../../../emulator-core/cpu/layout';
import { Cr4 } from '../../../emulator-core/cpu/vcpu';
import { TestMachine, toHex } from '../testMachine';

const CODE = 0x100000;
const FROM = 0x200000;
const TO = 0x201000;

// SDM Vol. 1, "Operation of XSAVES" and "Operation of XRSTORS"; Vol. 2, the instructions' pages.
describe('XSAVES and XRSTORS', () => {
  const XSAVES = '0fc72f';
  const XRSTORS = '0fc71f';
  const COMPACTED = 1n << 63n;
  const XSTATE_BV = 512;
  const XCOMP_BV = 520;
  const EXTENDED = 576;
  const UPPER = 16;

  /** A machine with PKRU, whose area at TO is filled with CC. */
  function enabled(xcr0 = 0x207n): TestMachine {
    const t = new TestMachine({ features: ['+avx', '+xsaveopt', '+xsaves', '+pku'] }).enter('64');
    t.cpu.set64(State.cr4, t.cpu.get64(State.cr4) | BigInt(Cr4.OSFXSR | Cr4.OSXSAVE));
    t.cpu.set64(State.xcr0, xcr0);
    t.cpu.modeChanged();
    t.write(TO, new Uint8Array(1024).fill(0xcc));
    return t;
  }
  /** fninit; XSAVES [rdi] with `mask` in EAX. */
  function save(t: TestMachine, mask: number): TestMachine {
    t.run(CODE, `dbe3 ${XSAVES}`, { rax: mask, rdx: 0, rdi: TO }, 2);
    assert.strictEqual(t.vector, undefined);
    return t;
  }
  /** Writes a compacted image to FROM: XSTATE_BV, XCOMP_BV without bit 63, MXCSR, XMM0, and the extended region. */
  function image(t: TestMachine, present: number, format: number, extended: string, mxcsr = 0x1f80): void {
    t.write(FROM, new Uint8Array(1024));
    t.write32(FROM + 24, mxcsr);
    t.write64(FROM + 160, 0x1122334455667788n);
    t.write64(FROM + XSTATE_BV, BigInt(present));
    t.write64(FROM + XCOMP_BV, COMPACTED | BigInt(format));
    t.writeHex(FROM + EXTENDED, extended);
  }
  const restore = (t: TestMachine, mask: number, more = {}): TestMachine =>
    t.run(CODE, `${XRSTORS} 90`, { rax: mask, rdx: 0, rdi: FROM, ...more }, 2);

  it('what is in use is written, compacted', () => {
    const t = enabled();
    t.cpu.set64(State.ymm, 0x11n);
    t.cpu.set64(State.ymm + UPPER, 0x22n);
    t.cpu.setPkru(0x33);
    save(t, 0x207);
    // x87 state is as FNINIT left it.
    assert.strictEqual(t.read64(TO + XSTATE_BV), 0x206n);
    assert.strictEqual(t.read64(TO + XCOMP_BV), COMPACTED | 0x207n);
    assert.strictEqual(toHex(t.read(TO, 24)), 'cc'.repeat(24));
    assert.strictEqual(toHex(t.read(TO + 24, 8)), '801f0000ffff0000');
    assert.strictEqual(t.read64(TO + 160), 0x11n);
    assert.strictEqual(t.read64(TO + EXTENDED), 0x22n);
    assert.strictEqual(t.read64(TO + EXTENDED + 256), 0x33n);
    // The rest of the header is left alone.
    assert.strictEqual(toHex(t.read(TO + XCOMP_BV + 8, 48)), 'cc'.repeat(48));
  });
  it('components that are not asked for take no room', () => {
    const t = enabled();
    t.cpu.set64(State.ymm + UPPER, 0x22n);
    t.cpu.setPkru(0x33);
    save(t, 0x201);
    assert.strictEqual(t.read64(TO + XSTATE_BV), 0x200n);
    assert.strictEqual(t.read64(TO + XCOMP_BV), COMPACTED | 0x201n);
    assert.strictEqual(t.read64(TO + EXTENDED), 0x33n);
  });
  it('components that are asked for but initial keep their room', () => {
    const t = enabled();
    t.cpu.setPkru(0x33);
    save(t, 0x204);
    assert.strictEqual(t.read64(TO + XSTATE_BV), 0x200n);
    assert.strictEqual(toHex(t.read(TO + EXTENDED, 256)), 'cc'.repeat(256));
    assert.strictEqual(t.read64(TO + EXTENDED + 256), 0x33n);
  });
  it('MXCSR other than 1F80h makes SSE state be in use', () => {
    const t = enabled();
    t.cpu.set32(State.mxcsr, 0x3f80);
    save(t, 3);
    assert.strictEqual(t.read64(TO + XSTATE_BV), 2n);
    assert.strictEqual(t.read32(TO + 24), 0x3f80);
    // It belongs to SSE, not to AVX.
    t.write(TO, new Uint8Array(1024).fill(0xcc));
    save(t, 4);
    assert.strictEqual(t.read64(TO + XSTATE_BV), 0n);
    assert.strictEqual(t.read32(TO + 24) >>> 0, 0xcccccccc);
  });
  it('components outside of XCR0 and IA32_XSS are not asked for', () => {
    const t = enabled(3n);
    t.cpu.set64(State.ymm + UPPER, 0x22n);
    save(t, -1);
    assert.strictEqual(t.read64(TO + XCOMP_BV), COMPACTED | 3n);
    assert.strictEqual(toHex(t.read(TO + EXTENDED, 256)), 'cc'.repeat(256));
  });
  it('XRSTORS loads what is present, initializes what is not, leaves alone what is not asked for', () => {
    const t = enabled();
    image(t, 0x202, 0x206, '00'.repeat(256) + '44000000', 0x5f80);
    t.cpu.set64(State.ymm + UPPER, 0x22n);
    t.cpu.setPkru(0x33);
    assert.strictEqual(restore(t, 6).vector, undefined);
    assert.strictEqual(t.cpu.get64(State.ymm), 0x1122334455667788n);
    assert.strictEqual(t.cpu.get64(State.ymm + UPPER), 0n);
    assert.strictEqual(t.cpu.get32(State.mxcsr), 0x5f80);
    assert.strictEqual(t.cpu.get32(State.pkru), 0x33);
    restore(t, 0x200);
    assert.strictEqual(t.cpu.get32(State.pkru), 0x44);
    // SSE state that is not present: MXCSR is initialized with it.
    image(t, 0, 7, '');
    t.run(CODE, `d9e8 ${XRSTORS}`, { rax: 3, rdi: FROM }, 2);
    assert.strictEqual(t.cpu.get64(State.ymm), 0n);
    assert.strictEqual(t.cpu.get32(State.mxcsr), 0x1f80);
    assert.strictEqual(t.cpu.get32(State.ftw), 0xffff);
  });
  it('XRSTORS finds components where XCOMP_BV puts them', () => {
    const t = enabled();
    image(t, 0x200, 0x201, '55000000');
    restore(t, 0x200);
    assert.strictEqual(t.cpu.get32(State.pkru), 0x55);
  });
  it('XRSTORS of malformed images: #GP, and nothing is loaded', () => {
    const refused = (change: (t: TestMachine) => void, more = {}): void => {
      const t = enabled();
      image(t, 6, 6, '77');
      change(t);
      assert.strictEqual(restore(t, 6, more).vector, 13);
      assert.strictEqual(t.cpu.get64(State.ymm), 0n);
      assert.strictEqual(t.cpu.get64(State.ymm + UPPER), 0n);
    };
    refused((t) => t.write64(FROM + XCOMP_BV, 6n)); // standard format
    refused((t) => t.write64(FROM + XCOMP_BV, COMPACTED | 0x10en)); // beyond XCR0 | IA32_XSS
    refused((t) => t.write64(FROM + XSTATE_BV, 7n)); // beyond XCOMP_BV
    refused((t) => t.write64(FROM + XSTATE_BV, COMPACTED | 6n));
    for (let at = 16; at < 64; at += 8) refused((t) => t.write(FROM + XSTATE_BV + at, [1]));
    refused((t) => t.write32(FROM + 24, 0x10000)); // reserved bits of MXCSR
    refused(() => undefined, { rdi: FROM + 32 });
  });
  it('XSAVES to where the operand is not aligned: #GP', () => {
    const t = enabled().run(CODE, `${XSAVES} 90`, { rax: 7, rdx: 0, rdi: TO + 32 }, 2);
    assert.strictEqual(t.vector, 13);
    assert.strictEqual(toHex(t.read(TO, 1024)), 'cc'.repeat(1024));
  });
  // There is no supervisor component: SDM Vol. 1, "Enabling the XSAVE Feature Set and XSAVE-Enabled Features".
  it('IA32_XSS takes zero only', () => {
    for (const [eax, edx, expected] of [
      [0, 0, undefined],
      [1, 0, 13],
      [0x100, 0, 13],
      [0x1800, 0, 13],
      [0, 1, 13],
    ]) {
      const t = enabled().run(CODE, '0f30 90', { rcx: 0xda0, rax: eax!, rdx: edx! }, 2);
      assert.strictEqual(t.vector, expected, `${eax}`);
      assert.strictEqual(t.cpu.get64(State.xss), 0n);
    }
  });
  it('with REX.W pointers are 64 bits wide', () => {
    const t = enabled();
    // fninit; fld dword [rsi]; xsaves [rdi]; xsaves64 [rbx]
    const registers = { rax: 1, rdx: 0, rsi: FROM, rdi: TO, rbx: TO + 1024 };
    t.run(CODE, `dbe3 d906 ${XSAVES} 480fc72b`, registers, 4);
    assert.strictEqual(t.read64(TO + XSTATE_BV), 1n);
    assert.strictEqual(t.read64(TO + 8), BigInt(CODE + 2) | 0x0800000000n);
    assert.strictEqual(t.read64(TO + 16), BigInt(FROM) | 0x1000000000n);
    assert.strictEqual(t.read64(TO + 1024 + 8), BigInt(CODE + 2));
    assert.strictEqual(t.read64(TO + 1024 + 16), BigInt(FROM));
    // xrstors64 [rbx]; xsaveopt64 [rdi]: a pointer above 4 GiB comes back.
    t.write64(TO + 1024 + 8, 0x112233445566n);
    t.write64(TO + XCOMP_BV, 0n);
    t.run(CODE + 64, '480fc71b 480fae37', registers, 2);
    assert.strictEqual(t.read64(TO + 8), 0x112233445566n);
  });
});
