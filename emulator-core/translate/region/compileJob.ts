/**
 * Regions as a task for elsewhere: what is to be compiled as plain data, which a thread of its own can be sent, and what comes back.
 * The thread sees no guest and no machine, only copies of the micro-ops that the regions are of.
 */
import { Uop } from '../../cpu/layout';
import type { HandlerModule } from '../handlers';
import type { Fn } from '../wasm';
import { compileRegion } from './regionFunction';
import { encodeRegions } from './regionModule';
import { JobReader, placeUops, type CompileJob } from './jobWords';
import { CompiledForms, type PlanSource, type UopMemory } from './regionPlan';

export type JobOutcome = 'compiled' | 'plan again' | 'nothing';

export interface CompiledJob {
  /** Of each plan. */
  outcomes: JobOutcome[];
  /** The module of those compiled, r0 and so on in their order; absent when there are none. */
  module?: WebAssembly.Module;
  bytes: number;
  /** Code and handler of what turned out not to be for compiling. */
  refused: [code: number, handler: number][];
}

/** Someone who compiles while the machine goes on. What comes back, and when, changes nothing that a guest or a debugger sees. */
export interface RegionCompiler {
  compile(id: number, job: CompileJob): void;
  /** A job that is done; undefined: none now. 'failed': there will be none any more. */
  finished(): { id: number; done: CompiledJob } | 'failed' | undefined;
}

/** Does jobs, one after the other. */
export class JobCompiler implements PlanSource {
  readonly forms: CompiledForms;
  /** Micro-ops lie where they do in their machine; what no job has is never touched, and takes no memory. */
  memory: UopMemory = views(0);
  private size = 0;

  constructor(handlers: HandlerModule['handlers']) {
    this.forms = new CompiledForms(handlers);
  }

  handler(uop: number): number {
    return this.memory.i32[(uop + Uop.handler) >> 2];
  }

  run(job: CompileJob): CompiledJob {
    if (job.end > this.size) this.memory = views((this.size = job.end));
    placeUops(job, this.memory);
    const functions: Fn[] = [];
    const refused: CompiledJob['refused'] = [];
    this.forms.onRefused = (code, handler) => refused.push([code, handler]);
    const reader = new JobReader(job.plans);
    const outcomes = Array.from({ length: job.count }, (): JobOutcome => {
      const made = compileRegion(this, reader.plan());
      if (typeof made === 'string') return made;
      functions.push(made);
      return 'compiled';
    });
    if (!functions.length) return { outcomes, bytes: 0, refused };
    const bytes = encodeRegions(functions);
    return { outcomes, module: new WebAssembly.Module(bytes), bytes: bytes.length, refused };
  }
}

function views(bytes: number): UopMemory {
  const buffer = new ArrayBuffer(bytes);
  return {
    u8: new Uint8Array(buffer),
    u16: new Uint16Array(buffer),
    i32: new Int32Array(buffer),
    i64: new BigInt64Array(buffer),
  };
}
