// Networks of a launch against real sockets of this machine's loopback interface.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import type { LinkService } from '../../debug-adapter/engines/embedded/links';
import { openNetworks } from '../../debug-adapter/launchNetwork';
import { nodeHost } from '../../debug-adapter/node/host';
import { openStreams } from '../../debug-adapter/node/streams';
import { decodeStream, encodeStream, type StreamMessage } from '../../emulator-core/net/streams';

/** Also of one that was reset: events.once would reject. */
const closed = (socket: Socket) => new Promise<unknown>((resolve) => socket.once('close', resolve));

class Device {
  readonly heard: StreamMessage[] = [];
  private wake?: () => void;
  service!: LinkService;

  readonly answer = (bytes: Uint8Array): void => {
    this.heard.push(decodeStream(bytes));
    this.wake?.();
  };
  say(message: StreamMessage): void {
    this.service.message(encodeStream(message));
  }
  /** The next message of a kind. */
  async next<K extends StreamMessage['kind']>(kind: K): Promise<Extract<StreamMessage, { kind: K }>> {
    for (;;) {
      const at = this.heard.findIndex((message) => message.kind === kind);
      if (at >= 0) return this.heard.splice(at, 1)[0] as Extract<StreamMessage, { kind: K }>;
      await new Promise<void>((resolve) => (this.wake = resolve));
    }
  }
  async data(length: number): Promise<Buffer> {
    const parts: Uint8Array[] = [];
    for (let left = length; left > 0; left -= parts.at(-1)!.length) parts.push((await this.next('data')).data);
    return Buffer.concat(parts);
  }
}

describe('networks of a launch', () => {
  const open: { close(): void }[] = [];
  afterEach(() => open.splice(0).forEach((each) => each.close()));

  async function server(connected: (socket: Socket) => void, host = '127.0.0.1'): Promise<number> {
    const listening: Server = createServer({ allowHalfOpen: true }, connected).listen(0, host);
    open.push(listening);
    await once(listening, 'listening');
    return (listening.address() as AddressInfo).port;
  }
  async function freePort(): Promise<number> {
    const port = await server(() => undefined);
    const taken = open.pop() as Server;
    await new Promise((resolve) => taken.close(resolve));
    return port;
  }
  async function device(ports: number[], forward: { host: number; guest: number }[] = []) {
    const streams = await openStreams({ ports, forward });
    open.push(streams);
    const begin = (): Device => {
      const made = new Device();
      made.service = streams.open(made.answer);
      return made;
    };
    return { streams, begin, device: begin() };
  }

  it('connect the guest to the ports that are listed, both directions with credit', async () => {
    const port = await server((socket) => socket.pipe(socket));
    const { device: d } = await device([port]);
    d.say({ kind: 'open', id: 1, port, credit: 10 });
    assert.deepEqual(await d.next('opened'), { kind: 'opened', id: 1, credit: 1 << 18 });
    assert.equal(d.service.busy, true);
    d.say({ kind: 'data', id: 1, data: Buffer.from('hello, world, and more') });
    assert.equal((await d.next('credit')).count, 22);
    assert.equal((await d.data(10)).toString(), 'hello, wor');
    d.say({ kind: 'shut', id: 1 });
    d.say({ kind: 'credit', id: 1, count: 100 });
    assert.equal((await d.data(12)).toString(), 'ld, and more');
    assert.deepEqual(await d.next('shut'), { kind: 'shut', id: 1 });
    assert.equal(d.service.busy, false);
  });

  it('refuse other ports without trying, and those where nobody listens', async () => {
    let connections = 0;
    const port = await server(() => connections++);
    const closed = await freePort();
    const { device: d } = await device([closed]);
    d.say({ kind: 'open', id: 1, port, credit: 10 });
    assert.deepEqual(d.heard, [], 'not within the call');
    assert.equal((await d.next('refused')).id, 1);
    d.say({ kind: 'open', id: 3, port: closed, credit: 10 });
    assert.equal((await d.next('refused')).id, 3);
    assert.equal(connections, 0);
  });

  it('pass resets on', async () => {
    const port = await server((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => socket.resetAndDestroy());
    });
    const { device: d } = await device([port]);
    d.say({ kind: 'open', id: 1, port, credit: 10 });
    await d.next('opened');
    d.say({ kind: 'data', id: 1, data: Buffer.from('x') });
    assert.deepEqual(await d.next('reset'), { kind: 'reset', id: 1 });
  });

  it('forward loopback ports to the guest, and keep listening while services begin anew', async () => {
    const port = await freePort();
    const { device: d, begin } = await device([], [{ host: port, guest: 22 }]);
    const client = connect(port, '127.0.0.1');
    client.on('error', () => undefined);
    assert.deepEqual(await d.next('accept'), { kind: 'accept', id: 2, port: 22, credit: 1 << 18 });
    client.write('early');
    d.say({ kind: 'opened', id: 2, credit: 100 });
    assert.equal((await d.data(5)).toString(), 'early');
    d.service.close();
    const second = begin();
    await closed(client);
    const other = connect(port, '127.0.0.1');
    other.on('error', () => undefined);
    assert.equal((await second.next('accept')).id, 4, 'no ID is used twice');
    second.say({ kind: 'refused', id: 4 });
    await closed(other);
    assert.deepEqual(d.heard, []);
    assert.equal(second.service.busy, false);
  });

  it('are closed at the end', async () => {
    const port = await freePort();
    const opened = await openNetworks({ network: { forward: [{ host: port, guest: 22 }] } }, nodeHost);
    opened.network!.streams!.close();
    const again = await openNetworks({ network: { forward: [{ host: port, guest: 22 }] } }, nodeHost);
    again.network!.streams!.close();
  });

  it('have defaults, and nothing outside when nothing is named', async () => {
    assert.deepEqual(await openNetworks({}, nodeHost), {});
    const { network, vsock } = await openNetworks({ network: {}, vsock: {} }, nodeHost);
    assert.deepEqual(network, { mac: Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56), bus: 'virtio', ports: [] });
    assert.deepEqual(vsock, { cid: 3, bus: 'virtio', ports: [] });
  });

  it('say which attribute is wrong', async () => {
    const port = await server(() => undefined);
    const free = await freePort();
    const refused = (attributes: Parameters<typeof openNetworks>[0], message: RegExp, host = nodeHost) =>
      assert.rejects(openNetworks(attributes, host), message);
    await refused(
      { network: { forward: [{ host: free, guest: 1 }] }, vsock: { forward: [{ host: port, guest: 2 }] } },
      new RegExp(
        `^LaunchError: vsock.forward\\[0\\].host: can't listen on port ${port} of 127.0.0.1: another program uses it`,
      ),
    );
    const twice = [{ host: free, guest: 1 }, { host: free, guest: 2 }]; // prettier-ignore
    await refused(
      { network: { forward: twice } },
      /network\.forward\[1\]\.host: \d+ is forwarded by forward\[0\] already/,
    );
    await refused({ network: { mac: '01:00:00:00:00:01' } }, /^LaunchError: network\.mac: expected the address of one/);
    const browser = { ...nodeHost, openStreams: undefined };
    await refused({ network: { ports: [80] } }, /^LaunchError: network\.ports: Ringside cannot open network/, browser);
    await refused({ vsock: { forward: [{ host: 1, guest: 1 }] } }, /^LaunchError: vsock\.forward: /, browser);
  });
});
