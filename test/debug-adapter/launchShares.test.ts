import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { makeDevices } from '../../debug-adapter/engines/embedded/devices';
import type { EmbeddedLaunch } from '../../debug-adapter/engines/launch';
import { planLaunch } from '../../debug-adapter/launchConfig';
import { nodeHost } from '../../debug-adapter/node/host';
import { schema } from './client';

describe('shares of a launch', () => {
  let folder: string;
  const plan = (shares: unknown, host = nodeHost): Promise<{ engine: EmbeddedLaunch }> =>
    planLaunch({ kernel: 'k', shares, __workspaceFolder: folder }, schema, [], host);

  before(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'ringside-shares-'));
    writeFileSync(path.join(folder, 'k'), 'x');
    mkdirSync(path.join(folder, 'sub'));
  });
  after(() => rmSync(folder, { recursive: true }));

  it('are read-only folders with tags', async () => {
    const { engine } = await plan([{ path: '.' }, { path: 'sub', access: 'write' }, { path: 'sub', tag: 'x-1' }]);
    const shown = engine.shares!.map(({ path: name, tag, access }) => [name, tag, access]);
    const sub = path.join(folder, 'sub');
    assert.deepEqual(shown, [
      [folder, 'workspace', 'readonly'],
      [sub, 'workspace1', 'write'],
      [sub, 'x-1', 'readonly'],
    ]);
    const { virtio, links } = makeDevices(engine, () => undefined);
    assert.deepEqual([...links.keys()], ['share0', 'share1', 'share2']);
    assert.equal(virtio.length, 4);
  });

  const ERRORS: [unknown, RegExp][] = [
    [[{ path: 'none' }], /^shares\[0\]\.path: there is no folder '.*none'/],
    [[{ path: '.' }, { path: 'k' }], /^shares\[1\]\.path: can't share '.*k': it is not a folder/],
    [
      [
        { path: '.', tag: 'a' },
        { path: 'sub', tag: 'a' },
      ],
      /^shares\[1\]\.tag: "a" is the tag of shares\[0\], too/,
    ],
    [[{ path: '.', tag: 'a'.repeat(32) }], /^shares\[0\]\.tag: ".*" does not fit\. Expected 1 to 31 letters/],
    [[{ path: '.', tag: 'a b' }], /^shares\[0\]\.tag: "a b" does not fit/],
    [[{ path: '' }], /^shares\[0\]\.path: must not be empty/],
    [[{ tag: 'a' }], /^shares\[0\]\.path: is missing/],
    [[{ path: '.', access: 'rw' }], /^shares\[0\]\.access: expected one of "readonly", "write"/],
    [Array(9).fill({ path: '.' }), /^shares: at most 8 entries/],
    ['.', /^shares: expected a list/],
  ];
  for (const [shares, message] of ERRORS) {
    it(`refuses ${JSON.stringify(shares).slice(0, 60)}`, () =>
      assert.rejects(plan(shares), { message, name: 'LaunchError' }));
  }

  it('say where folders cannot be shared', async () => {
    const host = { ...nodeHost, openShare: undefined };
    await assert.rejects(plan([{ path: '.' }], host), /^LaunchError: shares\[0\]\.path: folders can't be shared/);
  });
});
