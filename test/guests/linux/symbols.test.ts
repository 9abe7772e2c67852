/**
 * Debian's cloud kernel as it comes, without any symbol file: symbols, KASLR and stacks. User space is a program that opens a file for ever.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { DebugClient } from '@vscode/debugadapter-testsupport';
import type { DebugProtocol as DAP } from '@vscode/debugprotocol';
import { embeddedEngine as engine } from '../../../debug-adapter/engines/embedded';
import { nodeHost } from '../../../debug-adapter/node/host';
import { serveSocket } from '../../../debug-adapter/node/server';
import { schema } from '../../debug-adapter/client';
import { initramfs, opensForEver } from './initramfs';
import { linuxKernel } from './kernel';

const ROOT_TEXT = 0xffffffff81000000n; // CONFIG_PHYSICAL_START above __START_KERNEL_map
const BOOT_TIME = 300_000;

interface Session {
  client: DebugClient;
  events: DAP.Event[];
  stop(action: () => Promise<unknown>): Promise<DAP.StoppedEvent['body']>;
  evaluate(expression: string): Promise<string>;
  frames(): Promise<DAP.StackFrame[]>;
  close(): Promise<void>;
}

async function session(): Promise<Session> {
  const server = await serveSocket({ engine, host: nodeHost, schema }, 0);
  const client = new DebugClient('node', '', 'ringside');
  await client.start((server.address() as { port: number }).port);
  client.defaultTimeout = BOOT_TIME;
  const events: DAP.Event[] = [];
  for (const name of ['stopped', 'breakpoint', 'module', 'output', 'terminated'])
    client.on(name, (event: DAP.Event) => events.push(event));
  return {
    client,
    events,
    async stop(action) {
      const stopped = client.waitForEvent('stopped', BOOT_TIME);
      await action();
      return (await stopped).body as DAP.StoppedEvent['body'];
    },
    async evaluate(expression) {
      return (await client.evaluateRequest({ expression, context: 'repl' })).body.result;
    },
    async frames() {
      return (await client.stackTraceRequest({ threadId: 1, levels: 50 })).body.stackFrames;
    },
    async close() {
      await client.stop().catch(() => undefined);
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

describe("Debian's cloud kernel without symbol files", function () {
  this.timeout(BOOT_TIME);
  let kernel: string;
  let folder: string;
  let initrd: string;

  before(function () {
    kernel = linuxKernel(this);
    folder = mkdtempSync(path.join(tmpdir(), 'ringside-linux-'));
    initrd = path.join(folder, 'initrd');
    writeFileSync(initrd, initramfs({ init: opensForEver.file }));
  });
  after(() => folder && rmSync(folder, { recursive: true }));

  async function begin(on: Session, cmdline: string, functions: string[]): Promise<DAP.Breakpoint[]> {
    const { client } = on;
    await client.initializeRequest({ adapterID: 'ringside', linesStartAt1: true, pathFormat: 'path' });
    const initialized = client.waitForEvent('initialized');
    await client.launchRequest({
      ...{ kernel, initrd, cmdline: `cryptomgr.notests ${cmdline}`, memory: '128M', stopOnEntry: false, record: false },
    } as DAP.LaunchRequestArguments);
    await initialized;
    const wanted = functions.map((name) => ({ name }));
    return (await client.setFunctionBreakpointsRequest({ breakpoints: wanted })).body.breakpoints;
  }

  it('stops at start_kernel with KASLR, names addresses, and follows a system call back to user space', async () => {
    const on = await session();
    try {
      const set = await begin(on, '', ['start_kernel', 'do_sys_openat2']);
      const first = await on.stop(() => on.client.configurationDoneRequest());
      assert.equal(first.reason, 'function breakpoint');
      assert.deepEqual(first.hitBreakpointIds, [set[0].id]);
      assert.equal(on.events.filter(({ event }) => event === 'stopped').length, 1, 'stops of its own are not shown');

      const rip = BigInt((await on.frames())[0].instructionPointerReference!);
      assert.equal((await on.frames())[0].name, 'start_kernel');
      const text = BigInt(/text: from (0x[0-9a-f]+)/.exec(await on.evaluate('info kernel'))![1]);
      const offset = text - ROOT_TEXT;
      assert.ok(offset > 0n && offset % 0x200000n === 0n, `KASLR offset 0x${offset.toString(16)}`);
      assert.match(await on.evaluate('info kernel'), new RegExp(`KASLR offset: 0x${offset.toString(16)}, found by`));
      assert.match(await on.evaluate('info symbol $rip'), /: start_kernel, /);
      assert.equal(await on.evaluate('p $rip == start_kernel'), '1');

      // Verified as soon as the names were known, and again at its place.
      const changes = on.events
        .filter(({ event, body }) => event === 'breakpoint' && body.breakpoint.id === set[0].id)
        .map(({ body }) => body.breakpoint as DAP.Breakpoint);
      const verified = [set[0], ...changes]
        .filter((each) => each.verified)
        .map(({ instructionReference }) => BigInt(instructionReference!));
      assert.deepEqual(verified.slice(-2), [rip - offset, rip]);

      assert.match(await on.evaluate('x/s linux_banner'), /: "Linux version \d+\.\d+\.\d+[^"]*\(debian-kernel@/);
      assert.match(await on.evaluate('disas'), /^=> 0xffffffff[0-9a-f]+ <start_kernel> /);
      const { modules } = (await on.client.modulesRequest({})).body;
      assert.ok(modules.some(({ name, symbolStatus }) => name === 'vmlinux (kallsyms)' && symbolStatus!.endsWith(`offset 0x${offset.toString(16)}`))); // prettier-ignore

      const second = await on.stop(() => on.client.continueRequest({ threadId: 1 }));
      assert.deepEqual(second.hitBreakpointIds, [set[1].id]);
      const frames = await on.frames();
      const names = frames.map(({ name }) => name.replace(/\+.*/, ''));
      assert.equal(names[0], 'do_sys_openat2');
      // Editors fold subtle frames away: only those that have no name are.
      for (const { name, presentationHint } of frames) {
        assert.equal(presentationHint, name.startsWith('0x') ? 'subtle' : undefined, name);
      }
      // Types from the image's BTF: do_sys_openat2(int dfd, const char *filename, struct open_how *how) of fs/open.c.
      const here = async (expression: string): Promise<string> =>
        (await on.client.evaluateRequest({ expression, frameId: frames[0].id, context: 'watch' })).body.result;
      const { scopes } = (await on.client.scopesRequest({ frameId: frames[0].id })).body;
      const scope = scopes.find(({ name }) => name === 'Arguments');
      assert.ok(scope, scopes.map(({ name }) => name).join());
      const { variables } = (await on.client.variablesRequest({ variablesReference: scope.variablesReference })).body;
      assert.deepEqual(
        variables.map(({ name, type }) => `${type} ${name}`),
        ['int dfd', 'const char * filename', 'struct open_how * how'],
      );
      assert.equal(await here('dfd'), '-100', 'AT_FDCWD');
      assert.match(await here('filename'), /"\/x"$/);
      assert.equal(await here('((struct open_how *)$rdx)->mode == how->mode'), '1');
      assert.equal(await here('sizeof(struct open_how)'), '24', 'include/uapi/linux/openat2.h');
      assert.equal(await here('((struct task_struct *)init_task)->comm'), '"swapper/0"');
      assert.ok(names.includes('do_syscall_64'), names.join());
      assert.equal(names[names.length - 2], 'entry_SYSCALL_64_after_hwframe');
      const user = frames[frames.length - 1];
      assert.equal(BigInt(user.instructionPointerReference!), opensForEver.afterSyscall);
      assert.equal(user.name, `0x${opensForEver.afterSyscall.toString(16)}`, 'user addresses have no name');
      const ofUser = async (expression: string): Promise<string> =>
        (await on.client.evaluateRequest({ expression, frameId: user.id, context: 'watch' })).body.result;
      assert.equal(BigInt(await ofUser('$rsp')), opensForEver.stack);
      assert.equal(BigInt(await ofUser('$rdi')), 0xffffff9cn, 'what the kernel saved of user space');

      // From the timer's interrupt in user mode: through the interrupt's entry to where the program was.
      await on.client.setFunctionBreakpointsRequest({ breakpoints: [{ name: 'update_process_times' }] });
      const interrupted = new Set<string>();
      for (let i = 0; i < 20 && interrupted.size < 2; i++) {
        await on.stop(() => on.client.continueRequest({ threadId: 1 }));
        const stack = await on.frames();
        assert.ok(stack.some(({ name }) => /^asm_(sysvec|common_interrupt)/.test(name)), stack.map(({ name }) => name).join()); // prettier-ignore
        const outermost = BigInt(stack[stack.length - 1].instructionPointerReference!);
        assert.ok(
          outermost >= opensForEver.entry && outermost <= opensForEver.afterSyscall,
          `0x${outermost.toString(16)}`,
        );
        interrupted.add(stack.some(({ name }) => /^entry_SYSCALL_64/.test(name)) ? 'kernel' : 'user');
      }
      assert.ok(interrupted.size > 0);
    } finally {
      await on.close();
    }
  });

  it('finds the offset 0 with nokaslr', async () => {
    const on = await session();
    try {
      await begin(on, 'nokaslr', ['start_kernel']);
      await on.stop(() => on.client.configurationDoneRequest());
      assert.match(await on.evaluate('info kernel'), /KASLR offset: 0x0, found by linux_banner/);
      assert.equal(await on.evaluate('p $rip == start_kernel'), '1');
      assert.match(await on.evaluate('info kernel'), /text: from 0xffffffff81000000/);
    } finally {
      await on.close();
    }
  });
});
