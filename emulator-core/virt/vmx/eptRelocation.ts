/** EPT tables that come from elsewhere: checked, and moved to where they and guest memory are here. */
import { addressOf, EPT_PAGE, isLeaf, LEVEL_NAMES, SPANS } from './ept';

/** Host-physical addresses of the first page for tables, and of guest memory. */
export interface EptPlaces {
  tables: number;
  memory: number;
}

/**
 * Checks tables that an Ept had and moves their entries from where tables and guest memory were to where they are. Afterwards they map
 * nothing but guest memory.
 * @param tables all of the Ept's pages, the root first; entries are changed in place
 * @param size bytes of guest memory
 * @returns what is wrong with them; undefined: nothing
 */
export function relocateEpt(tables: Uint8Array, from: EptPlaces, to: EptPlaces, size: number): string | undefined {
  if (tables.length === 0 || tables.length % EPT_PAGE) return `EPT: ${tables.length} bytes are no whole tables`;
  const view = new DataView(tables.buffer, tables.byteOffset, tables.byteLength);
  const seen = new Set([0]);
  const moveTable = (table: number, level: number): string | undefined => {
    for (let entry = table; entry < table + EPT_PAGE; entry += 8) {
      const lo = view.getUint32(entry, true);
      const hi = view.getUint32(entry + 4, true);
      if (lo === 0 && hi === 0) continue;
      const what = `EPT: the ${LEVEL_NAMES[level]} at offset 0x${entry.toString(16)}`;
      const leaf = isLeaf(lo, level);
      const offset = addressOf(lo, hi) - (leaf ? from.memory : from.tables);
      if (leaf && (offset < 0 || offset % EPT_PAGE || offset + SPANS[level] > size))
        return `${what} maps no guest memory`;
      if (!leaf && (offset < 0 || offset % EPT_PAGE || offset + EPT_PAGE > tables.length || seen.has(offset))) {
        return `${what} refers to no table of its own`;
      }
      const target = offset + (leaf ? to.memory : to.tables);
      view.setUint32(entry, ((target & ~0xfff) | (lo & 0xfff)) >>> 0, true);
      view.setUint32(entry + 4, ((hi & ~0xfffff) | Math.floor(target / 0x100000000)) >>> 0, true);
      if (leaf) continue;
      seen.add(offset);
      const problem = moveTable(offset, level - 1);
      if (problem) return problem;
    }
    return undefined;
  };
  return moveTable(0, 4);
}
