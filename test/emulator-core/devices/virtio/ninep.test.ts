// Expected values: linux/virtio_9p.h, VIRTIO 1.2 ("Device Types"), and for messages diod's protocol.md.
import assert from 'node:assert/strict';
import { VirtioNinep } from '../../../../emulator-core/devices/virtio/ninep';
import type { VirtioHost } from '../../../../emulator-core/devices/virtio/virtioDevice';
import { decodeOpRequest, encodeOpAnswer } from '../../../../emulator-core/ninep/shareMessages';
import { error, message, NOTAG, s, T, tattach, tlopen, tread, tversion, twalk, u16, u32 } from '../../ninep/bytes';
import { PciDriver } from './pciDriver';

const REQUEST = 0x200000;
const REPLY = 0x300000;
const FOLDER = { inode: 2n, mode: 0o040755, uid: 0, gid: 0, nlink: 1n, size: 0n, blksize: 4096n, blocks: 0n, atime: 0n, mtime: 0n, ctime: 0n, btime: 0n }; // prettier-ignore
const FILE = { ...FOLDER, inode: 7n, mode: 0o100644 };

function start() {
  const asked: Uint8Array[] = [];
  const ignore = () => undefined;
  const host = { console: ignore, powerOff: ignore, debugExit: ignore, reset: ignore, interruptChanged: ignore, init: ignore, startup: ignore, nmi: ignore, mmioChanged: ignore, send: (_device: string, bytes: Uint8Array) => void asked.push(bytes.slice()) }; // prettier-ignore
  const options = { index: 0, tag: 'work.space-1', root: '/home/me/w', writable: true };
  const create = (of: VirtioHost) => new VirtioNinep(options, of);
  const driver = new PciDriver([{ bus: 'pci', create }], 4, { host }).start();
  const { memory, rings, r } = driver;
  /** Offers a request whose reply goes to one of 16 places. */
  const offer = (bytes: Uint8Array, slot = 0, room = 8192): number => {
    memory.set(bytes, REQUEST + slot * 0x4000);
    const [gpa, into] = [REQUEST + slot * 0x4000, REPLY + slot * 0x4000];
    // As Linux does with data: the header apart from the pages.
    const head = rings[0].add(
      { gpa, length: 7 },
      { gpa: gpa + 7, length: bytes.length - 7 },
      { gpa: into, length: 11, write: true },
      { gpa: into + 11, length: room - 11, write: true },
    );
    driver.kick(0);
    return head;
  };
  const replyAt = (slot: number, length: number) => memory.slice(REPLY + slot * 0x4000, REPLY + slot * 0x4000 + length);
  const answer = (bytes: Uint8Array) => r.platform.receive('share0', bytes);
  const request = (bytes: Uint8Array) => {
    const head = offer(bytes);
    const [done] = rings[0].completed();
    assert.equal(done.id, head);
    return replyAt(0, done.length);
  };
  const attach = () => {
    request(tversion());
    offer(tattach(1, 0));
    answer(encodeOpAnswer('attributes', decodeOpRequest(asked.pop()!).id, { found: [FOLDER] }));
    rings[0].completed();
  };
  const open = () => {
    offer(twalk(1, 0, 1, 'f'));
    answer(encodeOpAnswer('attributes', decodeOpRequest(asked.pop()!).id, { found: [FILE] }));
    offer(tlopen(1, 1));
    answer(encodeOpAnswer('open', decodeOpRequest(asked.pop()!).id, { attributes: FILE }));
    rings[0].completed();
  };
  return { driver, rings, asked, offer, answer, request, replyAt, attach, open, platform: r.platform };
}

