import assert from 'node:assert';
import path from 'node:path';
import { main } from '../../../debug-adapter/cli/main';
import type { Services } from '../../../debug-adapter/cli/services';
import type { EmbeddedLaunch } from '../../../debug-adapter/engines/launch';
import packageJson from '../../../package.json';
import { ScriptedTarget, type Happening } from './scriptedTarget';

const files: Record<string, string> = {
  '/cwd/kernel.elf': '\x7fELF...',
  '/cwd/empty': '',
  '/ws/k': 'kernel',
  '/ws/.vscode/launch.json': `{ "configurations": [
    { "type": "ringside", "request": "launch", "name": "One", "kernel": "\${workspaceFolder}/k", "memory": "2M", // small
      "cmdline": "quiet", "stopOnEntry": true, "exits": ["CPUID"], "symbols": ["missing"] },
    { "type": "ringside", "request": "launch", "name": "Wrong", "kernel": "k", "memroy": "2M" },
  ] }`,
  '/ws/one.json': '{ "kernel": "k" }',
  '/ws/broken.json': '{ "kernel": }',
};

interface Result {
  status: number;
  out: string;
  err: string;
  launch?: EmbeddedLaunch;
  target: ScriptedTarget;
  written: Record<string, string>;
}

async function ringside(
  args: string[],
  script: Happening[] = [],
  adjust?: (services: Services) => void,
): Promise<Result> {
  const target = new ScriptedTarget(script);
  const result: Result = { status: -1, out: '', err: '', target, written: {} };
  const names = () => [{ name: 'CPUID', description: '' }];
  let now = 0;
  const services: Services = {
    schema: packageJson.contributes.debuggers[0].configurationAttributes.launch as unknown as Services['schema'],
    version: '1.2.3',
    host: {
      cwd: () => '/cwd',
      resolve: (base, file) => path.posix.resolve(base, file),
      readFile: async (file) => (file in files ? Buffer.from(files[file], 'latin1') : undefined),
      createFile: () => Promise.reject(new Error('not here')),
    },
    engine: {
      exitNames: names,
      exceptionNames: () => [],
      create: async (launch) => {
        result.launch = launch;
        return target.asTarget();
      },
    },
    userHome: '/srv/me',
    env: {},
    out: (data) => (result.out += typeof data === 'string' ? data : Buffer.from(data).toString()),
    err: (text) => (result.err += text),
    createTrace: (file) => ({
      write: (text) => (result.written[file] = (result.written[file] ?? '') + text),
      close: () => {},
    }),
    onInterrupt: () => () => {},
    now: () => (now += 500),
    serveDap: async (port) => port ?? 0,
  };
  adjust?.(services);
  result.status = await main(args, services);
  return result;
}

const hello: Happening[] = [
  { icount: 10, console: 'hello' },
  { icount: 20, exit: { name: 'CPUID' } },
  { icount: 30, exit: { name: 'IO_INSTRUCTION', rip: 0xffffffff80000000n } },
  { icount: 500_000, end: { kind: 'power off' } },
];

