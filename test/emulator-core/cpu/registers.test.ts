/** Registers as the debugger shows and writes them. */
import assert from 'node:assert';
import { State } from '../../../emulator-core/cpu/layout';
import { registerTable, type RegisterRow } from '../../../emulator-core/cpu/registers';
import { Cr0, Cr4 } from '../../../emulator-core/cpu/vcpu';
import { TestMachine } from '../testMachine';

function rowsOf(t: TestMachine): (name: string) => RegisterRow | undefined {
  const rows = registerTable(t.machine);
  return (name) => rows.find((row) => row.name === name);
}

describe('register rows', () => {
  it('CR4 bits by name', () => {
    const row = rowsOf(new TestMachine())('cr4')!;
    // LA57 12, PCIDE 17, OSXSAVE 18, SMEP 20, SMAP 21, PKE 22.
    assert.strictEqual(row.describe!(0x761020n), 'PAE LA57 PCIDE OSXSAVE SMEP SMAP PKE');
  });

  it('PKRU says what it denies, and a write takes effect', () => {
    const t = new TestMachine({ features: ['+pku'] }).enter('64', 3);
    const row = rowsOf(t)('pkru')!;
    assert.strictEqual(row.describe!(0x24n), 'key 1: no access, key 2: no writes');
    t.cpu.set64(State.cr4, BigInt(t.cpu.cr4 | Cr4.PKE));
    t.write64(0x3008, (1n << 59n) | 0x200087n);
    t.run(0x100000, '8b03', { rbx: 0x200000 });
    row.write!(t.cpu, 4n);
    t.run(0x100000, '8b03', { rbx: 0x200000 });
    assert.strictEqual(t.vector, 14);
    assert.strictEqual(rowsOf(new TestMachine())('pkru'), undefined, 'only where CPUID announces it');
  });

  it('a new CR3 in PAE paging loads the pointer registers, or is refused', () => {
    const t = new TestMachine().enter('32');
    t.cpu.set64(State.cr4, BigInt(Cr4.PAE));
    t.cpu.set64(State.cr0, BigInt((t.cpu.cr0 | Cr0.PG) >>> 0));
    t.cpu.modeChanged();
    const row = rowsOf(t)('cr3')!;
    t.write64(0xd000, 0x2001n);
    row.write!(t.cpu, 0xd000n);
    assert.strictEqual(t.cpu.get64(State.pdpte), 0x2001n);
    t.write64(0xe000, 0x2003n);
    assert.throws(
      () => row.write!(t.cpu, 0xe000n),
      /cr3: the page-directory pointers at 0xe000 have reserved bits set/,
    );
    assert.strictEqual(t.cpu.get64(State.cr3), 0xd000n);
  });

  it('rip must be canonical in the paging mode in use', () => {
    const t = new TestMachine({ features: ['+la57'] }).enter('64');
    const row = rowsOf(t)('rip')!;
    assert.throws(() => row.write!(t.cpu, 1n << 50n), /bits 63:47 must be equal/);
    t.cpu.set64(State.cr4, BigInt(t.cpu.cr4 | Cr4.LA57));
    t.cpu.modeChanged();
    row.write!(t.cpu, 1n << 50n);
    assert.throws(() => row.write!(t.cpu, 1n << 56n), /bits 63:56 must be equal/);
  });

  it('XCR0, MXCSR and vector registers are there with XSAVE, SSE and AVX', () => {
    const row = rowsOf(new TestMachine({ features: ['+avx', '+pku'] }));
    assert.strictEqual(row('xcr0')!.describe!(0x207n), 'x87 SSE AVX PKRU');
    assert.strictEqual(row('mxcsr')!.describe!(0x5f80n), 'IM DM ZM OM UM PM rounds up');
    assert.strictEqual(row('ymm15')!.width, 256);
    const sse = rowsOf(new TestMachine({ features: ['+sse2', '-avx'] }));
    assert.strictEqual(sse('xmm0')!.width, 128);
    assert.strictEqual(sse('ymm0'), undefined);
  });
});