describe('virtio-9p', () => {
  it('says its tag in the configuration', () => {
    const { driver } = start();
    assert.equal(driver.config(0, 4), 0x10491af4, 'transitional IDs aside, 0x1040 + 9');
    assert.equal(driver.features() & 1n, 1n, 'VIRTIO_9P_MOUNT_TAG');
    const bytes = Array.from({ length: 14 }, (_, i) => driver.read(4, i, 1));
    assert.deepEqual(bytes, [...u16(12), ...Buffer.from('work.space-1')]);
    assert.equal(driver.rings[0].size, 128);
  });

  it('replies at once, or when the answer from outside has come', () => {
    const { offer, rings, asked, answer, request, replyAt } = start();
    assert.deepEqual(request(tversion(8192)), message(T.version + 1, NOTAG, u32(8192), s('9P2000.L')));
    const head = offer(tattach(1, 0));
    assert.deepEqual(rings[0].completed(), []);
    answer(encodeOpAnswer('attributes', decodeOpRequest(asked[0]).id, { found: [FOLDER] }));
    assert.deepEqual(rings[0].completed(), [{ id: head, length: 20 }]);
    const qid = [0x80, ...u32(0), 2, 0, 0, 0, 0, 0, 0, 0];
    assert.deepEqual(replyAt(0, 20), message(T.attach + 1, 1, qid));
  });

  it('answers in any order, and gives a flushed request back with length 0', () => {
    const { offer, rings, asked, answer, attach, open, replyAt } = start();
    attach();
    open();
    const heads = [0, 1, 2].map((i) => offer(tread(10 + i, 1, 100 * i, 4), i + 1));
    const ids = asked.map((bytes) => decodeOpRequest(bytes).id);
    const read = (n: number) => encodeOpAnswer('read', ids[n], { data: Uint8Array.of(n) });
    answer(read(2));
    assert.deepEqual(rings[0].completed(), [{ id: heads[2], length: 12 }]);
    const flush = offer(message(T.flush, 20, u16(10)), 4);
    assert.deepEqual(rings[0].completed(), [
      { id: heads[0], length: 0 },
      { id: flush, length: 7 },
    ]);
    answer(read(0));
    answer(read(1));
    assert.deepEqual(rings[0].completed(), [{ id: heads[1], length: 12 }]);
    assert.deepEqual(replyAt(2, 12), message(T.read + 1, 11, u32(1), [1]));
    assert.deepEqual(replyAt(1, 12), new Uint8Array(12), 'nothing was written for the flushed one');
  });

  it('goes on from a saved state in the middle of a request', () => {
    const { offer, rings, asked, answer, attach, open, replyAt, platform, driver } = start();
    attach();
    open();
    const head = offer(tread(10, 1, 0, 4), 1);
    const { id } = decodeOpRequest(asked.pop()!);
    const saved = structuredClone(platform.save());
    assert.equal(driver.misfit, undefined);
    platform.reset();
    platform.restore(structuredClone(saved));
    answer(encodeOpAnswer('read', id, { data: Uint8Array.of(5) }));
    assert.deepEqual(rings[0].completed(), [{ id: head, length: 12 }]);
    assert.deepEqual(replyAt(1, 12), message(T.read + 1, 10, u32(1), [5]));
  });

  it('asks again, after those outside have forgotten, with the data that is still in the buffers', () => {
    const { offer, rings, asked, answer, attach, platform } = start();
    attach();
    offer(twalk(1, 0, 1, 'f'));
    answer(encodeOpAnswer('attributes', decodeOpRequest(asked.pop()!).id, { found: [FILE] }));
    offer(tlopen(1, 1, 1));
    answer(encodeOpAnswer('open', decodeOpRequest(asked.pop()!).id, { attributes: FILE }));
    rings[0].completed();
    const head = offer(message(T.write, 2, u32(1), [0, 1, 0, 0, 0, 0, 0, 0], u32(3), [7, 8, 9]), 1);
    const [before] = asked.splice(0).map(decodeOpRequest);
    platform.linksLost();
    assert.deepEqual(asked.map(decodeOpRequest), [before]);
    const values = { place: { path: ['f'], inode: 7n }, offset: 256n, data: Uint8Array.of(7, 8, 9) };
    assert.deepEqual(before.request, { op: 'write', values });
    answer(encodeOpAnswer('write', before.id, { count: 3 }));
    assert.deepEqual(rings[0].completed(), [{ id: head, length: 11 }]);
  });

  it('needs room for an error, and says when a reply does not fit', () => {
    const small = start();
    assert.deepEqual(small.request(tversion()).length, 21);
    const [gpa, into] = [REQUEST, REPLY];
    small.driver.memory.set(tversion(), gpa);
    small.rings[0].add({ gpa, length: 21 }, { gpa: into, length: 15, write: true });
    small.driver.kick(0);
    assert.deepEqual(small.rings[0].completed()[0].length, 11);
    assert.deepEqual(small.replyAt(0, 11), error(NOTAG, 90));
    assert.equal(small.driver.status, 15);
    small.rings[0].add({ gpa, length: 21 }, { gpa: into, length: 10, write: true });
    small.driver.kick(0);
    assert.equal(small.driver.status & 0x40, 0x40, 'DEVICE_NEEDS_RESET');
    assert.match(small.driver.described('share0').get('needs reset')!, /10 to write: expected at least 7 and 11/);
  });

  it('describes itself', () => {
    const { driver, attach, open, offer } = start();
    attach();
    open();
    offer(tread(10, 1, 0, 4), 1);
    const fields = driver.described('share0');
    assert.equal(fields.get('mount tag'), 'work.space-1');
    assert.equal(fields.get('folder'), '/home/me/w read and write');
    assert.equal(fields.get('fids'), '2');
    assert.match(fields.get('under way')!, /^1 /);
    assert.equal(fields.get('requests'), 'version 1, attach 1, walk 1, lopen 1, read 1 0 failed');
  });
});
