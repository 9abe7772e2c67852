/** Going back over x87 and vector state: a checkpoint holds all of it. */
import assert from 'node:assert';
import { State } from '../../../emulator-core/cpu/layout';
import { Cr4 } from '../../../emulator-core/cpu/vcpu';
import { TestMachine, toHex } from '../testMachine';

const CODE = 0x100000;
const DATA = 0x200000;
const SAVED = 0x201000;

describe('history of extended state', () => {
  it('going back and forth ends with the same registers', () => {
    const t = new TestMachine({ features: ['+avx'] }).enter('64');
    const { cpu, machine } = t;
    cpu.set64(State.cr4, cpu.get64(State.cr4) | BigInt(Cr4.OSFXSR | Cr4.OSXSAVE));
    cpu.set64(State.xcr0, 7n);
    cpu.modeChanged();
    t.write(
      DATA,
      Uint8Array.from({ length: 1024 }, (_, i) => (i * 37) & 0xff),
    );
    // A standard image: masks in the control word, MXCSR, header.
    t.write16(DATA, 0x37f);
    t.write32(DATA + 24, 0x1fa0);
    t.write(DATA + 512, new Uint8Array(64));
    t.write(DATA + 512, [7]);
    // xrstor [rdi]; loop: fld1; fsin; fstp st(3); fincstp; vmovdqu ymm1, ymm2; movdqu xmm2, xmm5; movdqu xmm5, xmm1; jmp loop
    t.writeHex(CODE, '0fae2f d9e8 d9fe dddb d9f7 c5fe6fca f30f6fd5 f30f6fe9 ebea'.replace(/ /g, ''));
    t.set({ rax: 7, rdx: 0, rdi: DATA, rsi: SAVED });
    cpu.rip = BigInt(CODE);
    machine.record();
    const state = (): string =>
      toHex(machine.memory.u8.slice(cpu.base + State.fpr, cpu.base + State.xss + 8)) +
      toHex(machine.memory.u8.slice(cpu.base + State.ymm, cpu.base + State.vectorA));
    const start = machine.core.retired;
    machine.run(1);
    const seen = [state()];
    for (let i = 1; i < 30; i++) {
      machine.run(1);
      seen.push(state());
    }
    assert.ok(new Set(seen).size > 20);
    for (const back of [30, 1, 17, 8]) {
      machine.history.restoreBefore(start + back);
      machine.resume();
      machine.run(start + back - machine.core.retired);
      assert.strictEqual(state(), seen[back - 1], `after ${back} instructions`);
    }
  });
});
