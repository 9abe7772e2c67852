/**
 * The tasks of a stopped Linux kernel: init_task's list of processes, and each process's threads.
 * Source: Linux, include/linux/sched.h (task_struct, TASK_*), include/linux/sched/signal.h (signal_struct, for_each_thread),
 * fs/proc/array.c (the letters of states).
 */
import { KernelMemory, type Field, type KernelContext, type KernelObject, type Struct } from './kernelMemory';

/** Linux, include/linux/threads.h: PID_MAX_LIMIT of 64-bit kernels is 4 Mi; so many are not listed. */
const MOST = 1 << 16;

export interface Task {
  address: bigint;
  /** Of the thread; `tgid` is what user space calls process id. */
  pid: number;
  tgid: number;
  /** Process id of the parent. */
  parent: number;
  /** As ps has it: R running, S sleeping, D disk sleep, T stopped, t tracing stop, X dead, Z zombie, P parked, I idle. */
  state: string;
  /** vCPU that executes it now. */
  cpu?: number;
  /** Has no memory of its own. */
  kernelThread: boolean;
  name: string;
}

/** TASK_REPORT; the letter of the highest bit that is set. */
const REPORT = 0x7f;
const LETTERS = 'RSDTtXZP';
const TASK_UNINTERRUPTIBLE = 0x2;
/** TASK_UNINTERRUPTIBLE | TASK_NOLOAD */
const TASK_IDLE = 0x402;
const TASK_RTLOCK_WAIT = 0x1000;

/** @param state __state @param exit exit_state */
export function stateLetter(state: number, exit: number): string {
  if ((state & TASK_IDLE) === TASK_IDLE) return 'I';
  const seen = state & TASK_RTLOCK_WAIT ? TASK_UNINTERRUPTIBLE : (state | exit) & REPORT;
  return LETTERS[32 - Math.clz32(seen)];
}

interface Fields {
  task: Struct;
  tasks: Field;
  pid: Field;
  tgid: Field;
  parent: Field;
  state: Field;
  exit: Field;
  mm: Field;
  comm: Field;
  signal: Field;
  thread: Field;
  threads: Field;
  running?: Field;
  cpu?: Field;
}

function fieldsOf(memory: KernelMemory): Fields {
  const task = memory.struct('task_struct');
  const signals = memory.struct('signal_struct');
  return {
    task,
    tasks: task.field('tasks'),
    pid: task.field('pid'),
    tgid: task.field('tgid'),
    parent: task.field('real_parent'),
    // Before 5.14 it was `state`.
    state: task.find('__state') ?? task.field('state'),
    exit: task.field('exit_state'),
    mm: task.field('mm'),
    comm: task.field('comm'),
    signal: task.field('signal'),
    thread: task.field('thread_node'),
    threads: signals.field('thread_head'),
    // Kernels for one processor know without.
    running: task.find('on_cpu'),
    cpu: task.find('thread_info.cpu') ?? task.find('cpu'),
  };
}

/** All tasks, processes in the order of the kernel's list, a process's threads behind it. @throws Error that says what was expected */
export async function listTasks(context: KernelContext): Promise<Task[]> {
  const memory = new KernelMemory(context, 'info tasks');
  const first = memory.address('init_task');
  const fields = fieldsOf(memory);
  const { task, tasks, thread, threads, signal } = fields;
  const found: Task[] = [];
  const parents: bigint[] = [];
  /** Process ids by address. */
  const processes = new Map<bigint, number>();
  const add = (object: KernelObject): void => {
    found.push(describe(object, fields));
    parents.push(object.pointer(fields.parent));
    processes.set(object.address, found.at(-1)!.tgid);
  };
  const addAll = async (address: bigint): Promise<void> => {
    const leader = await memory.object(task, address);
    add(leader);
    const head = leader.pointer(signal) + BigInt(threads.offset);
    // A process that is being taken down has no signal_struct any more.
    if (leader.pointer(signal) === 0n) return;
    for await (const one of memory.list(
      head,
      thread.offset,
      MOST,
      `the list of threads of process ${found.at(-1)!.pid}`,
    )) {
      if (one === address) continue;
      add(await memory.object(task, one));
      if (found.length > MOST) throw new Error(`info tasks: more than ${MOST} tasks`);
    }
  };
  await addAll(first);
  for await (const one of memory.list(first + BigInt(tasks.offset), tasks.offset, MOST, 'the list of tasks'))
    await addAll(one);
  found.forEach((each, i) => (each.parent = processes.get(parents[i]) ?? 0));
  return found;
}

function describe(object: KernelObject, fields: Fields): Task {
  const { running, cpu } = fields;
  const executes = running && cpu && object.number(running) === 1;
  return {
    address: object.address,
    pid: object.signed(fields.pid),
    tgid: object.signed(fields.tgid),
    parent: 0,
    state: stateLetter(object.number(fields.state), object.number(fields.exit)),
    ...(executes ? { cpu: object.number(cpu) } : {}),
    kernelThread: object.pointer(fields.mm) === 0n,
    name: object.text(fields.comm),
  };
}

/** A line for each: kernel threads in brackets, as ps has them, threads of a process by their own names. */
export async function taskLines(context: KernelContext): Promise<string> {
  const lines = (await listTasks(context)).map(({ pid, tgid, parent, state, cpu, kernelThread, name, address }) =>
    [
      String(pid).padStart(7),
      String(tgid).padStart(7),
      String(parent).padStart(7),
      state.padEnd(5),
      (cpu === undefined ? '' : String(cpu)).padStart(4),
      ` 0x${address.toString(16).padStart(context.wide ? 16 : 8, '0')} `,
      kernelThread ? `[${name}]` : name,
    ].join(' '),
  );
  const task = ' task_struct'.padEnd(context.wide ? 20 : 12);
  return [`${'PID'.padStart(7)} ${'TGID'.padStart(7)} ${'PPID'.padStart(7)} STATE vCPU ${task} NAME`, ...lines].join(
    '\n',
  );
}
