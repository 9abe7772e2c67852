/** Modules of WebAssembly, as bytes. */
import { I32, uleb, type FunctionBody } from './wasm';

export interface ModuleParts {
  /** Parameter counts (all i32 -> i32) of imported functions, in index order, with their names in module 'env'. */
  imports: { name: string; parameters: number }[];
  functions: readonly FunctionBody[];
  exports: { name: string; index: number }[];
  /** Function indices to place into the table from 0; absent: the module knows of no table. */
  table?: number[];
}

/** Encodes a module that imports `env.memory` and, when it has to do with one, `env.table` (function references). */
export function encodeModule(parts: ModuleParts): Uint8Array<ArrayBuffer> {
  const out: number[] = [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
  const section = (id: number, content: number[]): void => {
    out.push(id);
    uleb(out, content.length);
    for (const byte of content) out.push(byte);
  };
  const text = (to: number[], s: string): void => {
    uleb(to, s.length);
    for (const ch of s) to.push(ch.charCodeAt(0));
  };
  // Type n: n i32 parameters -> i32, but type 0 is the handler type (2 parameters).
  const arity = [2, 0, 1, 2, 3, 4];
  const typeOf = (parameters: number): number => (parameters === 2 ? 0 : parameters + 1);
  const types: number[] = [arity.length];
  for (const n of arity) types.push(0x60, n, ...new Array<number>(n).fill(I32), 1, I32);
  section(1, types);

  const imports: number[] = [];
  uleb(imports, parts.imports.length + (parts.table ? 2 : 1));
  text(imports, 'env');
  text(imports, 'memory');
  imports.push(2, 0, 1);
  if (parts.table) {
    text(imports, 'env');
    text(imports, 'table');
    imports.push(1, 0x70, 0, 1);
  }
  for (const f of parts.imports) {
    text(imports, 'env');
    text(imports, f.name);
    imports.push(0, typeOf(f.parameters));
  }
  section(2, imports);

  const declarations: number[] = [];
  uleb(declarations, parts.functions.length);
  for (const f of parts.functions) declarations.push(typeOf(f.parameters));
  section(3, declarations);

  const exported: number[] = [];
  uleb(exported, parts.exports.length);
  for (const e of parts.exports) {
    text(exported, e.name);
    exported.push(0);
    uleb(exported, e.index);
  }
  section(7, exported);

  if (parts.table?.length) {
    const elements: number[] = [1, 0, 0x41, 0, 0x0b];
    uleb(elements, parts.table.length);
    for (const index of parts.table) uleb(elements, index);
    section(9, elements);
  }

  // The code section is by far the largest: its pieces are copied once, into place.
  const pieces: ArrayLike<number>[] = [];
  const count: number[] = [];
  uleb(count, parts.functions.length);
  let size = count.length;
  for (const { head, code } of parts.functions) {
    const prefix: number[] = [];
    uleb(prefix, head.length + code.length + 1);
    pieces.push(prefix, head, code);
    size += prefix.length + head.length + code.length + 1;
  }
  out.push(10);
  uleb(out, size);
  out.push(...count);
  const bytes = new Uint8Array(out.length + size - count.length);
  bytes.set(out);
  let at = out.length;
  for (let i = 0; i < pieces.length; i++) {
    bytes.set(pieces[i], at);
    at += pieces[i].length;
    if (i % 3 === 2) bytes[at++] = 0x0b;
  }
  return bytes;
}
