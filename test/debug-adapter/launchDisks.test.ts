import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { makeDevices, storeDisks } from '../../debug-adapter/engines/embedded/devices';
import type { EmbeddedLaunch } from '../../debug-adapter/engines/launch';
import { openDisks, type DiskAttributes } from '../../debug-adapter/launchDisks';
import { nodeHost } from '../../debug-adapter/node/host';

describe('disks of a launch', () => {
  let folder: string;
  const file = (name: string): string => path.join(folder, name);
  const launch = async (...disks: DiskAttributes[]): Promise<EmbeddedLaunch> => {
    const opened = await openDisks(disks, nodeHost, (name) => path.resolve(folder, name));
    return { disks: opened } as EmbeddedLaunch;
  };
  const noted: string[] = [];
  const devices = (of: EmbeddedLaunch) => makeDevices(of, (text) => noted.push(text));

  beforeEach(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'ringside-disks-'));
    writeFileSync(file('a.img'), Buffer.alloc(10000, 1));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  for (const access of ['snapshot', 'write', 'readonly'] as const) {
    it(`${access === 'write' ? 'change' : 'do not change'} the file with access ${access}`, async () => {
      const of = await launch({ file: 'a.img', access });
      const { disks } = devices(of);
      assert.equal(disks[0].size, 10000);
      assert.equal(disks[0].writeBytes(9990, Uint8Array.of(7, 8)), access !== 'readonly');
      assert.ok(
        readFileSync(file('a.img')).every((byte) => byte === 1),
        'not before the end',
      );
      assert.deepEqual(storeDisks(of, disks), []);
      const expected = Buffer.alloc(10000, 1);
      if (access === 'write') expected.set([7, 8], 9990);
      assert.deepEqual(readFileSync(file('a.img')), expected);
    });
  }

  it('are an entropy source and the disks, in their order', async () => {
    const of = await launch({ file: 'a.img' }, { file: 'a.img', bus: 'virtio-mmio' });
    const { virtio, disks } = devices(of);
    assert.deepEqual(
      virtio.map(({ bus }) => bus),
      ['pci', 'pci', 'mmio'],
    );
    storeDisks(of, disks);
  });

  it('say which image is bad', async () => {
    writeFileSync(file('empty.img'), '');
    writeFileSync(file('short.qcow2'), 'QFI\xfb, and no more', 'latin1');
    const refused = async (disk: DiskAttributes, message: RegExp) => {
      const of = await launch(disk);
      assert.throws(() => devices(of), message);
      of.disks[0].image.close?.();
    };
    await refused({ file: 'empty.img' }, /^ImageError: disks\[0\]\.file: '.*empty\.img' is empty/);
    await refused(
      { file: 'short.qcow2' },
      /^ImageError: disks\[0\]\.file: '.*short\.qcow2', offset 0x0: a qcow2 header has/,
    );
    await assert.rejects(launch({ file: 'none' }), /^LaunchError: disks\[0\]\.file: there is no file '.*none'/);
    await assert.rejects(launch({ file: '.' }), /^LaunchError: disks\[0\]\.file: can't read '.*': it is a folder/);
  });

  it('say what could not be stored', async () => {
    const of = await launch({ file: 'a.img', access: 'write' });
    const { disks } = devices(of);
    disks[0].writeBytes(0, Uint8Array.of(2));
    of.disks[0].image.close!();
    assert.match(storeDisks(of, disks)[0], /^disks\[0\]\.file: '.*a\.img' could not be written: /);
  });
});
