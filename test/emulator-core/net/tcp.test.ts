// The gateway's TCP, against RFC 9293 (sections in the tests' names).
import assert from 'node:assert/strict';
import { misfit, shapeOf } from '../../../emulator-core/snapshot/shape';
import { ACK, FIN, frame, GUEST_MAC, PSH, Rig, RST, SYN, tcp, type Segment, type Tcp } from './guest';

const PORTS: [number, number] = [40000, 80];
const ISS = 1000;
const MSS_1460 = [2, 4, 0x05, 0xb4];
const SECOND = 1e9;
const bytes = (length: number, from = 0): Uint8Array => Uint8Array.from({ length }, (_, i) => from + i);

/** An established connection, opened by the guest. */
function established(options: Partial<Tcp> = {}, credit = 1 << 18) {
  const r = new Rig();
  r.tcp({ ports: PORTS, seq: ISS, flags: SYN, options: MSS_1460, ...options });
  const [open] = r.messages();
  assert.equal(open.kind, 'open');
  const [synAck] = r.outside({ kind: 'opened', id: open.id, credit });
  const nxt = (synAck.seq + 1) >>> 0;
  const send = (more: Partial<Tcp> = {}): Segment[] =>
    r.tcp({ ports: PORTS, seq: ISS + 1, ack: nxt, flags: ACK, ...more });
  send();
  return { r, id: open.id, synAck, nxt, send };
}

