/**
 * Presses F5 as a user would, in a real VS Code in Chromium, on the sample guest; then looks, steps and goes back.
 * Screenshots go to test/artifacts/.
 */
import assert from 'node:assert/strict';
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { launchChromium } from '../../scripts/lib/chromium.mjs';
import { root } from '../../scripts/lib/project.mjs';
import { ensureBed, startServer, worthShowing } from '../../scripts/testbed.mjs';
import { Workbench } from './workbench.mjs';

/** What hello.elf's header says: e_entry, 8 bytes at offset 24 (ELF-64 Object File Format, "File header"). */
async function entryPoint(file) {
  const header = await readFile(file);
  assert.equal(header.toString('latin1', 1, 4), 'ELF');
  return header.readUInt8(4) === 2 ? header.readBigUInt64LE(24) : BigInt(header.readUInt32LE(24));
}

const hex = /0x[0-9a-f]+/i;

describe('F5 in VS Code', function () {
  this.bail(true);
  const log = [];
  let folder, server, browser, workbench, kernel;
  /** rip at the stops that later steps compare with. */
  let atExit;

  before(async function () {
    this.timeout(600_000); // the first run installs code-server
    const bed = await ensureBed();
    folder = await mkdtemp(path.join(os.tmpdir(), 'ringside-f5-'));
    const workspace = path.join(folder, 'samples');
    const sources = (file) => path.relative(root, file) !== path.join('samples', 'linux', 'build');
    await cp(path.join(root, 'samples'), workspace, { recursive: true, filter: sources });
    kernel = path.join(workspace, 'hello-guest/hello.elf');
    // The extension is found as an installed one is: in the extensions folder.
    await mkdir(path.join(folder, 'extensions'), { recursive: true });
    await symlink(root, path.join(folder, 'extensions', 'ringside'), 'dir');
    await mkdir(path.join(folder, 'data/User'), { recursive: true });
    await writeFile(
      path.join(folder, 'data/User/settings.json'),
      JSON.stringify({
        'workbench.startupEditor': 'none',
        'workbench.secondarySideBar.defaultVisibility': 'hidden',
        'chat.disableAIFeatures': true,
        'debug.toolBarLocation': 'floating',
      }),
    );
    server = await startServer(bed, { folder, onLine: (line) => log.push(line) });
    browser = await launchChromium();
    const page = await browser.newPage({ viewport: { width: 1600, height: 1100 } });
    page.setDefaultTimeout(30_000);
    page.on('console', (message) => message.type() === 'error' && log.push(message.text()));
    workbench = new Workbench(page);
    await workbench.open(server.url(workspace));
  });

  after(async () => {
    await browser?.close();
    await server?.stop();
    if (folder) await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  });

  afterEach(async function () {
    if (this.currentTest.state !== 'failed') return;
    await workbench?.screenshot('f5-failed').catch(() => {});
    console.log(worthShowing(log).slice(-30).join('\n'));
  });

  it('opens a source file of the sample', async () => {
    await workbench.openFile('hello-guest/main.c');
    await workbench.openDebugView();
    await workbench.widenSideBar(160);
  });

  it('F5 starts the first configuration and stops at the first instruction', async () => {
    await workbench.pressF5();
    await workbench.waitForStop();
    for (const title of ['Watch', 'Loaded Scripts', 'Breakpoints']) await workbench.collapsePane(title);
    await workbench.growPane('Variables', 420);
    await workbench.expandScope('Registers');
    const rip = BigInt((await workbench.instructionPointer()).match(hex)[0]);
    const entry = await entryPoint(kernel);
    // PVH enters at the address of its ELF note, multiboot at e_entry: the sample gives both the same page.
    assert.ok(rip >= entry - 4096n && rip < entry + 4096n, `rip 0x${rip.toString(16)}, entry 0x${entry.toString(16)}`);
    assert.equal(BigInt((await workbench.value('rax')).match(hex)[0]) >> 32n, 0n);
    await workbench.screenshot('f5-1-entry');
  });

  it('stops on an EPT violation and shows the exit', async () => {
    await workbench.setExceptionFilter('EPT_VIOLATION', true);
    await workbench.pressAndStop('Continue');
    atExit = await workbench.instructionPointer();
    // touch_missing_device() in main.c: mmio_write32(NO_DEVICE, 0x12345678); arguments as in the System V ABI.
    assert.equal(BigInt(await workbench.value('rdi')), 0xfeb00000n);
    assert.equal(BigInt(await workbench.value('rsi')), 0x12345678n);
    assert.match(await workbench.exceptionText(), /EPT_VIOLATION[^]*write of gpa 0xfeb00000/);
    await workbench.screenshot('f5-2-exit');
  });

  it('decodes the exit and counts it', async () => {
    await workbench.collapsePane('Breakpoints');
    await workbench.collapsePane('Variables');
    await workbench.expandPane('VM Exits');
    await workbench.until(
      async () => (await workbench.rows('VM Exits')).some((row) => /EPT_VIOLATION/.test(row)),
      'EPT_VIOLATION among the exits',
    );
    await workbench.screenshot('f5-3-exits');
  });

  it('shows the EPT as a tree', async () => {
    await workbench.collapsePane('VM Exits');
    await workbench.collapsePane('Call Stack');
    await workbench.expandPane('EPT');
    const top = await workbench.rows('EPT');
    assert.ok(top.length > 0, 'the EPT has entries');
    // Down to where an entry maps a page: the levels are PML4E, PDPTE, PDE and perhaps PTE.
    for (let level = 0; level < 3; level++) {
      const closed = workbench.pane('EPT').locator('.monaco-list-row[aria-expanded="false"]');
      if (!(await closed.count())) break;
      const before = (await workbench.rows('EPT')).length;
      await workbench.expandRow('EPT', /./);
      await workbench.until(async () => (await workbench.rows('EPT')).length > before, 'the rows below an EPT entry');
    }
    const rows = await workbench.rows('EPT');
    assert.ok(
      rows.some((row) => /rwx/i.test(row) && /WB/.test(row)),
      `an entry with permissions rwx and memory type WB in:\n${rows.join('\n')}`,
    );
    await workbench.screenshot('f5-4-ept');
    await workbench.collapsePane('EPT');
  });

  it('steps, and steps back to where it was', async () => {
    await workbench.expandPane('Call Stack');
    await workbench.expandPane('Variables');
    await workbench.setExceptionFilter('EPT_VIOLATION', false);
    await workbench.collapsePane('Breakpoints');
    await workbench.pressAndStop('Step Over');
    const after = await workbench.instructionPointer();
    assert.notEqual(after, atExit);
    await workbench.screenshot('f5-5-step');
    await workbench.pressAndStop('Step Back');
    const back = BigInt((await workbench.instructionPointer()).match(hex)[0]);
    assert.ok(back < BigInt(after.match(hex)[0]), 'Step Back goes to an earlier statement');
    await workbench.screenshot('f5-6-step-back');
  });

  it('continues to power-off, and the session ends', async () => {
    await workbench.button('Continue').click();
    await workbench.page.locator('.debug-toolbar').waitFor({ state: 'hidden', timeout: 60_000 });
    await workbench.screenshot('f5-7-end');
  });
});
