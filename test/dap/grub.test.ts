/**
 * GRUB, made by its own tools from Debian's packages, up to its prompt on the serial console: real mode, BIOS services and protected
 * mode in turn. Debian builds no i386-multiboot target, so this is the i386-pc image on a disk.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { withAdapter } from '../debug-adapter/stdio/adapter';
import { skip } from '../skip';
import { GRUB_MODULES, makeGrubDisk } from './grubDisk';

describe('GRUB through the adapter', function () {
  this.timeout(240_000);
  before(function () {
    if (!existsSync(path.join(GRUB_MODULES, 'boot.img')))
      skip(this, `${GRUB_MODULES} is absent: apt-get install grub-pc-bin grub-common`);
  });

  it('reaches its prompt on the serial console and answers a command', () =>
    withAdapter(async (a) => {
      const folder = mkdtempSync(path.join(tmpdir(), 'ringside-grub-'));
      try {
        const kernel = makeGrubDisk(folder);
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
