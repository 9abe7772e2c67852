import assert from 'node:assert/strict';
import path from 'node:path';
import type { Host } from '../../debug-adapter/engine';
import { parseSize, planLaunch, type LaunchPlan } from '../../debug-adapter/launchConfig';
import { schema } from './client';

const files: Record<string, Uint8Array> = {
  '/ws/kernel.elf': Uint8Array.from([0x7f, 0x45, 0x4c, 0x46, 0]),
  '/ws/flat.bin': Uint8Array.from([0xf4]),
  '/ws/empty': new Uint8Array(0),
  '/elsewhere/vmlinux': Uint8Array.from([1]),
};
const host: Host = {
  cwd: () => '/ws',
  resolve: (base, name) => path.posix.resolve(base, name),
  readFile: async (name) => {
    if (name === '/ws') throw new Error('it is a folder');
    return files[name];
  },
  createFile: async () => ({ write: () => undefined, close: async () => undefined }),
};
const plan = (attributes: Record<string, unknown>): Promise<LaunchPlan> =>
  planLaunch(
    { type: 'ringside', request: 'launch', name: 'n', ...attributes },
    schema,
    ['CPUID', 'EPT_VIOLATION', '#PF'],
    host,
  );

const ERRORS: [Record<string, unknown>, RegExp][] = [
  [{}, /^kernel: is missing; expected a string/],
  [{ kernel: 5 }, /^kernel: expected a string, got 5/],
  [{ kernel: '' }, /^kernel: must not be empty/],
  [{ kernel: 'none.elf' }, /^kernel: there is no file '\/ws\/none\.elf'/],
  [{ kernel: '.' }, /^kernel: can't read '\/ws': it is a folder/],
  [{ kernel: 'empty' }, /^kernel: '\/ws\/empty' is empty/],
  [{ kernel: 'flat.bin', kernle: 1 }, /^kernle: there is no such attribute\. Did you mean "kernel"\?/],
  [{ kernel: 'flat.bin', zzzzzzzz: 1 }, /^zzzzzzzz: there is no such attribute\. Known are kernel, /],
  [{ kernel: 'flat.bin', memory: -1 }, /^memory: expected at least 0, got -1/],
  [{ kernel: 'flat.bin', memory: '12Q' }, /^memory: "12Q" does not fit\. A size/],
  [{ kernel: 'flat.bin', memory: '4K' }, /^memory: expected 1M to 3G/],
  [{ kernel: 'flat.bin', memory: '900G' }, /^memory: expected 1M to 3G/],
  [{ kernel: 'flat.bin', memory: 1048577 }, /^memory: expected a multiple of 4K/],
  [{ kernel: 'flat.bin', memory: true }, /^memory: expected a string or a whole number, got true/],
  [{ kernel: 'flat.bin', cpus: 0 }, /^cpus: expected 1 to 64, got 0/],
  [{ kernel: 'flat.bin', cpus: 1.5 }, /^cpus: expected a whole number, got 1\.5/],
  [{ kernel: 'flat.bin', boot: 'multibot' }, /^boot: expected one of "auto".*did you mean "multiboot"\?/],
  [{ kernel: 'flat.bin', boot: 'xen-pv' }, /^boot: "xen-pv" is not available in this version/],
  [
    { kernel: 'flat.bin', exits: ['CPUDI'] },
    /^exits\[0\]: no VM exit or exception is called "CPUDI"; did you mean "CPUID"\?/,
  ],
  [{ kernel: 'flat.bin', display: 'vga' }, /^display: "vga" does not fit\. Expected "text", or a size in pixels/],
  [{ kernel: 'flat.bin', display: '640x2000' }, /^display: expected a height of 200 to 1200 pixels, got 2000/],
  [{ kernel: 'flat.bin', disks: [{ file: 'none.img' }] }, /^disks\[0\]\.file: there is no file '\/ws\/none\.img'/],
  [{ kernel: 'flat.bin', disks: [{ file: '.' }] }, /^disks\[0\]\.file: can't read '\/ws': it is a folder/],
  [
    { kernel: 'flat.bin', disks: [{ file: 'empty' }, { file: 'empty', bus: 'ide' }] },
    /^disks\[1\]\.bus: "ide" is not available in this version/,
  ],
  [
    { kernel: 'flat.bin', disks: [{ file: 'empty', access: 'write' }] },
    /^disks\[0\]\.file: can't open for writing '\/ws\/empty': "access": "write" is not possible here/,
  ],
  [{ kernel: 'flat.bin', exits: 'CPUID' }, /^exits: expected a list/],
  [
    { kernel: 'flat.bin', mode: 'xen' },
    /^mode: "xen" is not available in this version, which supports "bare" and "kvm"/,
  ],
  [{ kernel: 'flat.bin', engine: 'kvm' }, /^engine: "kvm" is not available/],
  [{ kernel: 'flat.bin', cpu: { vendor: 'amd' } }, /^cpu\.vendor: "amd" is not available/],
  [
    { kernel: 'flat.bin', cpu: { vender: 'amd' } },
    /^cpu\.vender: there is no such attribute\. Did you mean "vendor"\?/,
  ],
  [{ kernel: 'flat.bin', cpu: { model: 'x86-64-v4' } }, /^cpu\.model: expected one of "x86-64-v2", "x86-64-v3", "max"/],
  [{ kernel: 'flat.bin', gdbServer: 1234 }, /^gdbServer: 1234 is not available/],
  [{ kernel: 'flat.bin', modules: [{ cmdline: 'x' }] }, /^modules\[0\]\.file: is missing/],
  [{ kernel: 'flat.bin', modules: ['gone'] }, /^modules\[0\]: there is no file/],
  [{ kernel: 'flat.bin', console: 'window' }, /^console: .*"terminal", "debugConsole"/],
  [{ kernel: 'flat.bin', symbols: [{ file: 'kernel.elf', offset: 'zz' }] }, /^symbols\[0\]\.offset: /],
  [{ kernel: 'flat.bin', stopOnEntry: 'yes' }, /^stopOnEntry: expected true or false, got "yes"/],
];

describe('launch configurations', () => {
  for (const [attributes, expected] of ERRORS) {
    it(`refuses ${JSON.stringify(attributes)}`, () =>
      assert.rejects(plan(attributes), { name: 'LaunchError', message: expected }));
  }

  it('fills in what is not said', async () => {
    const { engine, symbols, console, attachConsole } = await plan({ kernel: 'kernel.elf' });
    assert.equal(engine.kernel.name, '/ws/kernel.elf');
    assert.equal(engine.memory, 256 * 2 ** 20);
    assert.deepEqual(
      [engine.boot, engine.cpus, engine.record, engine.stopOnEntry, engine.debugExit],
      ['auto', 1, true, true, true],
    );
    assert.deepEqual(
      symbols.map((file) => file.name),
      ['/ws/kernel.elf'],
    );
    assert.equal(console, 'terminal');
    assert.equal(attachConsole, false);
    // The process knows, which tests tell by RINGSIDE_COMPILE.
    assert.equal(engine.compile, undefined);
  });

  it('reads files relative to the workspace folder', async () => {
    const { engine, symbols, sourceMap, console } = await plan({
      kernel: '../ws/flat.bin',
      symbols: [{ file: 'vmlinux', offset: '-0x1000' }, '/ws/kernel.elf'],
      modules: ['/ws/flat.bin', { file: '/ws/kernel.elf', cmdline: 'a b' }],
      exits: ['#PF', 'CPUID'],
      sourceMap: { '/b': 'src', '/build/linux': '/l' },
      console: { file: 'serial.log' },
      __workspaceFolder: '/elsewhere',
      preLaunchTask: 'build',
    });
    assert.deepEqual(
      symbols.map(({ name, offset }) => [name, offset]),
      [
        ['/elsewhere/vmlinux', -0x1000n],
        ['/ws/kernel.elf', 0n],
      ],
    );
    assert.deepEqual(
      engine.modules.map(({ name, cmdline }) => [name, cmdline]),
      [
        ['/ws/flat.bin', ''],
        ['/ws/kernel.elf', 'a b'],
      ],
    );
    assert.deepEqual(engine.exits, ['#PF', 'CPUID']);
    assert.deepEqual(sourceMap, [
      ['/build/linux', '/l'],
      ['/b', '/elsewhere/src'],
    ]);
    assert.deepEqual(console, { file: '/elsewhere/serial.log' });
  });

  it('parses sizes', () => {
    const cases: [unknown, number][] = [
      ['256M', 268435456],
      ['64k', 65536],
      ['1G', 1073741824],
      ['0x100000', 1048576],
      [4096, 4096],
      ['16 MiB', 16777216],
    ];
    for (const [text, size] of cases) assert.equal(parseSize(text, 'memory'), size);
    for (const text of ['', 'M', '-1M', '1T', {}, null])
      assert.throws(() => parseSize(text, 'memory'), /^LaunchError: memory: expected a size/);
  });
});
