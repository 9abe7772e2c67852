// The user-mode network's services. Expected values: RFC 826, 791, 792, 768, 1035, 1071, 2131, 2132.
import assert from 'node:assert/strict';
import { onesSum, checksum } from '../../../emulator-core/net/checksum';
import { parseMac } from '../../../emulator-core/net/bytes';
import { decodeStream, encodeStream, MAX_STREAM_DATA, type StreamMessage } from '../../../emulator-core/net/streams';
import { frame, GATEWAY, GATEWAY_MAC, GUEST, GUEST_MAC, ip, Rig, sum16, udp, u16, u32 } from './guest';

const BROADCAST = new Array<number>(6).fill(0xff);
const text = (value: string): number[] => [...Buffer.from(value)];

describe('checksum', () => {
  it('is that of RFC 1071, section 3, "Numerical Examples"', () => {
    const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
    assert.equal(onesSum(bytes), 0xddf2);
    assert.equal(checksum(bytes), 0x220d);
    assert.equal(onesSum(bytes.subarray(0, 7)), (0x0001 + 0xf203 + 0xf4f5 + 0xf600) % 0xffff, 'padded with zero');
  });
});

describe('addresses', () => {
  it('of interfaces are no group addresses', () => {
    assert.deepEqual(parseMac('52:54:00:12:34:56'), GUEST_MAC);
    for (const bad of ['53:54:00:12:34:56', '00:00:00:00:00:00', '52:54:00:12:34', '52-54-00-12-34-56']) {
      assert.equal(parseMac(bad), undefined);
    }
  });
});

describe('stream messages', () => {
  it('are read as they were written', () => {
    const messages: StreamMessage[] = [
      { kind: 'open', id: 1, port: 8080, credit: 0x40000 },
      { kind: 'accept', id: 0xfffffffe, port: 0xfffffffe, credit: 1 },
      { kind: 'opened', id: 2, credit: 0xffffffff },
      { kind: 'refused', id: 3 },
      { kind: 'data', id: 4, data: Uint8Array.of(1, 2, 3) },
      { kind: 'credit', id: 5, count: 7 },
      { kind: 'shut', id: 6 },
      { kind: 'reset', id: 7 },
    ];
    for (const message of messages) assert.deepEqual(decodeStream(encodeStream(message)), message);
  });

  it('of another length or kind are refused', () => {
    const open = encodeStream({ kind: 'open', id: 1, port: 1, credit: 1 });
    for (const bad of [
      open.subarray(0, 12),
      Uint8Array.of(...open, 0),
      new Uint8Array(4),
      Uint8Array.of(8, 0, 0, 0, 0),
    ])
      assert.throws(() => decodeStream(bad), RangeError);
    const data = (length: number) => Uint8Array.of(4, 1, 0, 0, 0, ...new Uint8Array(length));
    assert.throws(() => decodeStream(data(0)), RangeError);
    assert.throws(() => decodeStream(data(MAX_STREAM_DATA + 1)), RangeError);
  });
});

