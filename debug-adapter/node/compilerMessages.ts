/** What the compiler's thread is told, and what it answers. */
import type { CompiledJob } from '../../emulator-core/translate/region/compileJob';
import type { CompileJob } from '../../emulator-core/translate/region/jobWords';

/** `machine`: whose job it is; `id`: the machine's number of it. */
export interface CompileRequest {
  machine: number;
  id: number;
  job: CompileJob;
}

export interface CompileReply {
  machine: number;
  id: number;
  done: CompiledJob;
}
