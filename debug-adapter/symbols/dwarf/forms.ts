import { Form } from './constants';
import { Cursor } from './reader';

/** An attribute's value by class. DWARF 5, 7.5.5 "Classes and Forms". Index classes are resolved by the unit. */
export type AttributeValue =
  | { class: 'address'; value: bigint }
  | { class: 'addressIndex'; value: number }
  /** `size`: bytes of a DW_FORM_data<n>, whose sign is the reader's business; 0 where the form says it. */
  | { class: 'constant'; value: bigint; size: number }
  /** A DW_FORM_block or DW_FORM_exprloc: an expression or raw contents. */
  | { class: 'block'; value: Uint8Array }
  | { class: 'flag'; value: boolean }
  /** `unit`: relative to the unit's header; otherwise an offset in .debug_info. */
  | { class: 'reference'; value: number; unit: boolean }
  | { class: 'signature'; value: bigint }
  | { class: 'string'; value: string }
  | { class: 'stringOffset'; section: '.debug_str' | '.debug_line_str'; value: number }
  | { class: 'stringIndex'; value: number }
  | { class: 'sectionOffset'; value: number }
  | { class: 'listIndex'; value: number }
  /** In a supplementary file, which is not read. */
  | { class: 'elsewhere' };

/** What sizes of forms depend on. */
export interface FormContext {
  version: number;
  addressSize: number;
  is64: boolean;
}

/** Reads one value. `implicit` is the abbreviation's DW_FORM_implicit_const. */
export function readForm(cursor: Cursor, form: number, context: FormContext, implicit?: bigint): AttributeValue {
  switch (form) {
    case Form.addr:
      return { class: 'address', value: cursor.unsigned(context.addressSize) };
    case Form.data1:
      return { class: 'constant', value: BigInt(cursor.u8()), size: 1 };
    case Form.data2:
      return { class: 'constant', value: BigInt(cursor.u16()), size: 2 };
    case Form.data4:
      return { class: 'constant', value: BigInt(cursor.u32()), size: 4 };
    case Form.data8:
      return { class: 'constant', value: cursor.u64(), size: 8 };
    case Form.data16:
      return { class: 'block', value: cursor.bytes(16) };
    case Form.sdata:
      return { class: 'constant', value: cursor.slebBig(), size: 0 };
    case Form.udata:
      return { class: 'constant', value: cursor.ulebBig(), size: 0 };
    case Form.implicitConst:
      return { class: 'constant', value: implicit ?? 0n, size: 0 };
    case Form.string:
      return { class: 'string', value: cursor.string() };
    case Form.strp:
      return { class: 'stringOffset', section: '.debug_str', value: cursor.offset(context.is64) };
    case Form.lineStrp:
      return { class: 'stringOffset', section: '.debug_line_str', value: cursor.offset(context.is64) };
    case Form.strx:
    case Form.gnuStrIndex:
      return { class: 'stringIndex', value: cursor.uleb() };
    case Form.strx1:
      return { class: 'stringIndex', value: cursor.u8() };
    case Form.strx2:
      return { class: 'stringIndex', value: cursor.u16() };
    case Form.strx3:
      return { class: 'stringIndex', value: cursor.u24() };
    case Form.strx4:
      return { class: 'stringIndex', value: cursor.u32() };
    case Form.addrx:
    case Form.gnuAddrIndex:
      return { class: 'addressIndex', value: cursor.uleb() };
    case Form.addrx1:
      return { class: 'addressIndex', value: cursor.u8() };
    case Form.addrx2:
      return { class: 'addressIndex', value: cursor.u16() };
    case Form.addrx3:
      return { class: 'addressIndex', value: cursor.u24() };
    case Form.addrx4:
      return { class: 'addressIndex', value: cursor.u32() };
    case Form.block1:
      return { class: 'block', value: cursor.bytes(cursor.u8()) };
    case Form.block2:
      return { class: 'block', value: cursor.bytes(cursor.u16()) };
    case Form.block4:
      return { class: 'block', value: cursor.bytes(cursor.u32()) };
    case Form.block:
    case Form.exprloc:
      return { class: 'block', value: cursor.bytes(cursor.uleb()) };
    case Form.flag:
      return { class: 'flag', value: cursor.u8() !== 0 };
    case Form.flagPresent:
      return { class: 'flag', value: true };
    case Form.ref1:
      return { class: 'reference', value: cursor.u8(), unit: true };
    case Form.ref2:
      return { class: 'reference', value: cursor.u16(), unit: true };
    case Form.ref4:
      return { class: 'reference', value: cursor.u32(), unit: true };
    case Form.ref8:
      return { class: 'reference', value: cursor.offset(true), unit: true };
    case Form.refUdata:
      return { class: 'reference', value: cursor.uleb(), unit: true };
    case Form.refAddr:
      return { class: 'reference', value: readRefAddr(cursor, context), unit: false };
    case Form.refSig8:
      return { class: 'signature', value: cursor.u64() };
    case Form.secOffset:
      return { class: 'sectionOffset', value: cursor.offset(context.is64) };
    case Form.loclistx:
    case Form.rnglistx:
      return { class: 'listIndex', value: cursor.uleb() };
    case Form.indirect: {
      const actual = cursor.uleb();
      if (actual === Form.indirect || actual === Form.implicitConst) cursor.fail('a direct form');
      return readForm(cursor, actual, context);
    }
    default:
      skipForm(cursor, form, context);
      return { class: 'elsewhere' };
  }
}

