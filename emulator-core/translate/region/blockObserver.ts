/** For tests of the compiler: somebody who looks at the vCPU wherever a block of compiled code begins. */
import { encodeModule } from '../wasmModule';

/**
 * @param uop micro-op that the block begins at. The vCPU's registers, flags and ripBase are what the interpreter would have there, and the
 * block has been charged; State.rip is not set
 */
export type BlockObserver = (uop: number) => void;

/** The observer as a function for the table of handlers. */
export function observerFunction(memory: WebAssembly.Memory, observer: BlockObserver): WebAssembly.ExportValue {
  const name = 'observe';
  const bytes = encodeModule({
    imports: [{ name, parameters: 2 }],
    functions: [],
    exports: [{ name, index: 0 }],
  });
  const observe = (uop: number): number => {
    observer(uop);
    return 0;
  };
  return new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory, observe } }).exports[name];
}
