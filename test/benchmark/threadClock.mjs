/**
 * For `node --import`: performance.now() of the main thread is its own processor time, so that what it times does not count the time in
 * which it waited for a processor. Node's process.cpuUsage() is that of all threads; WASI's clocks are those of clock_gettime().
 */
import { isMainThread } from 'node:worker_threads';
import { WASI } from 'node:wasi';

/** WASI preview 1, "clockid": thread_cputime_id. */
const THREAD_CPUTIME = 3;
const NANOSECONDS = 1e6;

// (module (memory (export "memory") 1) (func (export "_initialize"))): clock_time_get() writes into a memory.
const MODULE =
  '0061736d01000000010401600000030201000503010001071802066d656d6f727902000b5f696e697469616c697a6500000a040102000b';

if (isMainThread) {
  const wasi = new WASI({ version: 'preview1' });
  const instance = new WebAssembly.Instance(new WebAssembly.Module(Buffer.from(MODULE, 'hex')));
  wasi.initialize(instance);
  const view = new BigUint64Array(instance.exports.memory.buffer);
  performance.now = () => {
    const error = wasi.wasiImport.clock_time_get(THREAD_CPUTIME, 1n, 0);
    if (error) throw new Error(`the thread has no clock of its own: WASI error ${error}`);
    return Number(view[0]) / NANOSECONDS;
  };
}
