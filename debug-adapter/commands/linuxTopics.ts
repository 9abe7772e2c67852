/** `info tasks`, `info modules` and `info dmesg`: what a stopped Linux kernel has in its memory, as its own tools print it. */
import { messageLines } from '../introspection/linux/dmesg';
import type { KernelContext } from '../introspection/linux/kernelMemory';
import { moduleLines } from '../introspection/linux/modules';
import { taskLines } from '../introspection/linux/tasks';
import type { CommandContext, Topic } from './commands';

/** @throws Error while it is not known where the kernel is */
function kernelContext({ debuggee, frame, signal }: CommandContext, what: string): KernelContext {
  const { target, symbols, kernel } = debuggee;
  if (symbols.loading) throw new Error(`${what}: ${symbols.loading}: wait for their end`);
  if (kernel.image && !kernel.place)
    throw new Error(`${what}: the kernel does not run at its virtual address yet, see 'info kernel'`);
  const { cpu } = frame.activation;
  return { target, symbols, cpu, wide: kernel.image?.signature.wide ?? target.bitness(cpu) === 64, signal };
}

const topic = (name: string, help: string, lines: (context: KernelContext) => Promise<string>): Topic => ({
  name,
  help,
  run: (context) => lines(kernelContext(context, `info ${name}`)),
});

export const LINUX_TOPICS: readonly Topic[] = [
  topic('tasks', "the Linux kernel's processes and threads: ids, states, which of them the vCPUs execute", taskLines),
  topic('modules', "the Linux kernel's modules: sizes, addresses, who uses them", moduleLines),
  topic('dmesg', "the Linux kernel's messages", messageLines),
];
