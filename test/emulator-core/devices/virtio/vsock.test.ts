// Expected values: VIRTIO 1.2, "Socket Device"; linux/virtio_vsock.h.
import assert from 'node:assert/strict';
import { VirtioVsock } from '../../../../emulator-core/devices/virtio/vsock';
import { decodeStream, encodeStream, type StreamMessage } from '../../../../emulator-core/net/streams';
import { PciDriver } from './pciDriver';

const RX = 0x400000;
const TX = 0x300000;
const EVENTS = 0x380000;
const [REQUEST, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST] = [1, 2, 3, 4, 5, 6, 7];
const WINDOW = 1 << 18;

interface Packet {
  op: number;
  ports: [source: number, destination: number];
  cids?: [number, number];
  type?: number;
  flags?: number;
  buffer?: number;
  forwarded?: number;
  data?: Uint8Array;
  length?: number;
}

function start() {
  const said: StreamMessage[] = [];
  const slot = { bus: 'pci' as const, create: (h: never) => new VirtioVsock({ index: 0, cid: 7, ports: [80] }, h) };
  const quiet = ['console', 'powerOff', 'debugExit', 'reset', 'interruptChanged', 'init', 'startup', 'nmi'];
  const driver = new PciDriver([slot as never], 4, {
    host: {
      ...Object.fromEntries(quiet.map((name) => [name, () => undefined])),
      send: (_: string, message: Uint8Array) => said.push(decodeStream(message)),
    } as never,
  }).start();
  const { memory, rings } = driver;
  const view = new DataView(memory.buffer);
  const buffers: number[] = [];
  let next = 0;
  const offer = (count: number, length = 4140): void => {
    for (let i = 0; i < count; i++) {
      const gpa = RX + 0x2000 * (next++ % 256);
      buffers[rings[0].add({ gpa, length, write: true })] = gpa;
    }
    driver.kick(0);
  };
  const received = () =>
    rings[0].completed().map(({ id, length }) => {
      const at = buffers[id];
      const u32 = (offset: number) => view.getUint32(at + offset, true);
      assert.deepEqual([u32(4), u32(8), u32(12)], [0, 7, 0]);
      assert.equal(length, 44 + u32(24));
      return {
        op: view.getUint16(at + 30, true),
        ports: [u32(16), u32(20)],
        flags: u32(32),
        buffer: u32(36),
        forwarded: u32(40),
        data: memory.slice(at + 44, at + length),
      };
    });
  const send = (packet: Packet) => {
    const {
      op,
      ports,
      cids = [7, 2],
      type = 1,
      flags = 0,
      buffer = WINDOW,
      forwarded = 0,
      data = new Uint8Array(0),
    } = packet;
    view.setBigUint64(TX, BigInt(cids[0]), true);
    view.setBigUint64(TX + 8, BigInt(cids[1]), true);
    [ports[0], ports[1], packet.length ?? data.length].forEach((value, i) =>
      view.setUint32(TX + 16 + 4 * i, value, true),
    );
    view.setUint16(TX + 28, type, true);
    view.setUint16(TX + 30, op, true);
    [flags, buffer, forwarded].forEach((value, i) => view.setUint32(TX + 32 + 4 * i, value, true));
    memory.set(data, TX + 44);
    rings[1].add({ gpa: TX, length: 44 + data.length });
    driver.kick(1);
    rings[1].completed();
    return received();
  };
  const outside = (message: StreamMessage) => {
    driver.r.platform.receive('vsock0', encodeStream(message));
    return received();
  };
  const messages = () => said.splice(0);
  /** Makes buffers for events available, filled with ones. */
  const offerEvents = (...lengths: number[]): void => {
    memory.fill(0xff, EVENTS, EVENTS + 0x1000);
    lengths.forEach((length, i) => rings[2].add({ gpa: EVENTS + 0x10 * i, length, write: true }));
    driver.kick(2);
  };
  /** The events that have come: each buffer's first 32-bit number, undefined for one that came back empty. */
  const events = () =>
    rings[2].completed().map(({ id, length }) => (length === 4 ? view.getUint32(EVENTS + 0x10 * id, true) : undefined));
  return { driver, offer, received, send, outside, messages, offerEvents, events };
}

const PORTS: [number, number] = [5000, 80];

function open() {
  const s = start();
  s.offer(32);
  assert.deepEqual(s.send({ op: REQUEST, ports: PORTS }), []);
  assert.deepEqual(s.messages(), [{ kind: 'open', id: 1, port: 80, credit: WINDOW }]);
  const [response] = s.outside({ kind: 'opened', id: 1, credit: WINDOW });
  assert.deepEqual(
    [response.op, response.ports, response.buffer, response.forwarded],
    [RESPONSE, [80, 5000], WINDOW, 0],
  );
  return s;
}