describe('ringside run', () => {
  it('boots a kernel: console on standard output, the end on standard error', async () => {
    const { status, out, err, launch, target } = await ringside(
      ['run', 'kernel.elf', '--memory', '16M', '--no-debug-exit'],
      hello,
    );
    assert.strictEqual(err, '\nringside: the guest powered off\n');
    assert.strictEqual(status, 0);
    assert.strictEqual(out, 'hello');
    assert.strictEqual(launch?.kernel.name, '/cwd/kernel.elf');
    assert.strictEqual(launch.memory, 16 * 2 ** 20);
    assert.strictEqual(launch.debugExit, false);
    assert.strictEqual(launch.stopOnEntry, false);
    assert.strictEqual(launch.record, false);
    assert.strictEqual(target.disposed, 1);
  });

  it('takes a configuration of launch.json, the command line over it', async () => {
    const { status, launch } = await ringside(['run', '/ws/.vscode/launch.json', '--cmdline', 'loud'], hello);
    assert.strictEqual(status, 0);
    assert.strictEqual(launch?.kernel.name, '/ws/k');
    assert.strictEqual(launch.memory, 2 * 2 ** 20);
    assert.strictEqual(launch.cmdline, 'loud');
    assert.deepStrictEqual(launch.exits, []);
  });

  it('takes a file with one configuration, whose paths are relative to it', async () => {
    assert.strictEqual((await ringside(['run', '/ws/one.json'], hello)).launch?.kernel.name, '/ws/k');
  });

  it('ends with status 124 at the limit and stops there exactly', async () => {
    const { status, err, launch, target } = await ringside(['run', 'kernel.elf', '--max-icount', '5K']);
    assert.strictEqual(status, 124);
    assert.match(err, /stopped at the limit of 5000 instructions/);
    assert.strictEqual(launch?.record, true);
    assert.deepStrictEqual(target.runs, [{ kind: 'gotoIcount', icount: 5000 }]);
  });

  it('ends with --until', async () => {
    const { status, err } = await ringside(['run', 'kernel.elf', '--until', 'hell'], hello);
    assert.strictEqual(status, 0);
    assert.match(err, /'hell' was seen/);
  });

  it('says why a guest died, with status 3', async () => {
    const end = { kind: 'triple fault', cpu: 0, rip: 0x100000n, text: 'no handler for #UD' } as const;
    const { status, err } = await ringside(['run', 'kernel.elf'], [{ icount: 1, end }]);
    assert.strictEqual(status, 3);
    assert.strictEqual(err, 'ringside: triple fault on vCPU 0 at 0x100000: no handler for #UD\n');
  });

  it("takes an engine's own words for it", async () => {
    const end = { kind: 'triple fault', cpu: 0, rip: 0x100000n, text: 'triple fault on vCPU 0 at 0x100000' } as const;
    const { err } = await ringside(['run', 'kernel.elf'], [{ icount: 1, end }]);
    assert.strictEqual(err, 'ringside: triple fault on vCPU 0 at 0x100000\n');
  });

  it('names the file that cannot be read', async () => {
    const { status, err } = await ringside(['run', 'folder'], [], (services) => {
      services.host.readFile = () => Promise.reject(new Error('it is a folder'));
    });
    assert.strictEqual(status, 2);
    assert.strictEqual(err, 'ringside: folder: it is a folder\n');
  });

  it('ends --stats --json with one line of JSON on standard error', async () => {
    const { err } = await ringside(['run', 'kernel.elf', '--stats', '--json'], hello);
    const last = err.trimEnd().split('\n').pop()!;
    assert.deepStrictEqual(JSON.parse(last), {
      instructions: 500_000,
      seconds: 0.5,
      mips: 1,
      exits: { CPUID: 1, IO_INSTRUCTION: 1 },
      end: 'the guest powered off',
      status: 0,
    });
  });

  it('writes exits to standard error', async () => {
    const { err } = await ringside(['run', 'kernel.elf', '--exits'], hello);
    assert.match(err, /^#0 icount 20 vCPU 0 rip 0x100000 CPUID: CPUID leaf 0x0 subleaf 0x0$/m);
    assert.match(err, /^#1 icount 30 vCPU 0 rip 0xffffffff80000000 IO_INSTRUCTION: /m);
  });

  it('types standard input into the guest, Ctrl-A x quits', async () => {
    const { status, err, target } = await ringside(['run', 'kernel.elf'], [], (services) => {
      services.keyboard = {
        terminal: true,
        start: (typed) => setTimeout(() => typed(Buffer.from('ls\r\x01x')), 10),
        stop: () => {},
      };
    });
    assert.strictEqual(Buffer.from(target.typed).toString(), 'ls\r');
    assert.strictEqual(status, 0);
    assert.match(err, /^ringside: Ctrl-A x quits\n/);
  });

  it('ends with status 130 when it is interrupted', async () => {
    const { status } = await ringside(['run', 'kernel.elf'], [], (services) => {
      services.onInterrupt = (action) => {
        setTimeout(action, 10);
        return () => {};
      };
    });
    assert.strictEqual(status, 130);
  });

  const bad: [string[], RegExp][] = [
    [['run', 'missing.elf'], /^ringside: missing\.elf: no such file\n$/],
    [['run', 'empty'], /^ringside: kernel: '\/cwd\/empty' is empty\n$/],
    [
      ['run', '/ws/.vscode/launch.json', '--name', 'Wrong'],
      /^ringside: memroy: there is no such attribute\. Did you mean "memory"\?\n$/,
    ],
    [['run', '/ws/broken.json'], /^ringside: \/ws\/broken\.json:1:13: expected a value, got '}'\n$/],
    [['run', 'kernel.elf', '--memory', '-1M'], /^ringside: memory: .*\n$/],
    [['run', 'kernel.elf', '--mode', 'xn'], /^ringside: mode: expected one of "bare".*did you mean "xen"\?\n$/],
    [['run', 'kernel.elf', '--max-icount', 'x'], /^ringside: --max-icount: expected a count/],
    [['run', 'kernel.elf', '--name', 'x'], /^ringside: --name: goes with a launch\.json/],
    [['run', 'kernel.elf', '--initrd', 'i'], /^ringside: initrd: there is no file '\/cwd\/i'\n$/],
    [['run', 'kernel.elf', '--until', ''], /^ringside: --until: the text is empty\n$/],
    [['run', 'kernel.elf', '--save', 'x'], /^ringside: --save: needs --until TEXT or --max-icount N/],
    [['run', 'kernel.elf', '--from', 'x'], /^ringside: from: there is no file '\/cwd\/x'\n$/],
    [['nonsense'], /^ringside: no command is called 'nonsense'/],
    [[], /^ringside: no command/],
  ];
  for (const [args, message] of bad) {
    it(`gives status 2 and one line for: ringside ${args.join(' ')}`, async () => {
      const { status, out, err } = await ringside(args);
      assert.strictEqual(status, 2, err);
      assert.match(err, message);
      assert.strictEqual(err.trimEnd().split('\n').length, 1);
      assert.strictEqual(out, '');
    });
  }

  it('passes on what a boot loader says about a bad image', async () => {
    const { status, err } = await ringside(['run', 'kernel.elf'], [], (services) => {
      services.engine.create = () => Promise.reject(new Error('kernel.elf: program header 3 lies\nbeyond the end'));
    });
    assert.strictEqual(status, 2);
    assert.strictEqual(err, 'ringside: kernel.elf: program header 3 lies beyond the end\n');
  });
});

describe('ringside trace', () => {
  it('writes every exit as a line of JSON', async () => {
    const { status, written, out } = await ringside(['trace', 'kernel.elf', '-o', 't.jsonl'], hello);
    assert.strictEqual(status, 0);
    assert.strictEqual(out, 'hello');
    const lines = written['/cwd/t.jsonl'].trimEnd().split('\n');
    assert.deepStrictEqual(JSON.parse(lines[1]), {
      seq: 1,
      icount: 30,
      cpu: 0,
      name: 'IO_INSTRUCTION',
      reason: 10,
      rip: '0xffffffff80000000',
      qualification: '0x0',
      instructionLength: 2,
      guestLinear: '0x0',
      guestPhysical: '0x0',
      summary: 'CPUID leaf 0x0 subleaf 0x0',
    });
    assert.strictEqual(lines.length, 2);
  });

  it('leaves out what the filter does', async () => {
    const { written } = await ringside(['trace', 'kernel.elf', '-o', 't', '--filter', 'CPUID'], hello);
    assert.match(written['/cwd/t'], /^\{"seq":0,.*\n$/);
  });

  it('goes to standard output, the console to standard error', async () => {
    const { out, err } = await ringside(['trace', 'kernel.elf', '-o', '-'], hello);
    assert.match(out, /^\{"seq":0,.*\n\{"seq":1,.*\n$/);
    assert.match(err, /^hello\n/);
  });

  it('refuses a bad filter and a file that cannot be written, and leaves no machine behind', async () => {
    const filter = await ringside(['trace', 'kernel.elf', '-o', 't', '--filter', 'nonsense == 1'], hello);
    assert.strictEqual(filter.status, 2);
    assert.match(filter.err, /--filter .*'nonsense'/);
    assert.strictEqual(filter.target.disposed, 1);
    const full = await ringside(['trace', 'kernel.elf', '-o', 't'], hello, (services) => {
      services.createTrace = () => ({
        write: () => {
          throw new Error('ENOSPC: no space left on device, write');
        },
        close: () => {},
      });
    });
    assert.strictEqual(full.status, 2);
    assert.match(full.err, /ringside: can't write the trace: ENOSPC/);
    assert.strictEqual(full.target.disposed, 1);
  });
});

describe('ringside', () => {
  it('shows help and its version', async () => {
    const help = await ringside(['--help']);
    assert.strictEqual(help.status, 0);
    assert.match(help.out, /ringside run CONFIG\|KERNEL/);
    assert.match((await ringside(['trace', '--help'])).out, /--filter CONDITION/);
    assert.strictEqual((await ringside(['--version'])).out, '1.2.3\n');
  });
  it('serves DAP', async () => {
    assert.strictEqual((await ringside(['dap', '--server', '4711'])).status, 4711);
    assert.strictEqual((await ringside(['dap'])).status, 0);
    assert.strictEqual((await ringside(['dap', '--server', '70000'])).status, 2);
  });
});
