/**
 * Linux's own 9p driver on shared folders: what the guest sees is what the host's files are. The kernel is Debian's linux-image-amd64, which
 * has 9p, from samples/linux.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createEmbeddedTarget } from '../../../debug-adapter/engines/embedded';
import { bzImagePayload, expandPayload } from '../../../debug-adapter/introspection/linux/payload';
import { openShares, type ShareAttributes } from '../../../debug-adapter/launchShares';
import { nodeHost } from '../../../debug-adapter/node/host';
import type { Target } from '../../../debug-adapter/target';
import { skip } from '../../skip';
import { withInit } from './initramfs';
import { sampleFile, sampleInitrd } from './kernel';

const BUSYBOX = '/bin/busybox';
const TIME = 1_800_000;
const BIG = 8 << 20;
const END = 'END-OF-GUEST';
const MOUNT = 'mount -t 9p -o trans=virtio,version=9p2000.L';

interface Guest {
  output: string;
  target: Target;
}

describe("Linux's 9p driver on shared folders", function () {
  this.timeout(TIME);
  let folder: string;
  let kernel: Uint8Array;
  let initrd: Uint8Array;
  const name = (file: string) => path.join(folder, file);

  before(async function () {
    initrd = new Uint8Array(fs.readFileSync(sampleInitrd(this, 'generic')));
    if (!fs.existsSync(BUSYBOX) || fs.readFileSync(BUSYBOX).subarray(0, 4096).includes('ld-linux'))
      skip(this, `${BUSYBOX} is missing or not static: Debian's package busybox-static has it`);
    const vmlinuz = new Uint8Array(fs.readFileSync(sampleFile('generic/vmlinuz')));
    kernel = await expandPayload(bzImagePayload(vmlinuz)!);
    folder = fs.realpathSync(fs.mkdtempSync(path.join(tmpdir(), 'ringside-9p-')));
  });
  after(() => folder && fs.rmSync(folder, { recursive: true }));
  beforeEach(() => {
    fs.rmSync(folder, { recursive: true });
    fs.mkdirSync(name('sub/deep'), { recursive: true });
    fs.writeFileSync(name('hello'), 'hello\n');
    fs.symlinkSync('../hello', name('sub/link'));
    for (let i = 0; i < 100; i++) fs.writeFileSync(name(`sub/deep/file ${i}`), String(i));
    fs.copyFileSync(BUSYBOX, name('sub/busybox'));
    fs.chmodSync(name('sub/busybox'), 0o755);
  });

  /** Runs a script in a guest. @param during is called with the running machine whenever there was output */
  async function run(
    script: string,
    shares: ShareAttributes[],
    during?: (guest: Guest) => void,
    stopped = (target: Target) => target.run({ kind: 'continue' }),
  ) {
    const lines = ['mkdir -p /mnt /loose', script, `echo ${END}`, 'poweroff -f'];
    const target = await createEmbeddedTarget({
      kernel: { name: 'vmlinux', bytes: kernel },
      initrd: { name: 'initrd', bytes: withInit(initrd, `${lines.join('\n')}\n`) },
      ...{ modules: [], cmdline: 'console=ttyS0 quiet cryptomgr.notests', boot: 'pvh', disks: [], memory: 512 << 20 },
      shares: await openShares(shares, nodeHost, (each) => path.resolve(folder, each)),
      ...{ cpus: 1, mode: 'bare', cpu: { vendor: 'intel', features: [] }, exits: [], record: true, stopOnEntry: false },
      debugExit: false,
    });
    const guest: Guest = { output: '', target };
    try {
      await new Promise<void>((resolve, reject) => {
        target.setEvents({
          stopped: () => stopped(target),
          continued: () => undefined,
          ended: (reason) => (reason.kind === 'power off' ? resolve() : reject(new Error(JSON.stringify(reason.kind)))),
          console(data) {
            guest.output += Buffer.from(data).toString('latin1');
            if (guest.output.includes(END)) resolve();
            else during?.(guest);
            return undefined;
          },
          note: () => undefined,
          exitsChanged: () => undefined,
        });
        target.run({ kind: 'continue' });
      });
    } finally {
      target.dispose();
    }
    return guest.output.replaceAll('\r', '');
  }
  const sum = (file: string) => createHash('sha256').update(fs.readFileSync(file)).digest('hex');
  const big = () => {
    const data = Buffer.alloc(BIG);
    for (let i = 0, x = 1; i < BIG; i += 4) data.writeUInt32LE((x = (Math.imul(x, 1664525) + 1013904223) >>> 0), i);
    fs.writeFileSync(name('big'), data);
  };

  it('reads: listings, links, a large file, programs; and cannot write', async () => {
    big();
    const output = await run(
      [
        `${MOUNT} workspace /mnt && echo mounted`,
        'cat /mnt/hello /mnt/sub/link',
        'echo found $(find /mnt | wc -l)',
        'echo listed $(ls -lR /mnt | grep -c "file ")',
        'T0=$(cut -d" " -f1 /proc/uptime); sha256sum /mnt/big; echo from $T0 to $(cut -d" " -f1 /proc/uptime)',
        '/mnt/sub/busybox echo program uncached',
        'for c in "touch /mnt/hello" "rm /mnt/hello" "mkdir /mnt/d" "mv /mnt/hello /mnt/x"; do $c; done',
        `${MOUNT},cache=loose loose /loose && sha256sum /loose/big`,
        '/loose/sub/busybox echo program cached',
      ].join('\n'),
      // A device can be mounted once at a time.
      [{ path: '.' }, { path: '.', tag: 'loose' }],
    );
    assert.match(output, /mounted\nhello\nhello\n/);
    const all = fs.readdirSync(folder, { recursive: true }).length + 1;
    assert.ok(output.includes(`found ${all}\n`), output);
    assert.match(output, /listed 100\n/);
    const expected = sum(name('big'));
    assert.ok(output.includes(`${expected}  /mnt/big`), output);
    assert.ok(output.includes(`${expected}  /loose/big`), output);
    assert.match(output, /\nprogram uncached\n/);
    assert.match(output, /\nprogram cached\n/);
    assert.equal(output.match(/Read-only file system/g)?.length, 4, output);
  });

  it('writes at once on the host', async () => {
    const output = await run(
      [
        `${MOUNT} out /mnt`,
        ...['cp /mnt/hello /mnt/copy', 'mv /mnt/copy /mnt/sub/moved', 'mkdir /mnt/new', 'echo one > /mnt/new/text'],
        ...['echo two >> /mnt/new/text', 'truncate -s 3 /mnt/hello', 'chmod 600 /mnt/hello', 'ln -s hello /mnt/new/l'],
        ...[
          'rm -r /mnt/sub/deep',
          'cp /mnt/sub/busybox /mnt/new/busybox',
          'sha256sum /mnt/new/busybox',
          'touch -d @1000 /mnt/hello',
        ],
        ...['ln /mnt/hello /mnt/hard; mkfifo /mnt/pipe; ls -1 /mnt/new'],
      ].join('\n'),
      [{ path: '.', tag: 'out', access: 'write' }],
    );
    assert.equal(fs.readFileSync(name('sub/moved'), 'utf8'), 'hello\n', output);
    assert.equal(fs.readFileSync(name('new/text'), 'utf8'), 'one\ntwo\n');
    assert.equal(fs.readFileSync(name('hello'), 'utf8'), 'hel');
    const { mode, mtimeMs } = fs.statSync(name('hello'));
    assert.deepEqual([mode & 0o7777, mtimeMs], [0o600, 1_000_000]);
    assert.equal(fs.readlinkSync(name('new/l')), 'hello');
    assert.deepEqual(fs.readdirSync(name('sub')).sort(), ['busybox', 'link', 'moved']);
    assert.equal(sum(name('new/busybox')), sum(BUSYBOX));
    assert.ok(output.includes(sum(BUSYBOX)), output);
    assert.deepEqual(fs.readdirSync(folder).sort(), ['hello', 'new', 'sub'], 'no hard link, no pipe');
    assert.match(output, /busybox\nl\ntext\n/);
  });

  it('reads the same when time goes back in the middle', async () => {
    fs.writeFileSync(name('big'), Buffer.alloc(8 << 20, 'some text, '));
    let jumps = 0;
    let back = false;
    const output = await run(
      `${MOUNT} workspace /mnt; dd if=/mnt/big of=/tmp/big bs=64k count=1; echo begin; for i in 1 2 3; do echo part $i; cat /mnt/big > /tmp/big; done; sha256sum /tmp/big`,
      [{ path: '.' }],
      ({ output: text, target }) => {
        const parts = text.match(/part \d/g)?.length ?? 0;
        if (parts > jumps && target.running()) {
          jumps = parts;
          back = true;
          setTimeout(() => target.pause(), 50);
        }
      },
      (target) => {
        target.run(back ? { kind: 'stepBackInstructions', count: 1000 } : { kind: 'continue' });
        back = false;
      },
    );
    assert.ok(jumps > 0);
    assert.ok(output.includes(`${sum(name('big'))}  /tmp/big`), output);
  });
});