describe('TCP of the user-mode network', () => {
  it('opens when the stream outside is there, 3.5', () => {
    const r = new Rig();
    assert.deepEqual(r.tcp({ ports: PORTS, seq: ISS, flags: SYN, options: [...MSS_1460, 1, 3, 3, 7] }), []);
    assert.deepEqual(r.messages(), [{ kind: 'open', id: 1, port: 80, credit: 1 << 18 }]);
    assert.deepEqual(r.tcp({ ports: PORTS, seq: ISS, flags: SYN, options: MSS_1460 }), [], 'again, while it is opened');
    const [synAck] = r.outside({ kind: 'opened', id: 1, credit: 1 << 18 });
    assert.deepEqual([synAck.flags, synAck.ack, synAck.ports], [SYN | ACK, ISS + 1, [80, 40000]]);
    assert.deepEqual(synAck.options, [2, 4, 5, 0xb4, 1, 3, 3, 3]);
    const [update] = r.tcp({ ports: PORTS, seq: ISS + 1, ack: synAck.seq + 1, flags: ACK });
    assert.equal(update.window << 3, 1 << 18, 'more than a SYN could tell');
    assert.deepEqual(r.states, ['established']);
    const plain = established();
    assert.deepEqual(plain.synAck.options, [2, 4, 5, 0xb4], 'no window scale if the SYN has none (RFC 7323, 2.2)');
  });

  it('resets what is not allowed at once, 3.10.7.1', () => {
    const r = new Rig();
    for (const to of [
      [10, 0, 2, 2],
      [10, 0, 2, 3],
      [1, 2, 3, 4],
    ]) {
      const [reset] = r.tcp({ ports: [40000, 81], seq: ISS, flags: SYN, data: [] }, to);
      assert.deepEqual([reset.flags, reset.seq, reset.ack], [RST | ACK, 0, ISS + 1]);
    }
    const [stray] = r.tcp({ ports: PORTS, seq: 5, ack: 77, flags: ACK });
    assert.deepEqual([stray.flags, stray.seq], [RST, 77]);
    assert.deepEqual(r.tcp({ ports: PORTS, seq: 5, flags: RST }), []);
    assert.deepEqual(r.messages(), []);
    r.tcp({ ports: PORTS, seq: ISS, flags: SYN });
    const [refused] = r.outside({ kind: 'refused', id: 1 });
    assert.deepEqual([refused.flags, refused.ack], [RST | ACK, ISS + 1]);
    assert.deepEqual(r.states, []);
  });

  it('drops segments with a bad checksum', () => {
    const r = new Rig();
    const packet = tcp([10, 0, 2, 2], { ports: PORTS, seq: ISS, flags: SYN });
    packet[packet.length - 1] ^= 1;
    assert.deepEqual(r.send(packet), []);
    assert.equal(r.dropped('TCP: bad checksum'), 1);
    r.network.input(frame(0x0800, packet), 34);
    assert.equal(r.states.length, 1, 'unless the guest leaves it to its interface');
  });

  it('passes data on in order and acknowledges it, 3.10.7.4', () => {
    const { r, id, send } = established();
    const [ack] = send({ data: bytes(100), flags: ACK | PSH });
    assert.deepEqual([ack.flags, ack.ack], [ACK, ISS + 101]);
    assert.deepEqual(r.messages(), [{ kind: 'data', id, data: bytes(100) }]);
    const [gap] = send({ seq: ISS + 201, data: bytes(50) });
    assert.equal(gap.ack, ISS + 101, 'a gap: what is expected');
    assert.deepEqual(r.messages(), []);
    const [overlap] = send({ seq: ISS + 51, data: bytes(100, 50) });
    assert.equal(overlap.ack, ISS + 151);
    assert.deepEqual(r.messages(), [{ kind: 'data', id, data: bytes(50, 100) }]);
    const [old] = send({ seq: ISS + 1, data: bytes(10) });
    assert.equal(old.ack, ISS + 151);
    assert.deepEqual(r.messages(), []);
  });

  it('takes no more than the outside does, and tells when it takes more, 3.8.6', () => {
    const { r, id, send } = established({}, 3000);
    const [ack] = send({ data: bytes(2500) });
    assert.deepEqual([ack.ack, ack.window], [ISS + 2501, 500]);
    const [full] = send({ seq: ISS + 2501, data: bytes(1000) });
    assert.deepEqual([full.ack, full.window], [ISS + 3001, 0]);
    assert.deepEqual(r.messages().map((m) => (m.kind === 'data' ? m.data.length : m.kind)), [2500, 500]); // prettier-ignore
    const [probed] = send({ seq: ISS + 3001, data: bytes(1) });
    assert.deepEqual([probed.ack, probed.window], [ISS + 3001, 0], 'a probe into the closed window');
    assert.deepEqual(r.outside({ kind: 'credit', id, count: 100 }), [], 'not worth telling');
    const [update] = r.outside({ kind: 'credit', id, count: 2900 });
    assert.deepEqual([update.ack, update.window], [ISS + 3001, 3000]);
  });

  it('sends no more than the window, in segments of the size that the guest takes', () => {
    const { r, id, nxt, send } = established();
    send({ window: 4000 });
    const data = Uint8Array.from({ length: 10_000 }, (_, i) => i);
    const out = r.outside({ kind: 'data', id, data });
    assert.deepEqual(out.map((s) => s.data.length), [1460, 1460]); // prettier-ignore
    assert.deepEqual(r.messages(), [], 'no credit before it is acknowledged');
    const more = send({ ack: nxt + 2920, window: 60_000 });
    assert.deepEqual(more.map((s) => s.data.length), [1460, 1460, 1460, 1460, 1240]); // prettier-ignore
    assert.equal(more[4].flags & PSH, PSH);
    const all = [...out, ...more].flatMap((s) => [...s.data]);
    assert.deepEqual(all, [...data]);
    send({ ack: nxt + 10_000 });
    assert.deepEqual(r.messages(), [{ kind: 'credit', id, count: 10_000 }]);
    const small = established({ options: [2, 4, 0, 100] });
    assert.equal(small.r.outside({ kind: 'data', id: small.id, data })[0].data.length, 100);
  });

  it('sends again after a second, doubled each time, and gives up, 3.8.3', () => {
    const { r, id, nxt } = established();
    r.outside({ kind: 'data', id, data: bytes(10) });
    const times: number[] = [];
    let last: Segment[] = [];
    for (let i = 0; r.states.length > 0; i++) {
      assert.ok(i < 20);
      last = r.alarm();
      times.push(r.time / SECOND);
      if (r.states.length > 0) assert.deepEqual([last[0].seq, last[0].data], [nxt, bytes(10)]);
    }
    assert.deepEqual(times.slice(0, 6), [1, 3, 7, 15, 31, 63]);
    assert.equal(last[0].flags & RST, RST);
    assert.deepEqual(r.messages(), [{ kind: 'reset', id }]);
    assert.equal(r.network.tcp.nextAlarm, Infinity);
  });

  it('sends again at the third duplicate acknowledgement', () => {
    const { r, id, nxt, send } = established();
    send();
    r.outside({ kind: 'data', id, data: bytes(100) });
    assert.deepEqual([send(), send()].flat(), []);
    const [again] = send();
    assert.deepEqual([again.seq, again.data.length], [nxt, 100]);
  });

  it('probes a closed window for as long as the guest answers, 3.8.6.1', () => {
    const { r, id, nxt, send } = established();
    send({ window: 0 });
    assert.deepEqual(r.outside({ kind: 'data', id, data: bytes(100) }), []);
    for (let i = 0; i < 30; i++) {
      const [probe] = r.alarm();
      assert.deepEqual([probe.seq, probe.data.length], [nxt, 1]);
      send({ window: 0 });
    }
    const [rest] = send({ window: 5000 });
    assert.deepEqual([rest.seq, rest.data], [nxt, bytes(100)]);
    send({ ack: nxt + 100 });
    assert.equal(r.network.tcp.nextAlarm, Infinity);
  });

  it('closes from the guest: half open until the outside ends, 3.6', () => {
    const { r, id, nxt, send } = established();
    const [ack] = send({ flags: FIN | ACK, data: bytes(5) });
    assert.equal(ack.ack, ISS + 7);
    assert.deepEqual(r.messages(), [{ kind: 'data', id, data: bytes(5) }, { kind: 'shut', id }]); // prettier-ignore
    assert.deepEqual(r.states, ['close-wait']);
    const [late] = r.outside({ kind: 'data', id, data: bytes(3) });
    assert.equal(late.data.length, 3);
    const [fin] = r.outside({ kind: 'shut', id });
    assert.deepEqual([fin.flags, fin.seq], [FIN | ACK, nxt + 3]);
    assert.deepEqual(r.states, ['last-ack']);
    send({ seq: ISS + 7, ack: nxt + 4 });
    assert.deepEqual(r.states, []);
  });

  it('closes from outside, and waits out the time of old segments', () => {
    const { r, id, nxt, send } = established();
    const [fin] = r.outside({ kind: 'shut', id });
    assert.deepEqual([fin.flags, fin.seq], [FIN | ACK, nxt]);
    assert.deepEqual(r.states, ['fin-wait-1']);
    send({ ack: nxt + 1 });
    assert.deepEqual(r.states, ['fin-wait-2']);
    send({ ack: nxt + 1, data: bytes(9) });
    assert.deepEqual(r.messages(), [{ kind: 'data', id, data: bytes(9) }]);
    const [ack] = send({ seq: ISS + 10, ack: nxt + 1, flags: FIN | ACK });
    assert.deepEqual([ack.ack, r.states], [ISS + 11, ['time-wait']]);
    const [again] = send({ seq: ISS + 10, ack: nxt + 1, flags: FIN | ACK });
    assert.equal(again.ack, ISS + 11);
    r.alarm();
    assert.deepEqual([r.states, r.time], [[], 60 * SECOND]);
  });

  it('closes from both sides at once', () => {
    const { r, id, nxt, send } = established();
    r.outside({ kind: 'shut', id });
    send({ flags: FIN | ACK });
    assert.deepEqual(r.states, ['closing']);
    send({ seq: ISS + 2, ack: nxt + 1 });
    assert.deepEqual(r.states, ['time-wait']);
    // 3.10.7.4: a new SYN, beyond the old numbers.
    r.messages();
    r.tcp({ ports: PORTS, seq: ISS + 5000, flags: SYN });
    assert.deepEqual(r.states, ['opening']);
    assert.equal(r.messages()[0].kind, 'open');
  });

  it('takes resets that are exactly in place, and questions others, 3.10.7.4', () => {
    const { r, id, send } = established();
    const [challenge] = send({ seq: ISS + 100, flags: RST });
    assert.deepEqual([challenge.flags, challenge.ack], [ACK, ISS + 1]);
    const [also] = send({ seq: ISS + 1, flags: SYN | ACK });
    assert.equal(also.flags, ACK);
    assert.deepEqual(send({ seq: ISS - 100000, flags: RST }), []);
    assert.deepEqual(r.states, ['established']);
    send({ flags: RST });
    assert.deepEqual([r.states, r.messages()], [[], [{ kind: 'reset', id }]]);
  });

  it('connects from outside to the guest', () => {
    const r = new Rig();
    const [syn] = r.outside({ kind: 'accept', id: 2, port: 22, credit: 5000 });
    assert.deepEqual([syn.flags, syn.ports, syn.window], [SYN, [49152, 22], 5000]);
    const [ack] = r.tcp({ ports: [22, 49152], seq: 7, ack: syn.seq + 1, flags: SYN | ACK, options: MSS_1460 });
    assert.deepEqual([ack.flags, ack.ack], [ACK, 8]);
    assert.deepEqual(r.messages(), [{ kind: 'opened', id: 2, credit: 1 << 18 }]);
    assert.equal(r.outside({ kind: 'data', id: 2, data: bytes(4) })[0].data.length, 4);
  });

  it('tells the outside that the guest does not listen, or does not answer', () => {
    const r = new Rig();
    const [syn] = r.outside({ kind: 'accept', id: 2, port: 22, credit: 5000 });
    r.tcp({ ports: [22, 49152], seq: 0, ack: syn.seq + 1, flags: RST | ACK });
    assert.deepEqual(r.messages(), [{ kind: 'refused', id: 2 }]);
    r.outside({ kind: 'accept', id: 4, port: 22, credit: 5000 });
    while (r.states.length > 0) r.alarm();
    assert.deepEqual(r.messages(), [{ kind: 'refused', id: 4 }]);
    assert.equal(r.time / SECOND, 1 + 2 + 4 + 8 + 16 + 32);
  });

  it('opens when both have sent a SYN, figure 8', () => {
    const r = new Rig();
    const [syn] = r.outside({ kind: 'accept', id: 2, port: 22, credit: 5000 });
    const [synAck] = r.tcp({ ports: [22, 49152], seq: 7, flags: SYN });
    assert.deepEqual([synAck.flags, synAck.seq, synAck.ack], [SYN | ACK, syn.seq, 8]);
    r.tcp({ ports: [22, 49152], seq: 8, ack: syn.seq + 1, flags: ACK });
    assert.deepEqual([r.states, r.messages()], [['established'], [{ kind: 'opened', id: 2, credit: 1 << 18 }]]);
  });

  it('has a bounded number of connections', () => {
    const r = new Rig();
    for (let i = 0; i < 200; i++) r.tcp({ ports: [1000 + i, 80], seq: 1, flags: SYN });
    assert.equal(r.states.length, 64);
    assert.equal(r.messages().length, 64);
    const ids = r.network.tcp.state.connections.map(({ id }) => id);
    assert.deepEqual(new Set(ids).size, 64);
  });

  it('resets all connections when the outside is lost, and tells it when the guest is', () => {
    const { r, nxt, id } = established();
    r.network.tcp.linkLost();
    const [reset] = r.taken().map((each) => each);
    assert.equal(reset[47] & RST, RST);
    assert.deepEqual([r.states, r.messages()], [[], []]);
    const other = established();
    other.r.network.reset();
    assert.deepEqual(other.r.messages(), [{ kind: 'reset', id }]);
    assert.ok(nxt > 0);
  });

  it('goes on from what was saved, in the middle of a transfer', () => {
    const { r, id, nxt, send } = established();
    send({ window: 2000 });
    r.outside({ kind: 'data', id, data: bytes(200) });
    r.outside({ kind: 'data', id, data: new Uint8Array(3000).fill(9) });
    const saved = structuredClone(r.network.save());
    const other = new Rig();
    other.network.restore(saved);
    const go = (rig: Rig): unknown => [
      rig.tcp({ ports: PORTS, seq: ISS + 1, ack: nxt + 200, flags: ACK, window: 9000 }),
      rig.outside({ kind: 'shut', id }),
      rig.tcp({ ports: PORTS, seq: ISS + 1, ack: nxt + 3200, flags: FIN | ACK }),
      rig.messages(),
      rig.network.save(),
    ];
    assert.deepEqual(go(other), go(r));
    assert.deepEqual(other.network.describe(), r.network.describe());
  });

  it('survives random frames, with bounded memory', function () {
    this.timeout(60_000);
    let seed = 12345;
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    const r = new Rig([80, 81]);
    const pick = <T>(from: readonly T[]): T => from[random(from.length)];
    for (let i = 0; i < 5_000; i++) {
      const known = r.network.tcp.state.connections[random(64)];
      const near = (value: number): number => (value + random(5) - 2 + (random(8) ? 0 : random(100_000))) >>> 0;
      const packet = tcp(
        pick([
          [10, 0, 2, 2],
          [10, 0, 2, 3],
          [9, 9, 9, 9],
        ]),
        {
          ports: known && random(3) ? [known.guestPort, known.hostPort] : [random(70), pick([80, 81, 82])],
          seq: near(known?.rcvNxt ?? 0),
          ack: near(known?.sndNxt ?? 0),
          flags: random(3) ? pick([SYN, ACK, FIN | ACK, RST, SYN | ACK, PSH | ACK]) : random(64),
          window: pick([0, 1, 1000, 65535]),
          options: random(4) ? [] : [random(6), random(6), random(256), random(256)],
          data: new Uint8Array(random(3) ? 0 : random(1400)),
        },
      );
      const bytesOut = frame(0x0800, packet, random(30) ? undefined : GUEST_MAC).slice(
        0,
        random(10) ? undefined : random(80),
      );
      if (!random(6) && bytesOut.length > 0) bytesOut[random(bytesOut.length)] = random(256);
      r.network.input(bytesOut, random(3) ? 0 : random(60));
      const id = known?.id ?? random(300);
      const kind = random(12);
      if (kind === 0) r.outside({ kind: 'opened', id, credit: random(200_000) });
      if (kind === 1) r.outside({ kind: 'data', id, data: new Uint8Array(1 + random(60_000)) });
      if (kind === 2) r.outside({ kind: 'credit', id, count: random(1000) });
      if (kind === 3 && !random(4)) r.outside({ kind: pick(['shut', 'reset', 'refused'] as const), id });
      if (kind === 4) r.outside({ kind: 'accept', id: 2 * random(1e6), port: random(70), credit: 1000 });
      if (kind === 5 && r.network.tcp.nextAlarm < Infinity) r.alarm();
      r.room = random(10) > 0;
      r.frames.length = 0;
      r.said.length = 0;
      const { connections } = r.network.tcp.state;
      assert.ok(connections.length <= 64);
      assert.ok(connections.every((c) => c.buffer.length <= 1 << 18 && c.credit >= 0));
    }
    assert.ok(r.network.save().dropped.length <= 30, 'reasons are from a fixed list');
    assert.equal(misfit(r.network.save(), shapeOf(new Rig().network.save())), undefined, 'a snapshot takes it');
  });
});
