/** `network` and `vsock` of a launch configuration: what the guest may reach of this machine, and what reaches it. */
import { DEFAULT_MAC } from '../emulator-core/net/addresses';
import { parseMac } from '../emulator-core/net/bytes';
import type { Host } from './engine';
import type { LaunchNetwork, LaunchVsock, Streams, StreamsWanted } from './engines/launch';
import { messageOf } from './errors';
import { LaunchError } from './launchSchema';

/** As launch.json has them; the schema has checked types and ranges. */
interface StreamAttributes {
  bus?: 'virtio' | 'virtio-mmio';
  ports?: number[];
  forward?: { host: number; guest: number }[];
}
export interface NetworkAttributes extends StreamAttributes {
  mac?: string;
}
export interface VsockAttributes extends StreamAttributes {
  cid?: number;
}

const DEFAULT_CID = 3;

/**
 * Listens on the forwarded ports.
 * @throws LaunchError that names the attribute and what is wrong
 */
export async function openNetworks(
  attributes: { network?: NetworkAttributes; vsock?: VsockAttributes },
  host: Host,
): Promise<{ network?: LaunchNetwork; vsock?: LaunchVsock }> {
  const { network, vsock } = attributes;
  const mac = parseMac(network?.mac ?? DEFAULT_MAC);
  if (!mac) {
    const expected =
      'expected the address of one interface, such as "52:54:00:12:34:56": the lowest bit of its first byte is 0';
    throw new LaunchError(`network.mac: ${expected}, got ${JSON.stringify(network!.mac)}`);
  }
  const opened: { network?: LaunchNetwork; vsock?: LaunchVsock } = {};
  try {
    if (network) opened.network = { mac, ...(await open('network', network, host)) };
    if (vsock) opened.vsock = { cid: vsock.cid ?? DEFAULT_CID, ...(await open('vsock', vsock, host)) };
  } catch (error) {
    opened.network?.streams?.close();
    throw error;
  }
  return opened;
}

async function open(
  attribute: string,
  { bus = 'virtio', ports = [], forward = [] }: StreamAttributes,
  host: Host,
): Promise<{ bus: 'virtio' | 'virtio-mmio'; ports: number[]; streams?: Streams }> {
  if (ports.length === 0 && forward.length === 0) return { bus, ports };
  return { bus, ports, streams: await openStreams(attribute, { ports, forward }, host) };
}

async function openStreams(attribute: string, wanted: StreamsWanted, host: Host): Promise<Streams> {
  const { forward } = wanted;
  if (!host.openStreams) {
    const part = wanted.ports.length > 0 ? 'ports' : 'forward';
    throw new LaunchError(`${attribute}.${part}: Ringside cannot open network connections here; leave it out`);
  }
  forward.forEach(({ host: port }, i) => {
    const first = forward.findIndex((each) => each.host === port);
    if (first < i)
      throw new LaunchError(`${attribute}.forward[${i}].host: ${port} is forwarded by forward[${first}] already`);
  });
  try {
    return await host.openStreams(wanted);
  } catch (error) {
    const { port, code } = error as { port?: number; code?: string };
    const i = forward.findIndex((each) => each.host === port);
    const reason =
      code === 'EADDRINUSE' ? 'another program uses it' : code === 'EACCES' ? 'permission denied' : messageOf(error);
    throw new LaunchError(`${attribute}.forward[${i}].host: can't listen on port ${port} of 127.0.0.1: ${reason}`);
  }
}
