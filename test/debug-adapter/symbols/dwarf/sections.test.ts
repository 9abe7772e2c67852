/** Sections read in pieces, and the map of ranges. */
import assert from 'node:assert/strict';
import { Cursor, DwarfError } from '../../../../debug-adapter/symbols/dwarf/reader';
import { RangeMap, readFrom, Warnings, type DebugSections } from '../../../../debug-adapter/symbols/dwarf/sections';

class Pieces implements DebugSections {
  readonly is64 = true;
  readonly codeAtZero = false;
  readonly warnings = new Warnings();
  readonly reads: [offset: number, length: number][] = [];
  constructor(private readonly contents: Uint8Array) {}
  data(): Uint8Array {
    return assert.fail('read whole');
  }
  size(): number {
    return this.contents.length;
  }
  range(_name: string, offset: number, length: number): Uint8Array {
    assert.ok(offset >= 0 && length >= 0 && offset + length <= this.contents.length, `${length} bytes at ${offset}`);
    this.reads.push([offset, length]);
    return this.contents.slice(offset, offset + length);
  }
  address(): bigint {
    return 0n;
  }
}

describe('a section that is read in pieces', () => {
  const size = 3_000_000;
  const contents = Uint8Array.from({ length: size }, (_, i) => 1 + ((i >> 8) % 250));
  contents[2_500_000] = 0;
  const length = (cursor: Cursor): number => {
    const start = cursor.position;
    cursor.skipString();
    return cursor.position - start;
  };
  const string = (sections: Pieces, offset: number): number => readFrom(sections, '.debug_str', offset, length);

  it('gives what is there, wherever it begins, and reads as much as it takes', () => {
    for (const offset of [0, 1, 65_535, 65_536, 131_071, 2_400_000, 2_500_000]) {
      const sections = new Pieces(contents);
      assert.equal(string(sections, offset), 2_500_001 - offset);
    }
    const sections = new Pieces(contents);
    assert.equal(
      readFrom(sections, '.debug_info', 1_000_003, (cursor) => cursor.u32()),
      0x01010101 * contents[1_000_003],
    );
    assert.equal(sections.reads.length, 1);
    assert.ok(sections.reads[0][1] <= 1 << 17, 'not the whole section for a word');
  });

  it('says the same as one that is read whole where it ends too early', () => {
    const whole = (offset: number): string => {
      try {
        length(new Cursor(contents, offset, size, '.debug_str'));
      } catch (error) {
        assert.ok(error instanceof DwarfError);
        return error.message;
      }
      return assert.fail('did not end');
    };
    for (const offset of [2_500_001, 2_999_999, size, size + 1, size + 1_000_000]) {
      const sections = new Pieces(contents);
      assert.throws(() => string(sections, offset), { name: 'DwarfError', message: whole(offset) });
    }
  });

  it('is not read again for what is malformed', () => {
    const sections = new Pieces(contents);
    let calls = 0;
    const read = (cursor: Cursor): never => {
      calls++;
      return cursor.fail('something else');
    };
    assert.throws(() => readFrom(sections, '.debug_x', 70_000, read), {
      message: '.debug_x: expected something else at offset 0x11170',
    });
    assert.equal(calls, 1);
  });
});

describe('a map of ranges', () => {
  it('finds the smallest range that holds an address, of few and of very many', () => {
    for (const count of [10, 20_000]) {
      const map = new RangeMap<string>();
      map.add(0n, BigInt(count) * 100n, 'all');
      // Not in order.
      for (let i = 0; i < count; i++) {
        const at = BigInt((i * 7919) % count) * 100n;
        map.add(at + 10n, at + 50n, `range ${at}`);
        map.add(at + 20n, at + 30n, `inner ${at}`);
      }
      map.add(5n, 5n, 'empty');
      for (const at of [0n, 300n, BigInt(count - 1) * 100n]) {
        assert.equal(map.find(at + 10n)?.value, `range ${at}`);
        assert.equal(map.find(at + 25n)?.value, `inner ${at}`);
        assert.equal(map.find(at + 49n)?.value, `range ${at}`);
        // A search looks back over 1000 ranges only.
        assert.equal(map.find(at + 50n)?.value, count < 500 || at < 50_000n ? 'all' : undefined);
      }
      assert.equal(map.find(BigInt(count) * 100n), undefined);
      const top = 0xffff_ffff_ffff_f000n;
      map.add(top, top + 0x1000n, 'top');
      assert.equal(map.find(top + 0xffen)?.value, 'top');
    }
  });
});
