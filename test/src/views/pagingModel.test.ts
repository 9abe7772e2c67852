import assert from 'node:assert';
import {
  EntryHistory,
  entryDetails,
  findRow,
  pagingRows,
  rowDescription,
  rowLabel,
} from '../../../src/views/pagingModel';
import type { PagingEntry } from '../../../src/wire';

/** A PTE that identity-maps page `index`. */
function pte(index: number, more: Partial<PagingEntry> = {}): PagingEntry {
  const address = BigInt(index) << 12n;
  return {
    level: 'PTE',
    index,
    address,
    span: 4096n,
    entryAddress: 0x5000n + BigInt(index * 8),
    raw: address | 0x3n,
    present: true,
    leaf: true,
    target: address,
    permissions: 'rwx',
    accessed: false,
    dirty: false,
    flags: [],
    ...more,
  };
}
const never = () => false;

describe('paging rows', () => {
  it('shows 512 alike entries as one row', () => {
    const rows = pagingRows(
      Array.from({ length: 512 }, (_, index) => pte(index)),
      never,
    );
    assert.equal(rows.length, 1);
    assert.equal(rowLabel(rows[0]), '0x00000000–1fffff');
    assert.equal(rowDescription(rows[0]), 'rwx -- · 512 × 4K → 0x0');
  });

  it('starts a new row at a gap, another target, other permissions, A or D, and at tables', () => {
    const entries = [
      pte(0),
      pte(2),
      pte(3, { target: 0x9000n }),
      pte(4, { permissions: 'r--' }),
      pte(5, { permissions: 'r--', accessed: true }),
      pte(6, { permissions: 'r--', accessed: true, dirty: true, flags: ['G'] }),
      pte(7, { leaf: false }),
      pte(8, { leaf: false }),
    ];
    assert.equal(pagingRows(entries, never).length, entries.length);
  });

  it('describes tables and changed entries', () => {
    const table = pte(1, { level: 'EPT PDPTE', leaf: false, target: 0x2000n, accessed: true, span: 1n << 30n });
    assert.equal(rowDescription(pagingRows([table], never)[0]), 'rwx A · PDPTE → 0x2000');
    const page = pte(1, { memoryType: 'WB', accessed: true, dirty: true, flags: ['U', 'PWT'] });
    assert.equal(rowDescription(pagingRows([page], () => true)[0]), 'rwx WB U AD · 4K → 0x1000 · changed');
    assert.match(entryDetails(page), /Bits set\|U, PWT/);
    assert.match(entryDetails(page), /`0x0000000000001003` at physical `0x5008`/);
  });

  it('finds the row of an address', () => {
    const rows = pagingRows([pte(0), pte(1), pte(4)], never);
    assert.equal(findRow(rows, 0x1fffn), rows[0]);
    assert.equal(findRow(rows, 0x4000n), rows[1]);
    assert.equal(findRow(rows, 0x2000n), undefined);
  });
});

describe('EntryHistory', () => {
  it('marks what differs from the stop before, and only that', () => {
    const history = new EntryHistory();
    assert.ok(![pte(0), pte(1)].some(history.update('root', 1, [pte(0), pte(1)])), 'nothing to compare with');
    const now = [pte(0), pte(1, { raw: 0x1023n, accessed: true }), pte(2)];
    assert.deepEqual(now.map(history.update('root', 2, now)), [false, true, true]);
    assert.deepEqual(now.map(history.update('root', 2, now)), [false, true, true], 'reading twice changes nothing');
    assert.deepEqual(now.map(history.update('root', 3, now)), [false, false, false]);
  });
});
