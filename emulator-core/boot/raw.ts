/**
 * A flat binary: loaded at 1 MiB (guest-physical 100000h) and entered at its first byte in 32-bit protected mode without
 * paging: flat segments, interrupts off, ESP = 7C00h with the stack growing down from there, other registers 0.
 * It has no command line, modules or initial RAM disk. It needs the image's size plus whatever the binary uses beyond.
 */
import type { EntryState } from './boot';
import { flatProtectedEntry } from './entryState';
import { refuseExtras, type BootContext } from './protocol';

export const RAW_LOAD_ADDRESS = 0x100000;
const STACK_TOP = 0x7c00;
const STACK_SIZE = 0x7000;

export function loadRaw(context: BootContext): EntryState {
  const { request, placement } = context;
  refuseExtras(context, 'raw', 'all');
  placement.claim('the stack', STACK_TOP - STACK_SIZE, STACK_SIZE);
  placement.place('kernel', RAW_LOAD_ADDRESS, request.kernel);
  return flatProtectedEntry(placement, RAW_LOAD_ADDRESS, { rsp: STACK_TOP });
}
