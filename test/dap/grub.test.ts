/**
 * GRUB, made by its own tools from Debian's packages, up to its prompt on the serial console: real mode, BIOS services and protected
 * mode in turn. Debian builds no i386-multiboot target, so this is the i386-pc image on a disk.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { withAdapter } from '../debug-adapter/stdio/adapter';
import { skip } from '../skip';

const MODULES = '/usr/lib/grub/i386-pc';
const SECTOR = 512;

/** A disk: GRUB's boot sector, then its core image with the list of its own sectors filled in, as grub-bios-setup does. */
function makeDisk(folder: string): string {
  const early = path.join(folder, 'early.cfg');
  writeFileSync(early, 'serial --unit=0 --speed=115200\nterminal_input serial\nterminal_output serial\n');
  const core = path.join(folder, 'core.img');
  const modules = ['serial', 'terminal', 'normal', 'echo', 'biosdisk'];
  execFileSync('grub-mkimage', ['-O', 'i386-pc', '-o', core, '-p', '(hd0)', '-c', early, ...modules]);
  const image = Buffer.concat([readFileSync(path.join(MODULES, 'boot.img')), readFileSync(core)]);
  const disk = Buffer.alloc(Math.ceil(image.length / SECTOR) * SECTOR + (1 << 20));
  image.copy(disk);
  // The last block-list entry of core.img's first sector: start, length in sectors, segment.
  const entry = 2 * SECTOR - 12;
  disk.writeBigUInt64LE(2n, entry);
  disk.writeUInt16LE(Math.ceil(image.length / SECTOR) - 2, entry + 8);
  disk.writeUInt16LE(0x820, entry + 10);
  const file = path.join(folder, 'grub.img');
  writeFileSync(file, disk);
  return file;
}

describe('GRUB through the adapter', function () {
  this.timeout(240_000);
  before(function () {
    if (!existsSync(path.join(MODULES, 'boot.img')))
      skip(this, `${MODULES} is absent: apt-get install grub-pc-bin grub-common`);
  });

  it('reaches its prompt on the serial console and answers a command', () =>
    withAdapter(async (a) => {
      const folder = mkdtempSync(path.join(tmpdir(), 'ringside-grub-'));
      try {
        const kernel = makeDisk(folder);
        await a.begin({ kernel, boot: 'bios', memory: '64M', record: false, stopOnEntry: true });
        assert.match((await a.scope('Segments'))['cs'], /^0x0000/);
        await a.continueRequest({ threadId: 1 });
        const seen = async (text: string | RegExp, what: string): Promise<void> => {
          const end = Date.now() + 110_000;
          const found = (): boolean => (typeof text === 'string' ? a.console.includes(text) : text.test(a.console));
          while (!found()) {
            if (Date.now() > end) throw new Error(`no ${what}; the console has: ${a.console.slice(-500)}`);
            await new Promise((resolve) => setTimeout(resolve, 50));
          }
        };
        await seen('GNU GRUB', 'banner');
        await seen('grub> ', 'prompt');
        await a.request('ringside/consoleInput', { data: Buffer.from('echo ring$root-side\r').toString('base64') });
        await seen(/ring\(?hd0\)?.*-side/, 'answer');
        await a.stop_(() => a.pauseRequest({ threadId: 1 }));
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    }));
});
