/** Modules of WebAssembly, as bytes. */
import { I32, type FunctionBody } from './wasm';
import { Bytes, uleb } from './wasmBytes';

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
  const out = new Bytes();
  out.append(Uint8Array.of(0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0));
  const section = (id: number, content: (bytes: Bytes) => void): void => {
    const bytes = new Bytes();
    content(bytes);
    out.push(id);
    uleb(out, bytes.length);
    out.append(bytes.view);
  };
  const text = (to: Bytes, s: string): void => {
    uleb(to, s.length);
    for (const ch of s) to.push(ch.charCodeAt(0));
  };
  // Type n: n i32 parameters -> i32, but type 0 is the handler type (2 parameters).
  const arity = [2, 0, 1, 2, 3, 4];
  const typeOf = (parameters: number): number => (parameters === 2 ? 0 : parameters + 1);
  section(1, (types) => {
    types.push(arity.length);
    for (const n of arity) {
      types.push(0x60, n);
      for (let i = 0; i < n; i++) types.push(I32);
      types.push(1, I32);
    }
  });

  section(2, (imports) => {
    uleb(imports, parts.imports.length + (parts.table ? 2 : 1));
    text(imports, 'env');
    text(imports, 'memory');
    imports.push(2, 0, 1);
    if (parts.table) {
      text(imports, 'env');
      text(imports, 'table');
      imports.push(1, 0x70, 0, 1);
    }
    for (const { name, parameters } of parts.imports) {
      text(imports, 'env');
      text(imports, name);
      imports.push(0, typeOf(parameters));
    }
  });

  section(3, (declarations) => {
    uleb(declarations, parts.functions.length);
    for (const { parameters } of parts.functions) declarations.push(typeOf(parameters));
  });

  section(7, (exported) => {
    uleb(exported, parts.exports.length);
    for (const { name, index } of parts.exports) {
      text(exported, name);
      exported.push(0);
      uleb(exported, index);
    }
  });

  const { table } = parts;
  if (table?.length) {
    section(9, (elements) => {
      elements.push(1, 0, 0x41, 0);
      elements.push(0x0b);
      uleb(elements, table.length);
      for (const index of table) uleb(elements, index);
    });
  }

  section(10, (code) => {
    uleb(code, parts.functions.length);
    for (const f of parts.functions) {
      const body = f.body();
      uleb(code, body.length + 1);
      code.append(body);
      code.push(0x0b);
    }
  });
  return out.view;
}
