import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { ElfError, ElfFile } from '../../../emulator-core/boot/elf';
import { Writer } from '../../../emulator-core/writer';
import { elf, note, words } from './images';

const code = Uint8Array.of(0xf4, 0xeb, 0xfd);

function symbolTable(bits: 32 | 64): { symtab: Uint8Array; strtab: Uint8Array } {
  const strtab = new Writer().u8(0).text('main').u8(0).text('data').u8(0).done();
  const w = new Writer();
  if (bits === 64)
    w.zeros(24).u32(1).u8(0x12).u8(0).u16(1).u64(0x100000).u64(3).u32(6).u8(1).u8(0).u16(2).u64(9).u64(8);
  else w.zeros(16).u32(1).u32(0x100000).u32(3).u8(0x12).u8(0).u16(1).u32(6).u32(9).u32(8).u8(1).u8(0).u16(2);
  return { symtab: w.done(), strtab };
}

describe('ELF reader', () => {
  for (const bits of [32, 64] as const) {
    it(`reads header, segments, sections, symbols and notes of ELF${bits}`, () => {
      const { symtab, strtab } = symbolTable(bits);
      const file = new ElfFile(
        elf({
          bits,
          entry: 0x100000,
          segments: [
            { type: 1, physical: 0x100000, memorySize: 0x2000, data: code },
            { type: 4, alignment: 4, data: note('GNU', 3, Uint8Array.of(0xde, 0xad)) },
          ],
          sections: [
            { name: '.text', type: 1, flags: 6, data: code },
            { name: '.symtab', type: 2, link: 3, entrySize: bits === 64 ? 24 : 16, data: symtab },
            { name: '.strtab', type: 3, data: strtab },
            {
              name: '.gnu_debuglink',
              type: 1,
              data: new Writer().text('k.debug').u8(0).u32(0x12345678).done(),
            },
          ],
        }),
        'k.elf',
      );
      assert.deepEqual(file.header, { bits, type: 2, machine: bits === 64 ? 62 : 3, entry: 0x100000n, flags: 0 });
      assert.equal(file.segments()[0].memorySize, 0x2000n);
      assert.equal(file.segments()[0].fileSize, 3);
      assert.deepEqual([...file.segmentData(file.segments()[0])], [...code]);
      assert.deepEqual(
        file.sections().map((s) => s.name),
        ['', '.text', '.symtab', '.strtab', '.gnu_debuglink', '.shstrtab'],
      );
      assert.deepEqual([...file.sectionData('.text')!], [...code]);
      assert.deepEqual(file.symbols(), [
        { name: 'main', value: 0x100000n, size: 3n, type: 2, binding: 1, section: 1 },
        { name: 'data', value: 9n, size: 8n, type: 1, binding: 0, section: 2 },
      ]);
      assert.equal(file.buildId(), 'dead');
      assert.deepEqual(file.debugLink(), { file: 'k.debug', crc: 0x12345678 });
      assert.equal(file.physicalOf(0x100001n), 0x100001n);
      assert.equal(file.physicalOf(0x102000n), undefined);
      assert.equal(file.compression('.text'), undefined);
    });
  }

  it('reports compressed sections', () => {
    const header = new Writer().u32(1).u32(0).u64(0x1000).u64(8).bytes([1, 2, 3]).done();
    const file = new ElfFile(elf({ sections: [{ name: '.debug_info', type: 1, flags: 0x800, data: header }] }), 'k');
    const compression = file.compression('.debug_info')!;
    assert.deepEqual(
      { ...compression, data: [...compression.data] },
      { type: 1, uncompressedSize: 0x1000n, data: [1, 2, 3] },
    );
  });

  it('reads a program of this system as readelf would', function () {
    if (process.platform !== 'linux') {
      console.log('      skipped: needs an ELF system');
      this.skip();
    }
    const file = new ElfFile(readFileSync(process.execPath), process.execPath);
    assert.ok(file.segments().some((s) => s.type === 1));
    assert.ok(file.section('.text')!.size > 0n);
    assert.ok(file.symbols().length > 0);
  });

  describe('malformed files', () => {
    const patched = (parts: Parameters<typeof elf>[0], patch: (view: DataView) => void): ElfFile => {
      const bytes = elf(parts);
      patch(new DataView(bytes.buffer));
      return new ElfFile(bytes, 'hello.elf');
    };
    const one = { segments: [{ type: 1, physical: 0x100000, data: code }] };
    const fails = (action: () => unknown, message: RegExp): void =>
      assert.throws(action, (error) => {
        assert.ok(error instanceof ElfError, String(error));
        assert.match(error.message, message);
        return true;
      });

    it('names what is wrong with the header', () => {
      fails(() => new ElfFile(Uint8Array.of(1, 2, 3), 'x'), /^x: not an ELF file/);
      fails(() => new ElfFile(elf(one).subarray(0, 40), 'x'), /has 0x28 bytes, expected at least 0x40/);
      fails(() => new ElfFile(elf(one).subarray(0, 10), 'x'), /ends at 0xa/);
      fails(() => patched(one, (v) => v.setUint8(5, 2)), /data encoding 2 at offset 0x5/);
      fails(() => patched(one, (v) => v.setUint8(4, 3)), /class 3 at offset 0x4/);
    });
    it('checks program headers without overflow', () => {
      fails(
        () => patched(one, (v) => v.setBigUint64(64 + 8, 0xffff_ffff_ffff_fff0n, true)).segments(),
        /^hello\.elf: program header 0: file range 0xfffffffffffffff0 \+ 0x3 lies outside the file \(0x\w+ bytes\)$/,
      );
      fails(
        () => patched(one, (v) => v.setBigUint64(64 + 32, 2n ** 64n - 1n, true)).segments(),
        /lies outside the file/,
      );
      fails(() => patched(one, (v) => v.setBigUint64(64 + 40, 1n, true)).segments(), /larger than memory size 0x1/);
      fails(() => patched(one, (v) => v.setBigUint64(64 + 24, 2n ** 64n - 1n, true)).segments(), /wraps around/);
      fails(
        () => patched(one, (v) => v.setBigUint64(32, 2n ** 63n, true)).segments(),
        /program header table: file range/,
      );
      fails(() => patched(one, (v) => v.setUint16(54, 8, true)).segments(), /entry size 0x8, expected at least 0x38/);
      fails(() => patched(one, (v) => v.setUint16(56, 0xfffe, true)).segments(), /program header table/);
    });
    it('checks section headers, names, symbols and notes', () => {
      const parts = { sections: [{ name: '.symtab', type: 2, entrySize: 24, link: 1, data: new Uint8Array(48) }] };
      fails(() => new ElfFile(elf(parts), 'x').symbols(), /linked section 1, expected the index of a string table/);
      fails(() => patched(parts, (v) => v.setUint16(60, 0, true)).sections().length, /./);
      fails(() => patched(parts, (v) => v.setUint16(62, 9, true)).sections(), /section name table index 9/);
      fails(
        () => patched(parts, (v) => v.setBigUint64(40, 2n ** 40n, true)).sections(),
        /section header 0: file range/,
      );
      const bad = note('Xen', 18, words(1));
      bad[4] = 0xff;
      bad[7] = 0xff;
      const withNote = elf({ segments: [{ type: 4, alignment: 4, data: bad }] });
      fails(() => new ElfFile(withNote, 'x').notes(), /program header 0: note at offset .* lies outside/);
      const open = elf({
        sections: [
          { name: '.symtab', type: 2, entrySize: 24, link: 2, data: new Writer().zeros(24).u32(0).zeros(20).done() },
          { name: '.strtab', type: 3, data: Uint8Array.of(0x61, 0x62) },
        ],
      });
      fails(() => new ElfFile(open, 'x').symbols(), /no terminating NUL/);
    });
    it('refuses symbol names that add up to far more than their table', () => {
      const count = 4000;
      const symtab = new Writer().zeros(24);
      for (let i = 0; i < count; i++) symtab.u32(i).zeros(20);
      const strtab = new Uint8Array(100_000).fill(0x61);
      strtab[strtab.length - 1] = 0;
      const file = elf({
        sections: [
          { name: '.symtab', type: 2, entrySize: 24, link: 2, data: symtab.done() },
          { name: '.strtab', type: 3, data: strtab },
        ],
      });
      fails(() => new ElfFile(file, 'x').symbols(), /overlap too much/);
    });
    it('survives every single corrupted header byte', () => {
      const base = elf({
        ...one,
        sections: [
          { name: '.symtab', type: 2, entrySize: 24, link: 2, data: symbolTable(64).symtab },
          { name: '.strtab', type: 3, data: symbolTable(64).strtab },
        ],
      });
      for (let at = 0; at < base.length; at++) {
        for (const value of [0, 1, 0x7f, 0xff]) {
          const bytes = base.slice();
          bytes[at] = value;
          try {
            const file = new ElfFile(bytes, 'x');
            file.segments();
            file.symbols();
            file.notes();
            file.debugLink();
          } catch (error) {
            assert.ok(error instanceof ElfError, `byte ${at} = ${value}: ${error}`);
          }
        }
      }
    });
  });
});
