/** A compiler elsewhere, as machines see it: what it is sent comes back after a while, as it would from a thread of its own. */
import { handlerModule } from '../../emulator-core/translate/handlerModule';
import { JobCompiler, type CompiledJob, type RegionCompiler } from '../../emulator-core/translate/region/compileJob';

export class SlowCompiler implements RegionCompiler {
  private readonly compiler = new JobCompiler(handlerModule().handlers);
  private readonly queue: { id: number; done: CompiledJob }[] = [];
  private looks = 0;
  jobs = 0;
  /** It does nothing any more. */
  failed = false;
  /** Called with what each job became. */
  onDone: (done: CompiledJob) => void = () => {};

  /** @param delay looks for something finished, of which all but the last find nothing */
  constructor(private readonly delay: number) {}

  compile(id: number, job: Parameters<RegionCompiler['compile']>[1]): void {
    if (this.failed) return;
    this.jobs++;
    const done = this.compiler.run(structuredClone(job));
    this.onDone(done);
    this.queue.push({ id, done });
  }

  finished(): ReturnType<RegionCompiler['finished']> {
    if (this.failed) return 'failed';
    if (++this.looks % this.delay) return undefined;
    return this.queue.shift();
  }
}
