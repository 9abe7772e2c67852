// Expected values: VIRTIO 1.2, "Network Device"; linux/virtio_net.h.
import assert from 'node:assert/strict';
import { VirtioNet } from '../../../../emulator-core/devices/virtio/net';
import { decodeStream, encodeStream, type StreamMessage } from '../../../../emulator-core/net/streams';
import { ACK, frame, GATEWAY, GUEST_MAC, segment, SYN, sum16, tcp, ip } from '../../net/guest';
import { PciDriver } from './pciDriver';

const RX = 0x400000;
const TX = 0x300000;
const CSUM = 1n << 0n;
const GUEST_CSUM = 1n << 1n;
const GUEST_TSO4 = 1n << 7n;
const MRG_RXBUF = 1n << 15n;

function start(without = 0n) {
  const said: StreamMessage[] = [];
  const host = { send: (_: string, message: Uint8Array) => said.push(decodeStream(message)) };
  const slot = {
    bus: 'pci' as const,
    create: (h: never) => new VirtioNet({ index: 0, mac: GUEST_MAC, ports: [80] }, h),
  };
  const quiet = ['console', 'powerOff', 'debugExit', 'reset', 'interruptChanged', 'init', 'startup', 'nmi'];
  const driver = new PciDriver([slot as never], 4, {
    host: { ...Object.fromEntries(quiet.map((name) => [name, () => undefined])), ...host } as never,
  }).start(~without);
  const { memory, rings } = driver;
  let next = 0;
  const buffers: { gpa: number; length: number }[] = [];
  /** Makes receive buffers available. */
  const offer = (count: number, length: number): void => {
    for (let i = 0; i < count; i++) {
      const gpa = RX + 0x10000 * next++;
      buffers[rings[0].add({ gpa, length, write: true })] = { gpa, length };
    }
    driver.kick(0);
  };
  const received = (): Uint8Array[] =>
    rings[0].completed().map(({ id, length }) => memory.slice(buffers[id].gpa, buffers[id].gpa + length));
  const transmit = (bytes: Uint8Array, header: number[] = []): void => {
    memory.fill(0, TX, TX + 12);
    memory.set(header, TX);
    memory.set(bytes, TX + 12);
    rings[1].add({ gpa: TX, length: 12 + bytes.length });
    driver.kick(1);
    assert.equal(rings[1].completed().length, 1);
  };
  const receive = (message: StreamMessage) => driver.r.platform.receive('net0', encodeStream(message));
  return { driver, offer, received, transmit, receive, said };
}

const echo = (): number[] => {
  const message = [8, 0, 0, 0, 1, 2, 3, 4, 5, 6];
  const sum = sum16(message);
  message.splice(2, 2, sum >> 8, sum & 0xff);
  return ip(1, GATEWAY, message);
};
const syn = (ports: [number, number] = [40000, 80]) =>
  frame(0x0800, tcp(GATEWAY, { ports, seq: 100, flags: SYN, options: [2, 4, 5, 0xb4] }));

