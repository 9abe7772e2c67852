/** A vCPU's state in a checkpoint: the slots of the layout, and what the Vcpu object keeps beside them. */
import { State } from './layout';
import type { PendingException, Vcpu } from './vcpu';

/** Plain data: survives structuredClone. */
export interface SavedVcpu {
  /** The state's slots up to the scratch area, whose contents do not outlive an instruction. */
  bytes: Uint8Array;
  activity: Vcpu['activity'];
  shadowUntil: number;
  shadowLeft: number;
  shadowsTraps: boolean;
  debugTraps: number;
  nmiBlocked: boolean;
  faultsInRow: Vcpu['faultsInRow'];
  pending?: PendingException;
  msrs: [number, bigint][];
}

export function saveVcpu(cpu: Vcpu): SavedVcpu {
  return {
    bytes: cpu.memory.u8.slice(cpu.base, cpu.base + State.scratch),
    activity: cpu.activity,
    shadowUntil: cpu.shadowUntil,
    shadowLeft: cpu.shadowLeft,
    shadowsTraps: cpu.shadowsTraps,
    debugTraps: cpu.debugTraps,
    nmiBlocked: cpu.nmiBlocked,
    faultsInRow: { ...cpu.faultsInRow },
    pending: cpu.pending && { ...cpu.pending },
    msrs: [...cpu.msrs],
  };
}

/** Between instructions. Translations of the vCPU must be flushed afterwards. */
export function restoreVcpu(cpu: Vcpu, saved: SavedVcpu): void {
  cpu.memory.u8.set(saved.bytes, cpu.base);
  cpu.activity = saved.activity;
  cpu.shadowUntil = saved.shadowUntil;
  cpu.shadowLeft = saved.shadowLeft;
  cpu.shadowsTraps = saved.shadowsTraps;
  cpu.debugTraps = saved.debugTraps;
  cpu.debugHits = 0;
  cpu.resumeAt = -1;
  cpu.nmiBlocked = saved.nmiBlocked;
  Object.assign(cpu.faultsInRow, saved.faultsInRow);
  cpu.pending = saved.pending;
  cpu.msrs.clear();
  for (const [index, value] of saved.msrs) cpu.msrs.set(index, value);
  cpu.attention = true;
  cpu.modeChanged();
}

/** What is only for the code that runs at the moment, or follows from the rest: restoreVcpu() and flushed translations set it anew. */
const TRANSIENT: readonly [offset: number, length: number][] = [
  [State.zero, 8],
  [State.budget, 4],
  [State.tlb, 4],
  [State.codeTag, 4],
  [State.globalTag, 4],
  [State.slowAddress, 16],
  [State.linkFrom, 8],
  [State.divisor, 8],
  [State.bounce, 64],
  [State.vectorA, 128],
];

/** Zeroes what a state has of one process only, or would do harm in another. */
export function clearTransient({ bytes }: SavedVcpu): void {
  for (const [offset, length] of TRANSIENT) bytes.fill(0, offset, offset + length);
}
