import { Attribute } from './constants';
import { AttributeValue } from './forms';
import { Cursor } from './reader';
import { AddressRange } from './sections';
import { Die, Unit } from './unit';

/** Most entries taken from one list; real lists have a few, or thousands for a whole unit. */
const MAX_ENTRIES = 65_536;

function maxAddress(unit: Unit): bigint {
  return (1n << BigInt(unit.addressSize * 8)) - 1n;
}

/** How many list entries a caller will still take; lists that many DIEs share cannot make work without end. */
export interface ListBudget {
  left: number;
}

/** The address ranges of a DIE from DW_AT_ranges or DW_AT_low_pc and DW_AT_high_pc; empty ranges are left out. */
export function dieRanges(die: Die, budget: ListBudget = { left: MAX_ENTRIES }): AddressRange[] {
  const { unit, attributes } = die;
  const ranges = attributes.get(Attribute.ranges);
  if (ranges) {
    if (budget.left <= 0) return [];
    const list = readRanges(unit, ranges);
    budget.left -= list.length;
    return list.filter(([low, high]) => low < high && isPlaced(unit, low));
  }
  const low = unit.address(attributes.get(Attribute.lowPc));
  const highPc = attributes.get(Attribute.highPc);
  if (low === undefined || !highPc || !isPlaced(unit, low)) return [];
  const high = highPc.class === 'constant' ? low + highPc.value : unit.address(highPc);
  return high !== undefined && low < high && high <= maxAddress(unit) + 1n ? [[low, high]] : [];
}

/** False for addresses that linkers give to discarded code: 0 (or 1, in .debug_ranges), -1 and -2. */
export function isPlaced(unit: Unit, address: bigint): boolean {
  if (address <= 1n) return unit.sections.codeAtZero;
  return address < maxAddress(unit) - 1n;
}

function readRanges(unit: Unit, value: AttributeValue): AddressRange[] {
  if (unit.version < 5) {
    const offset = unit.sectionOffset(value);
    return offset === undefined ? [] : unit.read('.debug_ranges', offset, (cursor) => readRangesV4(unit, cursor));
  }
  const offset = listOffset(unit, value, '.debug_rnglists', Attribute.rnglistsBase);
  return offset === undefined ? [] : unit.read('.debug_rnglists', offset, (cursor) => readRangesV5(unit, cursor));
}

/** DWARF 4, 2.17.3 "Non-Contiguous Address Ranges". */
function readRangesV4(unit: Unit, cursor: Cursor): AddressRange[] {
  const result: AddressRange[] = [];
  let base = unit.lowPc;
  for (let i = 0; i < MAX_ENTRIES; i++) {
    const low = cursor.unsigned(unit.addressSize);
    const high = cursor.unsigned(unit.addressSize);
    if (low === 0n && high === 0n) break;
    if (low === maxAddress(unit)) base = high;
    else result.push([base + low, base + high]);
  }
  return result;
}

/** Where a list of .debug_rnglists or .debug_loclists is, given by offset or index. DWARF 5, 7.28 and 7.29. */
function listOffset(unit: Unit, value: AttributeValue, section: string, baseAttribute: number): number | undefined {
  if (value.class !== 'listIndex') return unit.sectionOffset(value);
  const base = unit.sectionOffset(unit.root.attributes.get(baseAttribute)) ?? (unit.is64 ? 20 : 12);
  return base + unit.read(section, base + value.value * (unit.is64 ? 8 : 4), (cursor) => cursor.offset(unit.is64));
}