describe('virtio-net', () => {
  it('describes itself in its configuration', () => {
    const { driver } = start();
    assert.equal(driver.config(0, 4), 0x10411af4);
    assert.equal(driver.config(0x0a, 2), 0x0200, 'Ethernet controller');
    assert.deepEqual(Array.from({ length: 12 }, (_, i) => driver.read(4, i, 1)), [...GUEST_MAC, 1, 0, 1, 0, 0xdc, 5]); // prettier-ignore
    const offered = [0, 1, 3, 5, 7, 11, 15, 16];
    const features = driver.features() & 0xffffffn;
    assert.equal(features, offered.reduce((all, bit) => all | (1n << BigInt(bit)), 0n)); // prettier-ignore
  });

  it('answers in the driver’s next buffer, or when there is one', () => {
    const { offer, received, transmit } = start();
    offer(1, 1600);
    transmit(frame(0x0800, echo()));
    const [reply] = received();
    assert.deepEqual([...reply.subarray(0, 12)], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    assert.equal(reply.length, 12 + 14 + 20 + 10);
    transmit(frame(0x0800, echo()));
    assert.deepEqual(received(), []);
    offer(1, 1600);
    assert.equal(received().length, 1);
  });

  it('spreads a frame over buffers with MRG_RXBUF, and drops it without when it does not fit', () => {
    const merged = start();
    merged.offer(3, 30);
    merged.transmit(frame(0x0800, echo()));
    const parts = merged.received();
    assert.deepEqual(parts.map(({ length }) => length), [30, 26]); // prettier-ignore
    assert.equal(parts[0][10], 2, 'num_buffers');
    const whole = start(MRG_RXBUF);
    whole.offer(1, 30);
    whole.transmit(frame(0x0800, echo()));
    assert.deepEqual(whole.received().map(({ length }) => length), [0]); // prettier-ignore
  });

  function connection(without = 0n) {
    const s = start(without);
    s.offer(64, 1600);
    s.transmit(syn());
    s.receive({ kind: 'opened', id: 1, credit: 1 << 18 });
    const synAck = s.received()[0].subarray(12);
    const seq = new DataView(synAck.buffer, synAck.byteOffset).getUint32(38);
    s.transmit(frame(0x0800, tcp(GATEWAY, { ports: [40000, 80], seq: 101, ack: seq + 1, flags: ACK })));
    s.received();
    return s;
  }

  it('gives data in large pieces with the header that takes them apart', () => {
    const s = connection();
    const data = Uint8Array.from({ length: 10_000 }, (_, i) => i);
    s.receive({ kind: 'data', id: 1, data });
    const parts = s.received();
    assert.equal(parts.length, Math.ceil((12 + 54 + 10_000) / 1600));
    const view = new DataView(parts[0].buffer, parts[0].byteOffset);
    const word = (at: number) => view.getUint16(at, true);
    assert.deepEqual([parts[0][0], parts[0][1]], [1, 1], 'NEEDS_CSUM, GSO_TCPV4');
    assert.deepEqual([word(2), word(4), word(6), word(8), word(10)], [54, 1460, 34, 16, parts.length]);
    const all = parts.flatMap((part) => [...part]);
    assert.deepEqual(all.slice(12 + 54), [...data]);
    const pseudo = [...all.slice(12 + 26, 12 + 34), 0, 6, (20 + 10_000) >> 8, (20 + 10_000) & 0xff];
    assert.equal(view.getUint16(12 + 34 + 16), 0xffff - sum16(pseudo), 'the pseudo header only');
  });

  it('gives ordinary segments with whole checksums to a driver that takes nothing else', () => {
    const s = connection(GUEST_CSUM | GUEST_TSO4 | CSUM);
    s.receive({ kind: 'data', id: 1, data: new Uint8Array(3000).fill(7) });
    const lengths = s.received().map((part) => {
      assert.deepEqual([part[0], part[1]], [0, 0]);
      return segment(part.slice(12)).data.length;
    });
    assert.deepEqual(lengths, [1460, 1460, 80]);
  });

  it('saves and restores in the middle of a transfer, resets streams with the driver, and says what it does', () => {
    const s = connection();
    s.offer(2, 1600);
    s.receive({ kind: 'data', id: 1, data: new Uint8Array(60_000).fill(1) });
    s.receive({ kind: 'data', id: 1, data: new Uint8Array(60_000).fill(2) });
    const saved = structuredClone(s.driver.r.platform.save());
    assert.equal(s.driver.misfit, undefined);
    const before = s.driver.described('net0');
    s.receive({ kind: 'reset', id: 1 });
    assert.equal(before.get('TCP connections')!.split(' ')[0], '1');
    assert.match(before.get('MAC')!, /^52:54:00:12:34:56 link up, MTU 1500$/);
    assert.equal(s.driver.described('net0').get('TCP connections')!.split(' ')[0], '0');
    s.driver.r.platform.restore(saved);
    assert.deepEqual(s.driver.described('net0'), before);
    s.said.length = 0;
    s.driver.status = 0;
    assert.deepEqual(s.said, [{ kind: 'reset', id: 1 }]);
  });

  it('holds a bounded number of frames for a driver without buffers', () => {
    const s = start();
    for (let i = 0; i < 2000; i++) s.transmit(frame(0x0800, echo()));
    const text = s.driver.described('net0').get('received')!;
    assert.match(text, /512 waiting, 1488 dropped/);
  });
});