/** DW_FORM_ref_addr had the size of an address in DWARF 2. */
function readRefAddr(cursor: Cursor, context: FormContext): number {
  return context.version <= 2 ? cursor.offset(context.addressSize === 8) : cursor.offset(context.is64);
}

/** Size in bytes of every value of a form; undefined when values say their own size. */
export function fixedSize(form: number, context: FormContext): number | undefined {
  switch (form) {
    case Form.implicitConst:
    case Form.flagPresent:
      return 0;
    case Form.data1:
    case Form.flag:
    case Form.ref1:
    case Form.strx1:
    case Form.addrx1:
      return 1;
    case Form.data2:
    case Form.ref2:
    case Form.strx2:
    case Form.addrx2:
      return 2;
    case Form.strx3:
    case Form.addrx3:
      return 3;
    case Form.data4:
    case Form.ref4:
    case Form.strx4:
    case Form.addrx4:
    case Form.refSup4:
      return 4;
    case Form.data8:
    case Form.ref8:
    case Form.refSig8:
    case Form.refSup8:
      return 8;
    case Form.data16:
      return 16;
    case Form.addr:
      return context.addressSize;
    case Form.strp:
    case Form.lineStrp:
    case Form.strpSup:
    case Form.secOffset:
    case Form.gnuRefAlt:
    case Form.gnuStrpAlt:
      return context.is64 ? 8 : 4;
    case Form.refAddr:
      return (context.version <= 2 ? context.addressSize === 8 : context.is64) ? 8 : 4;
    default:
      return undefined;
  }
}

/** Steps over one value. */
export function skipForm(cursor: Cursor, form: number, context: FormContext): void {
  const size = fixedSize(form, context);
  if (size !== undefined) return cursor.skip(size);
  switch (form) {
    case Form.sdata:
    case Form.udata:
    case Form.refUdata:
    case Form.strx:
    case Form.addrx:
    case Form.loclistx:
    case Form.rnglistx:
    case Form.gnuAddrIndex:
    case Form.gnuStrIndex:
      return cursor.skipLeb();
    case Form.string:
      return cursor.skipString();
    case Form.block1:
      return cursor.skip(cursor.u8());
    case Form.block2:
      return cursor.skip(cursor.u16());
    case Form.block4:
      return cursor.skip(cursor.u32());
    case Form.block:
    case Form.exprloc:
      return cursor.skip(cursor.uleb());
    case Form.indirect: {
      const actual = cursor.uleb();
      if (actual === Form.indirect || actual === Form.implicitConst) cursor.fail('a direct form');
      return skipForm(cursor, actual, context);
    }
    default:
      cursor.fail(`a known attribute form, not 0x${form.toString(16)},`);
  }
}
