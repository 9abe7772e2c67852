/** The thread that compiles regions, for all machines of the process: see compiler.ts. */
import { workerData, type MessagePort } from 'node:worker_threads';
import { handlerModule } from '../../emulator-core/translate/handlerModule';
import { JobCompiler } from '../../emulator-core/translate/region/compileJob';
import type { CompileReply, CompileRequest } from './compilerMessages';
import { lowerThisThread } from './priority';

lowerThisThread();
const port = workerData as MessagePort;
const compiler = new JobCompiler(handlerModule().handlers);
port.on('message', ({ machine, id, job }: CompileRequest) => {
  const reply: CompileReply = { machine, id, done: compiler.run(job) };
  port.postMessage(reply);
});