describe('virtio-vsock', () => {
  it('has its CID in the configuration', () => {
    const { driver } = start();
    assert.equal(driver.config(0, 4), 0x10531af4);
    assert.deepEqual([driver.read(4, 0, 4), driver.read(4, 4, 4)], [7, 0]);
    assert.equal(driver.rings.length, 3);
  });

  it('refuses what is not to be reached, other types, and packets of no connection, with a reset', () => {
    const s = start();
    s.offer(32);
    const refused = (packet: Packet) => assert.deepEqual(s.send(packet).map(({ op }) => op), [RST]); // prettier-ignore
    refused({ op: REQUEST, ports: [5000, 81] });
    refused({ op: REQUEST, ports: PORTS, cids: [7, 3] });
    refused({ op: REQUEST, ports: PORTS, type: 2 });
    for (const op of [RESPONSE, RW, SHUTDOWN, CREDIT_UPDATE, CREDIT_REQUEST, 0, 99]) refused({ op, ports: PORTS });
    assert.deepEqual(s.send({ op: RST, ports: PORTS }), []);
    assert.deepEqual(s.send({ op: REQUEST, ports: PORTS, cids: [8, 2] }), [], "not the guest's CID");
    assert.deepEqual(s.send({ op: REQUEST, ports: PORTS, length: 1 }), [], 'shorter than it says');
    assert.deepEqual(s.messages(), []);
    s.send({ op: REQUEST, ports: PORTS });
    assert.equal(s.outside({ kind: 'refused', id: 1 })[0].op, RST);
  });

  it('passes data on within the credit of both sides', () => {
    const s = open();
    s.send({ op: RW, ports: PORTS, data: Uint8Array.of(1, 2, 3) });
    assert.deepEqual(s.messages(), [{ kind: 'data', id: 1, data: Uint8Array.of(1, 2, 3) }]);
    s.send({ op: CREDIT_UPDATE, ports: PORTS, buffer: 5000 });
    const data = Uint8Array.from({ length: 9000 }, (_, i) => i);
    const first = s.outside({ kind: 'data', id: 1, data });
    assert.deepEqual(first.map((p) => [p.op, p.data.length]), [[RW, 4096], [RW, 904]]); // prettier-ignore
    assert.deepEqual(s.messages().map((m) => m.kind === 'credit' && m.count), [4096, 904]); // prettier-ignore
    const rest = s.send({ op: CREDIT_UPDATE, ports: PORTS, buffer: 5000, forwarded: 5000 });
    assert.deepEqual([...first, ...rest].flatMap((p) => [...p.data]), [...data]); // prettier-ignore
    s.outside({ kind: 'credit', id: 1, count: 3 });
    const [update] = s.send({ op: CREDIT_REQUEST, ports: PORTS, buffer: 5000, forwarded: 9000 });
    assert.deepEqual([update.op, update.buffer, update.forwarded], [CREDIT_UPDATE, WINDOW, 3]);
  });

  it('tells of credit before the guest runs out of it, and resets one that sends more', () => {
    const s = open();
    for (let i = 0; i < 4; i++) s.send({ op: RW, ports: PORTS, data: new Uint8Array(65536) });
    s.messages();
    const [update] = s.outside({ kind: 'credit', id: 1, count: 65536 });
    assert.deepEqual([update.op, update.forwarded], [CREDIT_UPDATE, 65536]);
    assert.deepEqual(s.send({ op: RW, ports: PORTS, data: new Uint8Array(65536) }), []);
    assert.equal(s.send({ op: RW, ports: PORTS, data: new Uint8Array(1) })[0].op, RST);
    assert.equal(s.messages().at(-1)!.kind, 'reset');
  });

  it('shuts down one direction, or both', () => {
    const s = open();
    assert.deepEqual(s.send({ op: SHUTDOWN, ports: PORTS, flags: 2 }), []);
    assert.deepEqual(s.messages(), [{ kind: 'shut', id: 1 }]);
    const [data, shut] = [
      ...s.outside({ kind: 'data', id: 1, data: Uint8Array.of(9) }),
      ...s.outside({ kind: 'shut', id: 1 }),
    ];
    assert.deepEqual([data.op, shut.op, shut.flags], [RW, SHUTDOWN, 2]);
    assert.equal(s.send({ op: SHUTDOWN, ports: PORTS, flags: 3 })[0].op, RST);
    assert.match(s.driver.described('vsock0').get('connections')!, /^0 /);
  });

  it('connects from outside', () => {
    const s = start();
    s.offer(8);
    const [request] = s.outside({ kind: 'accept', id: 2, port: 1024, credit: WINDOW });
    assert.deepEqual([request.op, request.ports[1]], [REQUEST, 1024]);
    s.send({ op: RESPONSE, ports: [1024, request.ports[0]] });
    assert.deepEqual(s.messages(), [{ kind: 'opened', id: 2, credit: WINDOW }]);
    const [other] = s.outside({ kind: 'accept', id: 4, port: 1025, credit: WINDOW });
    s.send({ op: RST, ports: [1025, other.ports[0]] });
    assert.deepEqual(s.messages(), [{ kind: 'refused', id: 4 }]);
    s.outside({ kind: 'accept', id: 6, port: 1026, credit: WINDOW });
    s.driver.r.advance(11e9);
    assert.deepEqual(s.messages(), [{ kind: 'refused', id: 6 }]);
  });

  it('resets all connections when the outside is lost, and tells it when the guest is', () => {
    const s = open();
    s.driver.r.platform.linksLost();
    assert.deepEqual(s.received().map(({ op }) => op), [RST]); // prettier-ignore
    assert.deepEqual(s.messages(), []);
    const other = open();
    other.driver.status = 0;
    assert.deepEqual(other.messages(), [{ kind: 'reset', id: 1 }]);
  });

  // linux/virtio_vsock.h: VIRTIO_VSOCK_EVENT_TRANSPORT_RESET is 0.
  it('tells of the interruption in the event queue, once, as soon as there is a buffer', () => {
    const s = start();
    s.offerEvents(4, 4);
    assert.deepEqual(s.events(), []);
    s.driver.r.platform.linksLost();
    assert.deepEqual(s.events(), [0]);
    s.driver.kick(2);
    s.outside({ kind: 'reset', id: 1 });
    assert.deepEqual(s.events(), []);
    s.driver.r.platform.linksLost();
    assert.deepEqual(s.events(), [0]);

    const late = start();
    late.driver.r.platform.linksLost();
    late.driver.r.platform.linksLost();
    const saved = structuredClone(late.driver.r.platform.save());
    late.driver.r.platform.restore(saved);
    // A buffer that is too short for an event goes back empty.
    late.offerEvents(3, 4, 4);
    assert.deepEqual(late.events(), [undefined, 0]);

    const off = start();
    off.driver.status = 0;
    off.driver.r.platform.linksLost();
    off.driver.start();
    off.offerEvents(4);
    assert.deepEqual(off.events(), [], 'a driver that comes later has lost nothing');
  });

  it('goes on from what was saved', () => {
    const s = open();
    s.send({ op: CREDIT_UPDATE, ports: PORTS, buffer: 10 });
    s.outside({ kind: 'data', id: 1, data: new Uint8Array(100) });
    const saved = structuredClone(s.driver.r.platform.save());
    assert.equal(s.driver.misfit, undefined);
    const before = s.driver.described('vsock0');
    s.outside({ kind: 'reset', id: 1 });
    s.driver.r.platform.restore(saved);
    assert.deepEqual(s.driver.described('vsock0'), before);
  });

  it('survives random packets, with bounded memory', () => {
    const s = start();
    let seed = 99;
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    for (let i = 0; i < 5000; i++) {
      if (!random(4)) s.offer(1 + random(4), 40 + random(4200));
      const data = new Uint8Array(random(3) ? 0 : random(3000));
      s.send({
        ...{ op: random(9), ports: [random(80), 78 + random(4)], flags: random(4), type: random(20) ? 1 : random(4) },
        ...{ buffer: random(2) ? WINDOW : random(2 ** 31), forwarded: random(2 ** 31), data },
        ...(random(20) ? {} : { length: random(2 ** 31), cids: [random(9), random(4)] as [number, number] }),
      });
      const id = random(200);
      const kind = random(6);
      if (kind === 0) s.outside({ kind: 'opened', id, credit: WINDOW });
      if (kind === 1) s.outside({ kind: 'data', id, data: new Uint8Array(1 + random(60_000)) });
      if (kind === 2) s.outside({ kind: 'accept', id: 2 * random(1e6), port: random(80), credit: 100 });
      if (kind === 3 && !random(5)) s.outside({ kind: 'shut', id });
      s.messages();
    }
    const text = s.driver.described('vsock0');
    assert.ok(Number(text.get('connections')!.split(' ')[0]) <= 64);
    assert.ok(Number(text.get('answers waiting')!.split(' ')[0]) <= 512, text.get('answers waiting'));
    assert.equal(s.driver.misfit, undefined);
  });
});
