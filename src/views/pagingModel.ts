/**
 * Rows of a paging-structure tree. A table of 512 entries becomes a handful of rows: neighbours that map neighbouring
 * pages alike are one row. No vscode here: tested without an editor.
 */
import { addressRange, byteSize, hex } from '../format';
import type { PagingEntry } from '../wire';

/** One entry, or a run of leaf entries that differ only in their (consecutive) addresses. */
export interface PagingRow {
  entries: PagingEntry[];
  /** Entries that differ from what the previous stop showed at the same place. */
  changed: number;
}

/** What is the same for two entries of one run. */
function kindOf(entry: PagingEntry): string {
  return [entry.level, entry.permissions, entry.memoryType, entry.accessed, entry.dirty, ...entry.flags].join(' ');
}

/**
 * Merges runs.
 * @param entries one table's present entries, by ascending index
 * @param isChanged whether an entry counts as changed since the previous stop
 */
export function pagingRows(entries: PagingEntry[], isChanged: (entry: PagingEntry) => boolean): PagingRow[] {
  const rows: PagingRow[] = [];
  for (const entry of entries) {
    const row = rows.at(-1);
    const last = row?.entries.at(-1);
    const continues =
      row &&
      last &&
      entry.leaf &&
      last.leaf &&
      entry.index === last.index + 1 &&
      entry.target === last.target + last.span &&
      kindOf(entry) === kindOf(last);
    if (continues) row.entries.push(entry);
    else rows.push({ entries: [entry], changed: 0 });
    if (isChanged(entry)) rows.at(-1)!.changed++;
  }
  return rows;
}

/** 'AD', 'A-', '--'. */
export function accessedDirty(entry: PagingEntry): string {
  if (!entry.leaf) return entry.accessed ? 'A' : '-';
  return (entry.accessed ? 'A' : '-') + (entry.dirty ? 'D' : '-');
}

/** First and last address that a row maps. */
export function rowRange(row: PagingRow): [first: bigint, last: bigint] {
  const last = row.entries.at(-1)!;
  return [row.entries[0].address, last.address + last.span - 1n];
}

/** 'rwx WB AD · 512 × 4K → 0x00200000', 'rw- U A · PDPTE → table 0x2000'. */
export function rowDescription(row: PagingRow): string {
  const [entry] = row.entries;
  const parts = [
    entry.permissions,
    entry.memoryType,
    ...entry.flags.filter((flag) => shortFlags.has(flag.split('=')[0])),
  ];
  parts.push(accessedDirty(entry));
  const times = row.entries.length > 1 ? `${row.entries.length} × ` : '';
  const what = entry.leaf
    ? `${times}${byteSize(entry.span)} → ${hex(entry.target)}`
    : `${entry.level.replace(/^EPT /, '')} → ${hex(entry.target)}`;
  return `${parts.filter(Boolean).join(' ')} · ${what}${changeMark(row)}`;
}

/** Flags worth a place in the row; the tooltip has them all. */
const shortFlags = new Set(['U', 'G', 'PK', 'IPAT', 'SVE', 'XU']);

function changeMark(row: PagingRow): string {
  if (!row.changed) return '';
  return row.entries.length === 1 ? ' · changed' : ` · ${row.changed} changed`;
}

/** The row's address range, short. */
export function rowLabel(row: PagingRow): string {
  return addressRange(...rowRange(row));
}

/** Everything about one entry, as Markdown. */
export function entryDetails(entry: PagingEntry): string {
  const lines = [
    `**${entry.level}[${entry.index}]** maps ${hex(entry.address)}–${hex(entry.address + entry.span - 1n)} (${byteSize(entry.span)})`,
    '',
    '|||',
    '|-|-|',
    `|Entry|\`${hex(entry.raw, 16)}\` at physical \`${hex(entry.entryAddress)}\`|`,
    `|${entry.leaf ? 'Page' : 'Next table'}|\`${hex(entry.target)}\`|`,
    `|Permissions|\`${entry.permissions}\`|`,
  ];
  if (entry.memoryType) lines.push(`|Memory type|${entry.memoryType}|`);
  lines.push(`|Accessed|${entry.accessed ? 'yes' : 'no'}|`);
  if (entry.leaf) lines.push(`|Dirty|${entry.dirty ? 'yes' : 'no'}|`);
  lines.push(`|Bits set|${entry.flags.length ? entry.flags.join(', ') : 'no others'}|`);
  return lines.join('\n');
}

/** The row among `rows` that maps `address`. */
export function findRow(rows: PagingRow[], address: bigint): PagingRow | undefined {
  return rows.find((row) => {
    const [first, last] = rowRange(row);
    return first <= address && address <= last;
  });
}

/**
 * Remembers entries from stop to stop to tell which have changed. A table that was never looked at has nothing to
 * compare with: its entries are not changed.
 */
export class EntryHistory {
  private readonly tables = new Map<string, { stop: number; entries: Map<bigint, bigint>; changed: Set<bigint> }>();

  /**
   * Takes in a table as read at a stop; the answer tells changed entries (also new ones) by their own address.
   * @param table any name of the table that stays the same from stop to stop
   * @param stop running number of the stop
   */
  update(table: string, stop: number, entries: PagingEntry[]): (entry: PagingEntry) => boolean {
    const now = new Map(entries.map((entry) => [entry.entryAddress, entry.raw]));
    const before = this.tables.get(table);
    let changed = before?.stop === stop ? before.changed : new Set<bigint>();
    if (before && before.stop !== stop) {
      changed = new Set([...now].filter(([at, raw]) => before.entries.get(at) !== raw).map(([at]) => at));
    }
    this.tables.set(table, { stop, entries: now, changed });
    return (entry) => changed.has(entry.entryAddress);
  }

  /** For an entry of a table that `update` has taken in at this stop. */
  isChanged(entry: PagingEntry): boolean {
    return [...this.tables.values()].some((table) => table.changed.has(entry.entryAddress));
  }
}
