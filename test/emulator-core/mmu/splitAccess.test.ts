/** Accesses whose bytes lie in two pages: what is read and written, again when the soft TLB knows both, and with whose rights. */
import assert from 'node:assert/strict';
import { State } from '../../../emulator-core/cpu/layout';
import { Cr0 } from '../../../emulator-core/cpu/vcpu';
import { Selector, TABLES, TestMachine, descriptor } from '../testMachine';

const CODE = 0x300000;
const PAGE_TABLE = 0xd000;
/** Linear pages, one behind the other, and frames that are not. */
const FIRST = 0x600000;
const NEXT = FIRST + 0x1000;
const FRAMES = [0x305000, 0x302000];
const PRESENT = 1;
const WRITABLE = 2;
const USER = 4;

const RIGHTS = PRESENT | WRITABLE | USER;

function machine(cpl: 0 | 3, first = RIGHTS, next = RIGHTS): TestMachine {
  const t = new TestMachine().enter('64', cpl);
  t.write64(TABLES + 0x2000 + 3 * 8, BigInt(PAGE_TABLE | RIGHTS));
  t.write64(PAGE_TABLE, BigInt(FRAMES[0] | first));
  t.write64(PAGE_TABLE + 8, BigInt(FRAMES[1] | next));
  return t;
}

/** Guest-physical address of a linear one. */
const place = (linear: number): number => FRAMES[(linear - FIRST) >> 12] + (linear & 0xfff);

const OPERANDS = [
  { bits: 16, read: '668b03', write: '668903' },
  { bits: 32, read: '8b03', write: '8903' },
  { bits: 64, read: '488b03', write: '488903' },
];

describe('accesses to two pages', () => {
  for (const { bits, read, write } of OPERANDS) {
    for (let before = 1; before < bits / 8; before++) {
      const address = NEXT - before;
      const bytes = Array.from({ length: bits / 8 }, (_, i) => 0x81 + 7 * i);
      const value = bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);

      it(`read ${bits} bits, ${before} bytes before the end of a page`, () => {
        const t = machine(3);
        bytes.forEach((byte, i) => t.write(place(address + i), [byte]));
        for (const times of ['first', 'again', 'later'])
          assert.equal(t.run(CODE, read, { rax: 0, rbx: address }).get('rax'), value, times);
      });

      it(`write ${bits} bits, ${before} bytes before the end of a page`, () => {
        const t = machine(3);
        for (const times of ['first', 'again', 'later']) {
          for (const frame of FRAMES) t.write(frame, new Uint8Array(4096));
          t.run(CODE, write, { rax: value, rbx: address });
          assert.deepEqual(
            bytes.map((_, i) => t.read(place(address + i), 1)[0]),
            bytes,
            times,
          );
          assert.equal(t.read(place(address - 1), 1)[0], 0);
          assert.equal(t.read(place(address + bytes.length), 1)[0], 0);
        }
      });
    }
  }

  it('are refused by the second page with nothing written to the first, whatever was read before', () => {
    const t = machine(3, RIGHTS, PRESENT | USER);
    t.run(CODE, '488b03', { rbx: NEXT - 3 });
    t.run(CODE, '488903', { rax: -1, rbx: NEXT - 3 });
    assert.equal(t.vector, 14);
    assert.equal(t.cpu.get64(State.cr2), BigInt(NEXT));
    assert.deepEqual([...t.read(FRAMES[0] + 0xffd, 3)], [0, 0, 0]);
  });

  it("leave programs nothing of the processor's own rights: a descriptor across pages that only supervisors may read", () => {
    const t = machine(3, PRESENT | WRITABLE, PRESENT | WRITABLE);
    // The descriptor of Selector.free.
    const at = NEXT - 3;
    t.cpu.set64(State.gdtrBase, BigInt(at - Selector.free));
    const data = descriptor(0, 0xfffff, 0xf3, 0xc);
    for (let i = 0; i < 8; i++) t.write(place(at + i), [Number((data >> BigInt(8 * i)) & 0xffn)]);
    t.run(CODE, '8ec0', { rax: Selector.free | 3 });
    assert.equal(t.selector('es'), Selector.free | 3);
    t.cpu.set64(State.gdtrBase, 0x5000n);
    t.run(CODE, '8a03', { rbx: at, rax: 0 });
    assert.equal(t.vector, 14);
    assert.equal(t.get('rax'), 0n);
  });

  describe('around 4 GiB', () => {
    const DIRECTORY = 0xd000;
    const [LOWEST, HIGHEST] = [0xe000, 0xf000];
    const LAST = 0x305000;
    const [ZERO, OTHER] = [0x302000, 0x303000];
    const BASE = 0x10;
    /** An access of 32 bits to FFFFFFFEh, by way of a segment that begins at BASE: one that begins at 0 would end there. */
    const rbx = 0xfffffffe - BASE;

    /** 32-bit paging, page 0 and the last one elsewhere. */
    function machine32(): TestMachine {
      const t = new TestMachine().enter('32');
      for (let i = 0; i < 1024; i++) t.write32(LOWEST + i * 4, (i << 12) | RIGHTS);
      t.write32(DIRECTORY, LOWEST | RIGHTS);
      t.write32(DIRECTORY + 4092, HIGHEST | RIGHTS);
      t.write32(LOWEST, ZERO | RIGHTS);
      t.write32(HIGHEST + 4092, LAST | RIGHTS);
      t.cpu.set64(State.cr3, BigInt(DIRECTORY));
      t.cpu.set64(State.cr0, BigInt((Cr0.ET | Cr0.NE | Cr0.WP | Cr0.PE | Cr0.PG) >>> 0));
      t.cpu.modeChanged();
      t.segment('ds', Selector.data, BASE, 0xffffffff, 0xc093);
      t.machine.core.flushAllTranslations();
      return t;
    }

    /** Linear page 0 is another frame from now on. */
    function remap(t: TestMachine): void {
      t.write32(LOWEST, OTHER | RIGHTS);
      // invlpg [rbx]: linear address 0
      t.run(CODE, '0f013b', { rbx: 0x100000000 - BASE });
    }

    it('begin anew at 0, and there notice that the page is another one: reads', () => {
      const t = machine32();
      t.write(LAST + 0xffe, [0x11, 0x22]);
      t.write(ZERO, [0x33, 0x44]);
      t.write(OTHER, [0x55, 0x66]);
      for (let i = 0; i < 2; i++) assert.equal(t.run(CODE, '8b03', { rax: 0, rbx }).get('rax'), 0x44332211n);
      remap(t);
      for (let i = 0; i < 2; i++) assert.equal(t.run(CODE, '8b03', { rax: 0, rbx }).get('rax'), 0x66552211n);
    });

    it('begin anew at 0, and there notice that the page is another one: writes', () => {
      const t = machine32();
      for (let i = 0; i < 2; i++) t.run(CODE, '8903', { rax: 0x44332211, rbx });
      assert.deepEqual([...t.read(ZERO, 2)], [0x33, 0x44]);
      remap(t);
      for (let i = 0; i < 2; i++) t.run(CODE, '8903', { rax: 0x88776655, rbx });
      assert.deepEqual([...t.read(LAST + 0xffe, 2)], [0x55, 0x66]);
      assert.deepEqual([...t.read(ZERO, 2)], [0x33, 0x44]);
      assert.deepEqual([...t.read(OTHER, 2)], [0x77, 0x88]);
    });
  });
});