describe('user-mode network', () => {
  const arpRequest = (target: number[]): number[] => [
    ...[0, 1, 8, 0, 6, 4, 0, 1, ...GUEST_MAC, ...GUEST, 0, 0, 0, 0, 0, 0],
    ...target,
  ];

  it('answers ARP for the gateway and the name server only', () => {
    const r = new Rig();
    r.network.input(frame(0x0806, arpRequest(GATEWAY), BROADCAST));
    const reply = [0, 1, 8, 0, 6, 4, 0, 2, ...GATEWAY_MAC, ...GATEWAY, ...GUEST_MAC, ...GUEST];
    assert.deepEqual([...r.taken()[0]], [...GUEST_MAC, ...GATEWAY_MAC, 8, 6, ...reply]);
    for (const target of [GUEST, [10, 0, 2, 4], [10, 0, 2, 255], [8, 8, 8, 8]]) {
      r.network.input(frame(0x0806, arpRequest(target), BROADCAST));
      assert.equal(r.taken().length, 0, target.join('.'));
    }
  });

  const echo = (data: string): number[] => {
    const message = [8, 0, 0, 0, 0x12, 0x34, 0, 1, ...text(data)];
    message.splice(2, 2, ...u16(sum16(message)));
    return message;
  };

  it('answers ping, and says that elsewhere is unreachable', () => {
    const r = new Rig();
    const [reply] = r.send(ip(1, GATEWAY, echo('abc')));
    assert.deepEqual([...reply.subarray(26, 34)], [...GATEWAY, ...GUEST]);
    assert.deepEqual([...reply.subarray(38)], [0x12, 0x34, 0, 1, ...text('abc')]);
    assert.equal(reply[34], 0);
    assert.equal(sum16([...reply.subarray(34)]), 0);
    const packet = ip(1, [8, 8, 8, 8], echo('abc'));
    const [error] = r.send(packet);
    assert.deepEqual([...error.subarray(34, 36)], [3, 0]);
    assert.deepEqual([...error.subarray(42)], packet.slice(0, 28), 'header and 64 bits');
  });

  it('drops what is malformed, with the reason', () => {
    const r = new Rig();
    const good = ip(1, GATEWAY, echo('x'));
    const changed = (at: number, value: number): number[] => good.map((byte, i) => (i === at ? value : byte));
    const fixed = (packet: number[]): number[] => {
      packet.splice(10, 2, 0, 0);
      packet.splice(10, 2, ...u16(sum16(packet.slice(0, 20))));
      return packet;
    };
    const bad: [number[], string][] = [
      [changed(8, 63), 'IPv4: bad checksum'],
      [fixed(changed(3, 200)), 'IPv4: bad length'],
      [fixed(changed(0, 0x44)), 'IPv4: bad header'],
      [fixed(changed(0, 0x65)), 'IPv4: bad header'],
      [fixed(changed(6, 0x20)), 'IPv4: fragment'],
      [fixed(changed(7, 1)), 'IPv4: fragment'],
      [good.slice(0, 19), 'IPv4: cut short'],
      [changed(28, 1), 'ICMP: malformed'],
    ];
    for (const [packet, reason] of bad) {
      const before = r.dropped(reason);
      assert.deepEqual(r.send(packet), [], reason);
      assert.equal(r.dropped(reason), before + 1, reason);
    }
    assert.equal(r.send([...good, ...new Array<number>(17).fill(0)]).length, 1, 'padding is none of it');
  });

  it('answers UDP to elsewhere with "port unreachable"', () => {
    const r = new Rig();
    const packet = udp([10, 0, 2, 2], [1000, 123], [1, 2, 3]);
    const [error] = r.send(packet);
    assert.deepEqual([...error.subarray(34, 36)], [3, 3]);
    assert.deepEqual([...error.subarray(42)], packet.slice(0, 28));
    assert.equal(r.send(udp([255, 255, 255, 255], [1, 2], []), BROADCAST).length, 0);
    packet[packet.length - 1]++;
    assert.equal(r.send(packet).length, 0);
    assert.equal(r.dropped('UDP: bad checksum'), 1);
  });

  // RFC 2131, figure 1.
  const dhcp = (options: number[], { flags = 0, ciaddr = [0, 0, 0, 0], mac = GUEST_MAC } = {}): number[] => [
    ...[1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef, 0, 0, ...u16(flags), ...ciaddr, ...u32(0), ...u32(0), ...u32(0)],
    ...[...mac, ...new Array<number>(10).fill(0), ...new Array<number>(192).fill(0), 0x63, 0x82, 0x53, 0x63],
    ...[...options, 255],
  ];
  const ask = (r: Rig, message: number[]): Uint8Array | undefined =>
    r.send(udp([255, 255, 255, 255], [68, 67], message, [0, 0, 0, 0]), BROADCAST)[0];
  const options = (reply: Uint8Array): Map<number, number[]> => {
    const bytes = reply.subarray(42 + 240);
    const found = new Map<number, number[]>();
    for (let at = 0; bytes[at] !== 255; at += 2 + bytes[at + 1])
      found.set(bytes[at], [...bytes.subarray(at + 2, at + 2 + bytes[at + 1])]);
    return found;
  };

  it('leases 10.0.2.15, as RFC 2131 has it', () => {
    const r = new Rig();
    const offer = ask(r, dhcp([53, 1, 1]))!;
    assert.deepEqual([...offer.subarray(0, 6)], [...GUEST_MAC]);
    assert.deepEqual([...offer.subarray(26, 38)], [...GATEWAY, ...GUEST, 0, 67, 0, 68]);
    const message = offer.subarray(42);
    assert.deepEqual([...message.subarray(0, 12)], [2, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 0]);
    assert.deepEqual([...message.subarray(16, 20)], GUEST, 'yiaddr');
    assert.deepEqual([...message.subarray(28, 34)], [...GUEST_MAC]);
    assert.ok(message.length >= 300);
    const offered = options(offer);
    assert.deepEqual(offered.get(53), [2]);
    assert.deepEqual(offered.get(54), GATEWAY, 'server');
    assert.deepEqual(offered.get(1), [255, 255, 255, 0]);
    assert.deepEqual(offered.get(3), GATEWAY, 'router');
    assert.deepEqual(offered.get(6), [10, 0, 2, 3], 'name server');
    assert.deepEqual(offered.get(51), u32(86400));
    const ack = ask(
      r,
      dhcp([53, 1, 3, 50, 4, ...GUEST, 54, 4, ...GATEWAY, 12, 4, ...text('Test')], { flags: 0x8000 }),
    )!;
    assert.deepEqual(options(ack).get(53), [5]);
    assert.deepEqual([...ack.subarray(0, 6)], BROADCAST, 'the broadcast flag');
    assert.deepEqual([...ack.subarray(30, 34)], [255, 255, 255, 255]);
    assert.deepEqual(r.network.save().dhcp.leases, [
      { mac: GUEST_MAC, address: 0x0a00020f, name: 'test', bound: true },
    ]);
  });

  it('refuses other addresses, leaves other servers alone, and runs out of leases', () => {
    const r = new Rig();
    const nak = ask(r, dhcp([53, 1, 3, 50, 4, 192, 168, 1, 7]))!;
    assert.deepEqual(options(nak).get(53), [6]);
    assert.deepEqual([...nak.subarray(0, 6)], BROADCAST);
    assert.equal(ask(r, dhcp([53, 1, 3, 50, 4, ...GUEST, 54, 4, 10, 0, 2, 99])), undefined);
    for (let i = 0; i < 40; i++) ask(r, dhcp([53, 1, 1], { mac: Uint8Array.of(2, 0, 0, 0, 0, i) }));
    assert.equal(r.network.save().dhcp.leases.length, 16);
    const inform = ask(r, dhcp([53, 1, 8], { ciaddr: GUEST }))!;
    assert.deepEqual(options(inform).get(53), [5]);
    assert.deepEqual([...inform.subarray(42 + 16, 42 + 20)], [0, 0, 0, 0], 'yiaddr');
    assert.equal(options(inform).has(51), false);
  });

  const labels = (name: string): number[] => [...name.split('.').flatMap((label) => [label.length, ...text(label)]), 0];
  const query = (name: string, type: number, flags = 0x0100): number[] => [
    ...[0x12, 0x34, ...u16(flags), 0, 1, 0, 0, 0, 0, 0, 0, ...labels(name), ...u16(type), 0, 1],
  ];
  const lookUp = (r: Rig, message: number[]): number[] | undefined => {
    const [reply] = r.send(udp([10, 0, 2, 3], [4000, 53], message));
    return reply && [...reply.subarray(42)];
  };
  const answer = (type: number, data: number[]): number[] => [
    ...[0xc0, 12, ...u16(type), 0, 1, ...u32(60), ...u16(data.length), ...data],
  ];

  it('knows host, gateway, dns and the guest by name and by address', () => {
    const r = new Rig();
    const header = [0x12, 0x34, 0x85, 0x80, 0, 1];
    for (const name of ['host', 'gateway', 'HOST', 'host.internal']) {
      const expected = [...header, 0, 1, 0, 0, 0, 0, ...query(name, 1).slice(12), ...answer(1, GATEWAY)];
      assert.deepEqual(lookUp(r, query(name, 1)), expected, name);
    }
    assert.deepEqual(lookUp(r, query('guest', 1))!.slice(-4), GUEST);
    assert.deepEqual(lookUp(r, query('dns', 1))!.slice(-4), [10, 0, 2, 3]);
    assert.deepEqual(
      lookUp(r, query('host', 28)),
      [...header, 0, 0, 0, 0, 0, 0, ...query('host', 28).slice(12)],
      'AAAA',
    );
    const reverse = query('2.2.0.10.in-addr.arpa', 12);
    const pointer = answer(12, labels('host.internal'));
    assert.deepEqual(lookUp(r, reverse), [...header, 0, 1, 0, 0, 0, 0, ...reverse.slice(12), ...pointer]);
    ask(r, dhcp([53, 1, 1]));
    ask(r, dhcp([53, 1, 3, 50, 4, ...GUEST, 12, 6, ...text('debian')]));
    assert.deepEqual(lookUp(r, query('debian', 1))!.slice(-4), GUEST);
  });

  it('says at once that other names do not exist, and answers malformed queries with an error', () => {
    const r = new Rig();
    const rcode = (message: number[]): number => lookUp(r, message)![3] & 15;
    for (const [name, type] of [
      ['example.com', 1],
      ['example.com', 28],
      ['1.1.1.1.in-addr.arpa', 12],
      ['constructor', 1],
    ] as const)
      assert.equal(rcode(query(name, type)), 3, name);
    assert.equal(rcode(query('host', 1, 0x2800)), 4, 'UPDATE');
    assert.equal(rcode(query('host', 1).slice(0, 16)), 1);
    assert.equal(rcode([0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1]), 1, 'a pointer to itself');
    assert.equal(lookUp(r, query('host', 1, 0x8100)), undefined, 'a response');
    assert.equal(lookUp(r, [1, 2, 3]), undefined);
  });
});
