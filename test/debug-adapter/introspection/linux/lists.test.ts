/** Lists of tasks and modules, and the ring of messages, in memory as kernels of several versions, and hostile ones, have it. */
import assert from 'node:assert/strict';
import { listMessages, messageLines } from '../../../../debug-adapter/introspection/linux/dmesg';
import { listModules, moduleLines } from '../../../../debug-adapter/introspection/linux/modules';
import { listTasks, stateLetter, taskLines } from '../../../../debug-adapter/introspection/linux/tasks';
import { BASE, KernelInMemory } from './kernelInMemory';

const [TASKS, THREAD, SIGNAL, COMM] = [0x20n, 0x30n, 0x48n, 0x50n];
const TASK = (n: number): bigint => BASE + 0x1000n + BigInt(n) * 0x100n;
const SIGNALS = (n: number): bigint => BASE + 0x4000n + BigInt(n) * 0x40n;

interface Made {
  pid: number;
  tgid?: number;
  parent?: number;
  state?: number;
  exit?: number;
  mm?: number;
  name: string;
  cpu?: number;
}

/** Tasks at TASK(0), TASK(1) and so on, without the links of lists. */
function withTasks(...tasks: Made[]): KernelInMemory {
  const kernel = new KernelInMemory()
    .struct('list_head', 16, [
      ['next', 8, 0],
      ['prev', 8, 8],
    ]) // prettier-ignore
    .struct('thread_info', 8, [['cpu', 4, 4]])
    .struct('signal_struct', 0x40, [['thread_head', 'list_head', 0x10]])
    .struct('task_struct', 0x80, [
      ['thread_info', 'thread_info', 0],
      ['__state', 4, 8],
      ['exit_state', 4, 0xc],
      ['pid', 4, 0x10],
      ['tgid', 4, 0x14],
      ['on_cpu', 4, 0x18],
      ['tasks', 'list_head', 0x20],
      ['thread_node', 'list_head', 0x30],
      ['mm', 8, 0x40],
      ['signal', 8, 0x48],
      ['comm', 16, 0x50],
      ['real_parent', 8, 0x60],
    ]);
  tasks.forEach(({ pid, tgid = pid, parent = 0, state = 0, exit = 0, mm = 0, name, cpu }, n) => {
    const at = TASK(n);
    const leader = tasks.findIndex((each) => each.pid === tgid);
    kernel
      .put(at + 4n, cpu ?? 0, 4)
      .put(at + 8n, state, 4)
      .put(at + 0xcn, exit, 4)
      .put(at + 0x10n, pid, 4)
      .put(at + 0x14n, tgid, 4)
      .put(at + 0x18n, cpu === undefined ? 0 : 1, 4)
      .put(at + 0x40n, mm)
      .put(at + SIGNAL, SIGNALS(leader))
      .text(at + COMM, name)
      .put(at + 0x60n, TASK(parent));
  });
  kernel.names.set('init_task', TASK(0));
  return kernel;
}

function threads(kernel: KernelInMemory, leader: number, ...others: number[]): KernelInMemory {
  return kernel.ring(SIGNALS(leader) + 0x10n, ...[leader, ...others].map((n) => TASK(n) + THREAD));
}

const processes = (kernel: KernelInMemory, ...list: number[]): KernelInMemory =>
  kernel.ring(...list.map((n) => TASK(n) + TASKS));

