/** The network that a guest finds: who is where in 10.0.2.0/24, as in QEMU's user network. */
import { ipv4 } from './bytes';

export const NETWORK = ipv4(10, 0, 2, 0);
export const NETMASK = ipv4(255, 255, 255, 0);
/** The gateway; ports of this machine that the guest may reach are there. */
export const GATEWAY = ipv4(10, 0, 2, 2);
export const NAME_SERVER = ipv4(10, 0, 2, 3);
/** The guest's first lease, and the last one. */
export const FIRST_LEASE = ipv4(10, 0, 2, 15);
export const LAST_LEASE = ipv4(10, 0, 2, 30);
export const NETWORK_BROADCAST = ipv4(10, 0, 2, 255);
export const LIMITED_BROADCAST = 0xffffffff;
/** The gateway's and the name server's interface. */
export const GATEWAY_MAC = Uint8Array.of(0x52, 0x55, 10, 0, 2, 2);

export const DEFAULT_MAC = '52:54:00:12:34:56';
export const MTU = 1500;

/** Whether an address may be one of the guest's. */
export function isGuestAddress(address: number): boolean {
  if ((address & NETMASK) >>> 0 !== NETWORK) return false;
  return ![NETWORK, GATEWAY, NAME_SERVER, NETWORK_BROADCAST].includes(address);
}
