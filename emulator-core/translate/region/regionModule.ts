import { REGION_IMPORTS } from '../abi';
import type { FunctionBody } from '../wasm';
import { encodeModule } from '../wasmModule';

/** A module of regions, exported as r0, r1, ... */
export function encodeRegions(functions: readonly FunctionBody[]): Uint8Array<ArrayBuffer> {
  return encodeModule({
    imports: REGION_IMPORTS,
    functions,
    exports: functions.map((_, i) => ({ name: `r${i}`, index: REGION_IMPORTS.length + i })),
  });
}