/** DW_RLE_*. DWARF 5, 7.25 "Range List Entries". */
function readRangesV5(unit: Unit, cursor: Cursor): AddressRange[] {
  const result: AddressRange[] = [];
  let base = unit.lowPc;
  for (let i = 0; i < MAX_ENTRIES; i++) {
    switch (cursor.u8()) {
      case 0: // end_of_list
        return result;
      case 1: // base_addressx
        base = unit.indexedAddress(cursor.uleb());
        break;
      case 2: // startx_endx
        result.push([unit.indexedAddress(cursor.uleb()), unit.indexedAddress(cursor.uleb())]);
        break;
      case 3: {
        // startx_length
        const low = unit.indexedAddress(cursor.uleb());
        result.push([low, low + cursor.ulebBig()]);
        break;
      }
      case 4: // offset_pair
        result.push([base + cursor.ulebBig(), base + cursor.ulebBig()]);
        break;
      case 5: // base_address
        base = cursor.unsigned(unit.addressSize);
        break;
      case 6: // start_end
        result.push([cursor.unsigned(unit.addressSize), cursor.unsigned(unit.addressSize)]);
        break;
      case 7: {
        // start_length
        const low = cursor.unsigned(unit.addressSize);
        result.push([low, low + cursor.ulebBig()]);
        break;
      }
      default:
        cursor.position--;
        cursor.fail('a range list entry');
    }
  }
  return result;
}

/** The location expression that a location list gives for `pc` (address as linked); undefined when none does. */
export function locationAt(unit: Unit, value: AttributeValue, pc: bigint): Uint8Array | undefined {
  if (unit.version >= 5) {
    const offset = listOffset(unit, value, '.debug_loclists', Attribute.loclistsBase);
    if (offset === undefined) return undefined;
    return unit.read('.debug_loclists', offset, (cursor) => findLocationV5(unit, cursor, pc));
  }
  const offset = unit.sectionOffset(value);
  if (offset === undefined) return undefined;
  return unit.read('.debug_loc', offset, (cursor) => findLocationV4(unit, cursor, pc));
}

/** DWARF 4, 2.6.2 "Location Lists". */
function findLocationV4(unit: Unit, cursor: Cursor, pc: bigint): Uint8Array | undefined {
  let base = unit.lowPc;
  for (let i = 0; i < MAX_ENTRIES; i++) {
    const low = cursor.unsigned(unit.addressSize);
    const high = cursor.unsigned(unit.addressSize);
    if (low === 0n && high === 0n) return undefined;
    if (low === maxAddress(unit)) {
      base = high;
      continue;
    }
    const expression = cursor.bytes(cursor.u16());
    if (pc >= base + low && pc < base + high) return expression;
  }
  return undefined;
}

/** DW_LLE_*. DWARF 5, 7.7.3 "Location Lists". */
function findLocationV5(unit: Unit, cursor: Cursor, pc: bigint): Uint8Array | undefined {
  let base = unit.lowPc;
  let fallback: Uint8Array | undefined;
  for (let i = 0; i < MAX_ENTRIES; i++) {
    let low = 0n;
    let high = 0n;
    const kind = cursor.u8();
    switch (kind) {
      case 0: // end_of_list
        return fallback;
      case 1: // base_addressx
        base = unit.indexedAddress(cursor.uleb());
        continue;
      case 2: // startx_endx
        low = unit.indexedAddress(cursor.uleb());
        high = unit.indexedAddress(cursor.uleb());
        break;
      case 3: // startx_length
        low = unit.indexedAddress(cursor.uleb());
        high = low + cursor.ulebBig();
        break;
      case 4: // offset_pair
        low = base + cursor.ulebBig();
        high = base + cursor.ulebBig();
        break;
      case 5: // default_location
        break;
      case 6: // base_address
        base = cursor.unsigned(unit.addressSize);
        continue;
      case 7: // start_end
        low = cursor.unsigned(unit.addressSize);
        high = cursor.unsigned(unit.addressSize);
        break;
      case 8: // start_length
        low = cursor.unsigned(unit.addressSize);
        high = low + cursor.ulebBig();
        break;
      case 9: // GNU view_pair: numbers of views, of no use here
        cursor.skipLeb();
        cursor.skipLeb();
        continue;
      default:
        cursor.position--;
        cursor.fail('a location list entry');
    }
    const expression = cursor.bytes(cursor.uleb());
    if (kind === 5) fallback = expression;
    else if (pc >= low && pc < high) return expression;
  }
  return fallback;
}
