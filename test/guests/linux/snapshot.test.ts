/** Debian's cloud kernel: runs that end the same, and a snapshot of it with its symbols. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Adapter } from '../../debug-adapter/stdio/adapter';
import { endsTheSame } from '../repeatability';
import { initramfs, opensForEver } from './initramfs';
import { linuxKernel } from './kernel';

const BOOT_TIME = 1_200_000;
const cmdline = 'console=ttyS0 cryptomgr.notests';

describe("snapshots of Debian's cloud kernel", function () {
  this.timeout(BOOT_TIME);
  let kernel: string;
  let folder: string;

  before(function () {
    kernel = linuxKernel(this);
    folder = mkdtempSync(path.join(tmpdir(), 'ringside-linux-snapshot-'));
    writeFileSync(path.join(folder, 'initrd'), initramfs({ init: opensForEver.file }));
  });
  after(() => folder && rmSync(folder, { recursive: true }));

  it('300 million instructions of its boot end the same, after going back and from a snapshot', async () => {
    const bytes = new Uint8Array(readFileSync(kernel));
    await endsTheSame(
      () => ({
        ...{ kernel: { name: kernel, bytes }, modules: [], cmdline, boot: 'linux', disks: [], memory: 128 << 20 },
        ...{ cpus: 2, mode: 'kvm', cpu: { vendor: 'intel', features: [] }, exits: [], record: true },
        ...{ stopOnEntry: true, debugExit: true },
      }),
      300_000_000,
    );
  });

  it('starts in user space from a snapshot: KASLR is found, breakpoints by name hit, stacks have names', async () => {
    const attributes = { kernel, initrd: path.join(folder, 'initrd'), cmdline, memory: '128M', record: false };
    const file = path.join(folder, 'booted.snapshot');
    const known: string[] = [];
    const session = async (more: object, body: (a: Adapter) => Promise<void>): Promise<void> => {
      const a = Adapter.start();
      a.defaultTimeout = BOOT_TIME;
      try {
        await a.initializeRequest({ adapterID: 'ringside', linesStartAt1: true, pathFormat: 'path' });
        const initialized = a.event('initialized', undefined, BOOT_TIME);
        await a.launchRequest({ ...attributes, ...more } as object);
        await initialized;
        await a.breakIn('do_sys_openat2');
        await a.stop_(() => a.configurationDoneRequest(), BOOT_TIME);
        await body(a);
      } finally {
        await a.close();
      }
    };
    await session({ stopOnEntry: false }, async (a) => {
      known.push(/KASLR offset: (\S+),/.exec(await a.repl('info kernel'))![1]);
      await a.repl(`save ${file}`);
    });
    for (const stopOnEntry of [true, false]) {
      await session({ from: file, stopOnEntry }, async (a) => {
        assert.match(await a.repl('info kernel'), new RegExp(`KASLR offset: ${known[0]},`));
        if (stopOnEntry) await a.stop_(() => a.continueRequest({ threadId: 1 }), BOOT_TIME);
        const names = (await a.frames()).map(({ name }) => name.replace(/\+.*/, ''));
        assert.equal(names[0], 'do_sys_openat2');
        assert.ok(names.includes('do_syscall_64'), names.join());
        assert.ok(names.includes('entry_SYSCALL_64_after_hwframe'), names.join());
      });
    }
  });
});
