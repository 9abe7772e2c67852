import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { guest, hello, refusal, spawnAdapter, withAdapter } from './adapter';

describe('bad input over stdio', () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'ringside-'));
  });
  after(() => rm(folder, { recursive: true }));

  async function file(name: string, bytes: Uint8Array): Promise<string> {
    const full = path.join(folder, name);
    await writeFile(full, bytes);
    return full;
  }

  /** Launches that must fail, all in one adapter: a launch that failed leaves it ready for the next. */
  it('launches: each says what is wrong, where, and what was expected', () =>
    withAdapter(async (a) => {
      const elf = new Uint8Array(await readFile(hello));
      const changed = (change: (view: DataView) => void): Uint8Array => {
        const copy = elf.slice();
        change(new DataView(copy.buffer));
        return copy;
      };
      const cases: [title: string, attributes: Record<string, unknown>, ...expected: RegExp[]][] = [
        ['no kernel', { kernel: undefined }, /kernel/],
        ['missing kernel', { kernel: '/nowhere/kernel.elf' }, /kernel/, /\/nowhere\/kernel\.elf/, /there is no file/],
        ['a folder', { kernel: folder }, /kernel/, /folder/],
        ['empty kernel', { kernel: await file('empty', new Uint8Array(0)) }, /empty/],
        [
          'truncated ELF header',
          { kernel: await file('header.elf', elf.slice(0, 40)) },
          /header\.elf/,
          /(truncated|ends|bytes)/i,
        ],
        [
          'truncated ELF',
          { kernel: await file('half.elf', elf.slice(0, 5000)) },
          /half\.elf/,
          /(beyond|past|outside|ends|truncated)/i,
        ],
        [
          'program header offset that overflows',
          {
            boot: 'pvh',
            kernel: await file(
              'phoff.elf',
              changed((view) => view.setBigUint64(0x20, 0xffff_ffff_ffff_fff0n, true)),
            ),
          },
          /phoff\.elf/,
          /program header/i,
        ],
        [
          'segment offset and size that overflow',
          {
            boot: 'pvh',
            kernel: await file(
              'segment.elf',
              changed((view) => {
                const at = Number(view.getBigUint64(0x20, true));
                for (let i = 0; i < view.getUint16(0x38, true); i++) {
                  view.setBigUint64(at + i * 56 + 8, 0xffff_ffff_ffff_f000n, true);
                  view.setBigUint64(at + i * 56 + 32, 0x2000n, true);
                }
              }),
            ),
          },
          /segment\.elf/,
          /(segment|program header)/i,
        ],
        ['unknown attribute', { memroy: '16M' }, /memroy/, /memory/],
        ['negative memory', { memory: -16 }, /memory/],
        ['negative memory in text', { memory: '-16M' }, /memory/, /-16M/],
        ['too much memory', { memory: '64G' }, /memory/],
        ['wrong type of cmdline', { cmdline: 5 }, /cmdline/, /string/],
        ['wrong type of stopOnEntry', { stopOnEntry: 'yes' }, /stopOnEntry/, /boolean|true or false/],
        ['wrong cpus', { cpus: 1.5 }, /cpus/],
        ['unknown exit', { exits: ['CPUDI'] }, /exits/, /CPUDI/, /CPUID/],
        ['exits no list', { exits: 'CPUID' }, /exits/, /array|list/],
        ['unknown boot protocol', { boot: 'magic' }, /boot/, /magic/, /multiboot2/],
        ['unknown feature', { cpu: { vendor: 'intel', features: ['+nonsense'] } }, /nonsense/],
        ['absent feature', { cpu: { features: ['+avx512f'] } }, /cpu\.features/, /AVX-512 is left out/],
        ['unknown model', { cpu: { model: 'pentium' } }, /cpu\.model/, /x86-64-v3/],
        ['wrong boot protocol', { boot: 'linux' }, /hello\.elf/, /(linux|bzImage|setup)/i],
        ['missing symbols', { symbols: [{ file: '/nowhere/vmlinux' }] }, /symbols/, /\/nowhere\/vmlinux/],
      ];
      await a.initializeRequest({ adapterID: 'ringside', linesStartAt1: true });
      for (const [title, attributes, ...expected] of cases) {
        const launch = { kernel: hello, memory: '16M', ...attributes };
        const message = await refusal(a.launchRequest(launch as never), title);
        for (const pattern of expected) assert.match(message, pattern, `${title}: ${message}`);
        assert.doesNotMatch(message, /internal|undefined|\bNaN\b|\n {4}at /, `${title}: ${message}`);
      }
      // And the right one still works.
      const initialized = a.event('initialized');
      await a.launchRequest({ kernel: hello, memory: '16M', stopOnEntry: true } as never);
      await initialized;
      assert.equal((await a.stop_(() => a.configurationDoneRequest())).reason, 'entry');
      assert.match(await refusal(a.launchRequest({ kernel: hello } as never)), /launched already/);
    }));

  it('a guest that triple-faults at once ends the session with a message that says where', () =>
    withAdapter(async (a) => {
      await a.configure({ kernel: guest('tripleFault'), boot: 'multiboot', stopOnEntry: false });
      assert.equal(await a.end(() => a.configurationDoneRequest()), 3);
      assert.match(a.output('console'), /triple fault on vCPU 0 at 0x[0-9a-f]+/i);
    }));

  it('a guest that jumps into the void ends with a message that names the place', () =>
    withAdapter(async (a) => {
      // A boot sector: jmp 0xf000:0x0000 far away, then into addresses without memory, in protected mode without paging.
      const code = Uint8Array.from([
        0xfa, // cli
        0x0f,
        0x01,
        0x16,
        0x20,
        0x7c, // lgdt [0x7c20]
        0x66,
        0xb8,
        0x01,
        0x00,
        0x00,
        0x00, // mov eax, 1
        0x0f,
        0x22,
        0xc0, // mov cr0, eax
        0x66,
        0xea,
        0x00,
        0x00,
        0x00,
        0x90,
        0x08,
        0x00, // jmp dword 8:0x90000000
      ]);
      const sector = new Uint8Array(512);
      sector.set(code);
      sector.set([0x0f, 0, 0x28, 0x7c, 0, 0], 0x20); // limit 15, base 0x7c28
      sector.set([0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0], 0x30); // flat 32-bit code
      sector.set([0x55, 0xaa], 510);
      await a.configure({ kernel: await file('void.bin', sector), boot: 'bios', stopOnEntry: false });
      assert.equal(await a.end(() => a.configurationDoneRequest()), 1);
      assert.match(a.output('console'), /executes outside of memory, at guest-physical 0x90000000/);
    }));

  it('requests in the wrong order are refused, with a reason, and nothing hangs', () =>
    withAdapter(async (a) => {
      assert.match(await refusal(a.continueRequest({ threadId: 1 })), /launch comes first/);
      assert.match(await refusal(a.stackTraceRequest({ threadId: 1 })), /launch comes first/);
      assert.match(await refusal(a.request('readMemory', { memoryReference: '0x0', count: 4 })), /launch comes first/);
      assert.match(await refusal(a.request('restart', {})), /launch comes first/);
      assert.match(await refusal(a.request('no such request', {})), /no such request/);
      assert.match(await refusal(a.request('attach', { target: 'localhost:1' })), /attach/);
      // Before launch, breakpoints wait.
      const [waits] = await a.breakAt('main.c', 306);
      assert.equal(waits.verified, false);
      assert.equal((await a.begin()).reason, 'entry');
      assert.equal((await a.go()).hitBreakpointIds?.[0], waits.id);
      assert.match(await refusal(a.scopesRequest({ frameId: 999_999 })), /frame/);
      assert.match(await refusal(a.variablesRequest({ variablesReference: 999_999 })), /earlier stop/);
      assert.match(await refusal(a.stackTraceRequest({ threadId: 7 })), /thread 7/);
      await a.request('terminate', {});
      assert.match(await refusal(a.nextRequest({ threadId: 1 })), /ended/);
    }));

  it('hostile arguments of requests', () =>
    withAdapter(async (a) => {
      await a.begin();
      const bad: [string, unknown][] = [
        ['readMemory', { memoryReference: '0x100000', count: -1 }],
        ['readMemory', { memoryReference: '0xfffffffffffffffffffffff', count: 4 }],
        ['readMemory', { memoryReference: '0x0', offset: -1, count: 4 }],
        ['readMemory', {}],
        ['writeMemory', { memoryReference: '0x100000', data: '***' }],
        ['disassemble', { memoryReference: '0x100000', instructionCount: 1e9 }],
        ['disassemble', { memoryReference: '0x100000', instructionCount: -5 }],
        ['disassemble', { memoryReference: '0xffffffffffffffff', instructionOffset: -1000, instructionCount: 2000 }],
        ['setDataBreakpoints', { breakpoints: [{ dataId: '0x1000/99999999999' }, { dataId: 'x' }] }],
        ['setBreakpoints', { source: {}, breakpoints: [{ line: -3 }] }],
        ['setBreakpoints', {}],
        ['setExceptionBreakpoints', {}],
        ['evaluate', { expression: '('.repeat(100_000) }],
        ['evaluate', { expression: 'x/999999999xb 0x100000', context: 'repl' }],
        ['evaluate', { expression: 'info exits 99999999999', context: 'repl' }],
        ['evaluate', {}],
        ['stackTrace', { threadId: 1, startFrame: -5, levels: 1e9 }],
        ['variables', { variablesReference: 'x' }],
        ['gotoTargets', { source: {}, line: 1 }],
        ['ringside/exits', { count: -1 }],
        ['ringside/exits', { count: 1e12 }],
        ['ringside/ept', { table: { address: '0xffffffffffffff00', level: 9, base: '0x0' } }],
        ['ringside/pageWalk', { gva: 'x' }],
        ['ringside/consoleInput', { data: 5 }],
        ['setInstructionBreakpoints', {}],
      ];
      for (const [command, args] of bad) {
        await Promise.race([
          a.customRequest(command, args).catch((error: Error) => assert.doesNotMatch(error.message, /timeout/i)),
          new Promise((_resolve, reject) => {
            setTimeout(() => reject(new Error(`${command} hangs`)), 10_000).unref();
          }),
        ]);
      }
      assert.equal((await a.into('instruction')).reason, 'step');
    })).timeout(60_000);

  it('garbage on standard input', async () => {
    for (const garbage of [
      'this is no DAP at all\r\n\r\n',
      'Content-Length: 5\r\n\r\nhello',
      'Content-Length: -5\r\n\r\n{}',
      'Content-Length: 99999999999999\r\n\r\n{}',
      'Content-Length: 4\r\n\r\nnull',
      'Content-Length: 2\r\n\r\n[]',
      'Content-Length: 52\r\n\r\n{"seq":"x","type":"request","command":"__proto__" }  ',
      Buffer.from(Array.from({ length: 4096 }, (_, i) => (i * 73) & 0xff)),
    ]) {
      const child = spawnAdapter();
      let errors = '';
      child.stderr.on('data', (data: Buffer) => (errors += data.toString()));
      child.stdin.on('error', () => undefined);
      const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
      child.stdin.end(garbage);
      const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
      const status = await exited;
      clearTimeout(timer);
      assert.equal(status, 0, `${JSON.stringify(garbage.toString().slice(0, 40))}: ${errors}`);
    }
  });

  it('a wrong option of the program', async () => {
    const child = spawnAdapter('--server=none');
    let errors = '';
    child.stderr.on('data', (data: Buffer) => (errors += data.toString()));
    assert.equal(await new Promise((resolve) => child.once('exit', resolve)), 2);
    assert.match(errors, /--server=PORT/);
  });
});