describe("a Linux kernel's tasks", () => {
  it('are its processes with their threads', async () => {
    const kernel = withTasks(
      { pid: 0, name: 'swapper/0' },
      { pid: 1, name: 'init', mm: 1, state: 1 },
      { pid: 2, name: 'kthreadd', state: 0x402 },
      { pid: 40, name: 'server', mm: 1, parent: 1, state: 0, cpu: 3 },
      { pid: 41, tgid: 40, name: 'worker', mm: 1, parent: 1, state: 2 },
      { pid: 50, name: '0123456789abcdef', parent: 1, exit: 0x20, state: 0x80 },
    );
    threads(threads(threads(threads(kernel, 0), 1), 2), 3, 4);
    kernel.put(TASK(5) + SIGNAL, 0);
    processes(kernel, 0, 1, 2, 3, 5);
    assert.deepEqual(
      (await listTasks(kernel.context())).map(({ pid, tgid, parent, state, cpu, kernelThread, name }) => [
        pid,
        tgid,
        parent,
        state,
        cpu,
        kernelThread,
        name,
      ]),
      [
        [0, 0, 0, 'R', undefined, true, 'swapper/0'],
        [1, 1, 0, 'S', undefined, false, 'init'],
        [2, 2, 0, 'I', undefined, true, 'kthreadd'],
        [40, 40, 1, 'R', 3, false, 'server'],
        [41, 40, 1, 'D', undefined, false, 'worker'],
        [50, 50, 1, 'Z', undefined, true, '0123456789abcdef'],
      ],
    );
    const lines = (await taskLines(kernel.context())).split('\n');
    assert.match(lines[0], /^ +PID +TGID +PPID STATE vCPU +task_struct +NAME$/);
    assert.match(lines[4], /^ +40 +40 +1 R +3 +0xffffffff82001300 +server$/);
    assert.match(lines[3], / \[kthreadd\]$/);
  });

  it('have the letters of /proc/PID/stat', () => {
    // Linux, fs/proc/array.c, task_state_array, and sched.h.
    const letters: [state: number, exit: number, letter: string][] = [
      [0, 0, 'R'], [1, 0, 'S'], [2, 0, 'D'], [4, 0, 'T'], [8, 0, 't'], [0x80, 0x10, 'X'], [0x80, 0x20, 'Z'],
      [0x40, 0, 'P'], [0x402, 0, 'I'], [0x1000, 0, 'D'], [0x101, 0, 'S'], [0x102, 0, 'D'], [0x200, 0, 'R'],
    ]; // prettier-ignore
    for (const [state, exit, letter] of letters)
      assert.equal(stateLetter(state, exit), letter, `0x${state.toString(16)}`);
  });

  it('of a hostile guest end, and control characters in names do nothing', async () => {
    const kernel = withTasks({ pid: 0, name: 'swapper' }, { pid: 1, name: 'a\x1b[2J' });
    threads(threads(kernel, 0), 1);
    processes(kernel, 0, 1);
    assert.match(await taskLines(kernel.context()), /\[a\\x1b\[2J\]$/);
    kernel.put(TASK(1) + TASKS, TASK(1) + TASKS);
    await assert.rejects(listTasks(kernel.context()), {
      message: 'info tasks: the list of tasks leads back to 0xffffffff82001120, not to its head',
    });
    kernel.put(TASK(1) + TASKS, 0x1234n);
    await assert.rejects(listTasks(kernel.context()), {
      message: "info tasks: struct task_struct at 0x1214 can't be read: 0x1214 is not mapped",
    });
    kernel.put(SIGNALS(1) + 0x10n, BASE - 8n);
    await assert.rejects(listTasks(kernel.context()), /struct task_struct at 0xffffffff81ffffc8 can't be read/);
  });

  it('need a symbol, types and members, and messages say which', async () => {
    const message = (text: string) => ({ message: `info tasks: expected ${text}` });
    const kernel = withTasks({ pid: 0, name: 'swapper' });
    kernel.names.clear();
    await assert.rejects(
      listTasks(kernel.context()),
      message('the symbol init_task, which this kernel has not (its table has data only with CONFIG_KALLSYMS_ALL)'),
    );
    const untyped = new KernelInMemory();
    untyped.names.set('init_task', TASK(0));
    await assert.rejects(
      listTasks(untyped.context()),
      message('the types of the kernel: BTF (CONFIG_DEBUG_INFO_BTF), or a vmlinux with debug information in "symbols"'),
    );
    untyped
      .struct('list_head', 16, [])
      .struct('task_struct', 8, [['pid', 4, 0]])
      .struct('signal_struct', 8, []);
    await assert.rejects(listTasks(untyped.context()), message('struct task_struct to have tasks, which it has not'));
  });

  it('can be given up', async () => {
    const kernel = processes(threads(withTasks({ pid: 0, name: 'swapper' }), 0), 0);
    await assert.rejects(listTasks(kernel.context({ signal: AbortSignal.abort() })), {
      message: 'info tasks: cancelled',
    });
  });
});

describe("a Linux kernel's modules", () => {
  const MODULE = (n: number): bigint => BASE + 0x1000n + BigInt(n) * 0x200n;
  const HEAD = BASE + 0x100n;

  function lists(kernel: KernelInMemory): KernelInMemory {
    kernel.names.set('modules', HEAD);
    ['virtio_net', 'net_failover'].forEach((name, n) => {
      kernel
        .put(MODULE(n), 0, 4)
        .text(MODULE(n) + 0x18n, name)
        .put(MODULE(n) + 0x1a0n, n + 1, 4);
    });
    kernel.ring(HEAD, MODULE(0) + 8n, MODULE(1) + 8n).ring(MODULE(0) + 0x190n);
    // net_failover is used by virtio_net.
    const use = BASE + 0x800n;
    return kernel
      .ring(MODULE(1) + 0x190n, use)
      .put(use + 0x20n, MODULE(0))
      .put(use + 0x28n, MODULE(1));
  }
  const common = (kernel: KernelInMemory): KernelInMemory =>
    kernel
      .struct('list_head', 16, [['next', 8, 0], ['prev', 8, 8]]) // prettier-ignore
      .struct('module_use', 0x30, [['source_list', 'list_head', 0], ['target_list', 'list_head', 16], ['source', 8, 0x20], ['target', 8, 0x28]]); // prettier-ignore
  const head: [string, number | string, number][] = [['state', 4, 0], ['list', 'list_head', 8], ['name', 56, 0x18]]; // prettier-ignore
  const tail: [string, number | string, number][] = [['source_list', 'list_head', 0x190], ['refcnt', 4, 0x1a0]]; // prettier-ignore
  const expected = [
    { name: 'virtio_net', size: 0x6000, references: 0, users: [], state: 'Live', base: 0xffffffffc0000000n },
    {
      name: 'net_failover',
      size: 0x5000,
      references: 1,
      users: ['virtio_net'],
      state: 'Live',
      base: 0xffffffffc0100000n,
    },
  ];

  it('are listed as lsmod does, before 6.4', async () => {
    const kernel = common(new KernelInMemory());
    kernel
      .struct('module_layout', 0x10, [
        ['base', 8, 0],
        ['size', 4, 8],
      ]) // prettier-ignore
      .struct('module', 0x1a8, [
        ...head,
        ['core_layout', 'module_layout', 0x60],
        ['init_layout', 'module_layout', 0x70],
        ...tail,
      ]);
    lists(kernel);
    expected.forEach(({ size, base }, n) => kernel.put(MODULE(n) + 0x60n, base).put(MODULE(n) + 0x68n, size, 4));
    assert.deepEqual(await listModules(kernel.context()), expected);
    const lines = (await moduleLines(kernel.context())).split('\n');
    assert.match(lines[0], /^Module +Size +State +Address +Used by$/);
    assert.match(lines[2], /^net_failover +20480 +Live +0xffffffffc0100000 +1 virtio_net$/);
  });

  it('and from 6.4 on, where each kind of memory is one of its own', async () => {
    const kernel = common(new KernelInMemory());
    kernel
      .struct('module_memory', 0x10, [
        ['base', 8, 0],
        ['size', 4, 8],
      ]) // prettier-ignore
      .array('memories', 'module_memory', 7)
      .struct('module', 0x1a8, [...head, ['mem', 'memories', 0x60], ...tail]);
    lists(kernel);
    expected.forEach(({ size, base }, n) =>
      kernel
        .put(MODULE(n) + 0x60n, base)
        .put(MODULE(n) + 0x68n, 0x1000, 4)
        .put(MODULE(n) + 0x60n + 6n * 16n + 8n, size - 0x1000, 4),
    );
    assert.deepEqual(await listModules(kernel.context()), expected);
  });

  it('may be none', async () => {
    const kernel = common(new KernelInMemory());
    kernel.struct('module_layout', 0x10, [['base', 8, 0], ['size', 4, 8]]); // prettier-ignore
    kernel.struct('module', 0x1a8, [...head, ['core_layout', 'module_layout', 0x60], ...tail]).ring(HEAD);
    kernel.names.set('modules', HEAD);
    assert.equal(await moduleLines(kernel.context()), 'no modules are loaded');
  });
});

describe("a Linux kernel's messages", () => {
  const RING = BASE + 0x200n;
  const [DESCS, INFOS, TEXT] = [BASE + 0x1000n, BASE + 0x2000n, BASE + 0x3000n];
  const FLAGS = 62n;

  /** 4 records and 64 bytes of text; ids `tail` to `head` of the ring. */
  function ring(tail: bigint, head: bigint): KernelInMemory {
    const kernel = new KernelInMemory()
      .struct('list_head', 16, [])
      .struct('prb_data_blk_lpos', 16, [['begin', 8, 0], ['next', 8, 8]]) // prettier-ignore
      .struct('prb_desc', 24, [['state_var', 8, 0], ['text_blk_lpos', 'prb_data_blk_lpos', 8]]) // prettier-ignore
      .struct('printk_info', 24, [['seq', 8, 0], ['ts_nsec', 8, 8], ['text_len', 2, 16], ['flags', 1, 19, 0, 5], ['level', 1, 19, 5, 3]]) // prettier-ignore
      .struct('prb_desc_ring', 40, [['count_bits', 4, 0], ['descs', 8, 8], ['infos', 8, 16], ['head_id', 8, 24], ['tail_id', 8, 32]]) // prettier-ignore
      .struct('prb_data_ring', 32, [['size_bits', 4, 0], ['data', 8, 8]]) // prettier-ignore
      .struct('printk_ringbuffer', 72, [['desc_ring', 'prb_desc_ring', 0], ['text_data_ring', 'prb_data_ring', 40]]); // prettier-ignore
    kernel.names.set('prb', BASE + 0x100n);
    kernel
      .put(BASE + 0x100n, RING)
      .put(RING, 2, 4)
      .put(RING + 8n, DESCS)
      .put(RING + 16n, INFOS);
    kernel
      .put(RING + 24n, head)
      .put(RING + 32n, tail | (3n << FLAGS))
      .put(RING + 40n, 6, 4)
      .put(RING + 48n, TEXT);
    return kernel;
  }

  interface Record {
    id: bigint;
    state?: bigint;
    text?: string;
    length?: number;
    /** Position of the text's block, and of what is behind it. */
    begin?: bigint;
    next?: bigint;
    time?: bigint;
    level?: number;
  }

  function record(
    kernel: KernelInMemory,
    { id, state = 2n, text = '', begin = 3n, next = 3n, time = 0n, level = 6, ...more }: Record,
  ): void {
    const index = id & 3n;
    kernel
      .put(DESCS + index * 24n, (state << FLAGS) | id)
      .put(DESCS + index * 24n + 8n, begin)
      .put(DESCS + index * 24n + 16n, next);
    const info = INFOS + index * 24n;
    kernel
      .put(info, id + 100n)
      .put(info + 8n, time)
      .put(info + 16n, more.length ?? text.length, 2)
      .put(info + 19n, level << 5, 1);
    if (text) {
      const at = begin / 64n === next / 64n || next % 64n === 0n ? begin % 64n : 0n;
      kernel.put(TEXT + at, id).text(TEXT + at + 8n, text);
    }
  }

  it('are those that are complete, with times as dmesg prints them', async () => {
    const kernel = ring(5n, 8n);
    record(kernel, { id: 5n, text: 'first\nof two', begin: 16n, next: 40n, time: 1_234_567_890n, level: 3 });
    record(kernel, { id: 6n, state: 0n, text: 'reserved', begin: 40n, next: 40n });
    record(kernel, { id: 7n, state: 1n, text: 'committed', begin: 40n, next: 64n, time: 61_000_000_999n });
    // Text that does not fit behind is at the beginning, as a whole.
    record(kernel, { id: 8n, text: 'wrap', begin: 96n, next: 144n, time: 12_345_678_000_000n });
    assert.deepEqual((await listMessages(kernel.context())).messages, [
      { seq: 105n, time: 1_234_567_890n, level: 3, text: 'first\nof two' },
      { seq: 107n, time: 61_000_000_999n, level: 6, text: 'committed' },
      { seq: 108n, time: 12_345_678_000_000n, level: 6, text: 'wrap' },
    ]);
  });

  it('have a time in front of each line, and may have no text', async () => {
    const kernel = ring(5n, 6n);
    record(kernel, { id: 5n, text: 'a\nb\x1b[0m', begin: 0n, next: 16n, time: 1_234_567_890n });
    record(kernel, { id: 6n, time: 61_000_000_999n });
    assert.equal(await messageLines(kernel.context()), '[    1.234567] a\n[    1.234567] b\\x1b[0m\n[   61.000000] ');
  });

  it('of a hostile guest end', async () => {
    // More ids than records; texts longer than their blocks, and blocks beyond the ring.
    const kernel = ring(0n, 10n);
    for (const id of [7n, 8n, 9n, 10n])
      record(kernel, { id, text: 'x', length: 0xffff, begin: 48n, next: id % 2n ? 16n : 60n });
    const found = (await listMessages(kernel.context())).messages;
    assert.deepEqual(found.map(({ text }) => text.length <= 64), [true, true, true, true]); // prettier-ignore
    kernel.put(RING + 40n, 63, 4);
    await assert.rejects(listMessages(kernel.context()), /2\^2 records and 2\^63 bytes of text: it is not set up/);
    kernel.put(RING + 40n, 6, 4).put(RING + 8n, 0x10n);
    await assert.rejects(listMessages(kernel.context()), {
      message: "info dmesg: struct prb_desc at 0x40 can't be read: 0x40 is not mapped",
    });
  });
});
