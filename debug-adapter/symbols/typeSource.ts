import type { Type } from './dwarf/types';

export interface FunctionPrototype {
  result: Type;
  parameters: { name: string; type: Type }[];
  variadic: boolean;
}

/** Types that come without places: those of a kernel's BTF. What is asked for before `prepare` has ended waits for it. */
export interface TypeSource {
  /** Where they are from, for messages. */
  readonly name: string;
  /** Reads what lookups by name need. */
  prepare(): Generator<void, void>;
  /** Whether `prepare` has nothing left to do. */
  readonly ready: boolean;
  /** What could not be understood. */
  readonly warnings: readonly string[];
  /** A type by its name, without a keyword; `keyword`: only one of that kind. */
  findType(name: string, keyword?: string): Type | undefined;
  /** Value of an enumerator. */
  findEnumerator(name: string): bigint | undefined;
  /** Undefined also when functions of that name differ. */
  functionPrototype(name: string): FunctionPrototype | undefined;
}
