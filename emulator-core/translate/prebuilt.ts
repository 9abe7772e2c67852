/**
 * Place of the handler module that the build has generated already. Here there is none: scripts/build.mjs puts its own version of
 * this file into the bundles, made by generateHandlers() from the same sources, so that a session starts at once.
 */

/** `module`: the WebAssembly bytes; `variants`: for each Code with handlers its number, then its table of variants. */
export interface PrebuiltHandlers {
  module: Uint8Array<ArrayBuffer>;
  variants: Int16Array;
  tableSize: number;
}

export const prebuilt: PrebuiltHandlers | undefined = undefined;
