/** What compiling has done for a machine. */
export interface CompileStatistics {
  /** Regions compiled, and instructions in them. */
  regions: number;
  instructions: number;
  /** Modules that present regions are in, and their bytes of WebAssembly. */
  bytes: number;
  modules: number;
  /** Regions given up because there were too many bytes or modules, or because their code changed. */
  evicted: number;
  dropped: number;
  /** What compiling took, and its longest piece: so long the guest, and who runs it, waited at once. Milliseconds; 0 without a clock. */
  milliseconds: number;
  longest: number;
}

/** Before anything has been compiled. */
export function noCompiling(): CompileStatistics {
  return {
    ...{ regions: 0, instructions: 0, bytes: 0, modules: 0, evicted: 0, dropped: 0 },
    ...{ milliseconds: 0, longest: 0 },
  };
}
