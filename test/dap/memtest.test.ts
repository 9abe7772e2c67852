/**
 * The first main job: Debian's memtest86+, an image written by others, debugged through the adapter as samples/.vscode/launch.json
 * starts it.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { readConfiguration } from './configuration';
import { root, withAdapter, type Adapter } from '../debug-adapter/stdio/adapter';
import { skip } from '../skip';

const IMAGE = '/boot/memtest86+x64.bin';
const launchJson = path.join(root, 'samples/.vscode/launch.json');

/** The serial console as text: escape sequences (cursor moves, colours) become line ends. */
function screen(a: Adapter): string {
  return a.console.replace(/\x1b\[[0-9;?]*[A-Za-z]/g, '\n');
}

async function until(what: string, done: () => boolean, seconds: number): Promise<void> {
  const end = Date.now() + seconds * 1000;
  while (!done()) {
    if (Date.now() > end) throw new Error(`waited ${seconds} s for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

describe('memtest86+ through the adapter', function () {
  this.timeout(300_000);
  before(function () {
    if (!existsSync(IMAGE)) skip(this, `${IMAGE} is absent: apt-get install memtest86+`);
  });

  it('stops on a CPUID exit, shows it, goes on, and passes its first tests', () =>
    withAdapter(async (a) => {
      const attributes = readConfiguration(readFileSync(launchJson, 'utf8'), 'memtest86+ (Debian package)');
      assert.equal(attributes.memory, '16M');
      assert.equal(attributes.cmdline, 'console=ttyS0,115200');
      const stop = await a.begin({ ...attributes, record: false }, () => a.filters('CPUID if leaf == 0x80000002'));
      assert.equal(stop.reason, 'exception');

      // The exit, before it is handled: rip is at CPUID (0f a2), the leaf in eax.
      const registers = await a.scope('Registers');
      assert.equal(BigInt(registers.rax.split(' ')[0]) & 0xffffffffn, 0x80000002n);
      const code = await a.memory(registers.rip.split(' ')[0], 2);
      assert.deepEqual([...code], [0x0f, 0xa2]);
      const exit = await a.scope('Last VM exit');
      assert.match(exit['Exit reason'], /0x0000000a CPUID/);
      assert.equal(exit['Summary'], 'CPUID leaf 0x80000002 subleaf 0x0');
      assert.equal(exit['VM-exit instruction length'], '2');

      // One instruction further: the brand string's first 16 bytes.
      await a.into('instruction');
      const after = await a.scope('Registers');
      const text = ['rax', 'rbx', 'rcx', 'rdx'].map((name) => {
        const bytes = Buffer.alloc(4);
        bytes.writeUInt32LE(Number(BigInt(after[name].split(' ')[0]) & 0xffffffffn));
        return bytes.toString('latin1');
      });
      assert.equal(text.join(''), 'Ringside Virtual');

      await a.filters();
      await a.continueRequest({ threadId: 1 });
      // Enter starts testing at once instead of after five seconds.
      await a.request('ringside/consoleInput', { data: Buffer.from('\r').toString('base64') });
      await until('the banner', () => /Memtest86\+ v6\.\d+/.test(screen(a)), 120);
      await until('the CPU line', () => /Ringside Virtual CPU/.test(screen(a)), 60);
      // Test #4 comes after #0 to #3.
      await until('the fifth test', () => /#4\s+\[Moving inversions/.test(screen(a)), 240);
      const errors = [...screen(a).matchAll(/Errors: (\d+)/g)].map((match) => match[1]);
      assert.ok(errors.length > 0);
      assert.deepEqual(new Set(errors), new Set(['0']));
      await a.stop_(() => a.pauseRequest({ threadId: 1 }));
    }));
});
