/** Everything of a machine but guest RAM, as plain data: what checkpoints and snapshots hold. */
import type { Core } from '../cpu/core';
import type { Delivery } from '../cpu/delivery';
import type { Monitors } from '../cpu/monitor';
import { restoreVcpu, saveVcpu, type SavedVcpu } from '../cpu/savedVcpu';
import type { Vcpu } from '../cpu/vcpu';
import type { Platform } from '../devices/platform';
import type { Disk, DiskState } from '../disk/disk';
import type { GuestInterface } from '../guest/guestInterface';
import type { MachineMemory } from '../mmu/memory';
import type { Mmu } from '../mmu/mmu';
import type { Changes } from '../time/changes';
import type { MachineClock, SavedClock } from '../time/machineClock';
import type { Vmm } from '../virt/vmm';
import type { ConsoleKeys } from './consoleKeys';
import type { MachineEnd } from './machineTypes';
import type { Scheduler } from './scheduler';

/** Plain data: survives structuredClone. */
export interface SavedMachine {
  retired: number;
  clock: SavedClock;
  scheduler: ReturnType<Scheduler['save']>;
  inputs: ReturnType<Changes['save']>;
  keys: ReturnType<ConsoleKeys['save']>;
  vcpus: SavedVcpu[];
  ept: Uint8Array;
  vmm: ReturnType<Vmm['save']>;
  delivery: ReturnType<Delivery['save']>;
  guest: unknown;
  monitors: ReturnType<Monitors['save']>;
  disks: DiskState[];
  platform: ReturnType<Platform['save']>;
  end?: MachineEnd;
}

/** Whose state it is. */
export interface StateParts {
  memory: MachineMemory;
  core: Core;
  mmu: Mmu;
  clock: MachineClock;
  scheduler: Scheduler;
  inputs: Changes;
  keys: ConsoleKeys;
  vcpus: readonly Vcpu[];
  vmm: Vmm;
  delivery: Delivery;
  guest?: GuestInterface;
  monitors: Monitors;
  disks: readonly Disk[];
  platform: Platform;
}

/** @param end why the machine ended, if it did */
export function saveMachine(parts: StateParts, end: MachineEnd | undefined): SavedMachine {
  const { memory } = parts;
  return {
    retired: parts.core.retired,
    clock: parts.clock.save(),
    scheduler: parts.scheduler.save(),
    inputs: parts.inputs.save(),
    keys: parts.keys.save(),
    vcpus: parts.vcpus.map(saveVcpu),
    ept: memory.u8.slice(memory.eptBase, memory.eptUsedEnd),
    vmm: parts.vmm.save(),
    delivery: parts.delivery.save(),
    guest: parts.guest?.save(),
    monitors: parts.monitors.save(),
    disks: parts.disks.map((disk) => disk.save()),
    platform: structuredClone(parts.platform.save()),
    end,
  };
}

/** Takes over what saveMachine() gave, between instructions; `saved` stays as it is. Why the machine ended is the caller's to take. */
export function restoreMachine(parts: StateParts, saved: SavedMachine): void {
  // What disks hold is shared with the checkpoint, which they do not change.
  const { disks, ...rest } = saved;
  const s = structuredClone(rest);
  const { memory, core } = parts;
  core.retired = s.retired;
  parts.clock.restore(s.clock);
  parts.scheduler.restore(s.scheduler);
  parts.inputs.restore(s.inputs);
  parts.keys.restore(s.keys);
  memory.u8.set(s.ept, memory.eptBase);
  memory.eptUsedEnd = memory.eptBase + s.ept.length;
  parts.vcpus.forEach((cpu, i) => restoreVcpu(cpu, s.vcpus[i]));
  parts.delivery.restore(s.delivery);
  parts.guest?.restore(s.guest);
  parts.monitors.restore(s.monitors);
  parts.disks.forEach((disk, i) => disk.restore(disks[i]));
  parts.platform.restore(s.platform);
  // What else might not take its state has done so: the log keeps its exits until here.
  parts.vmm.restore(s.vmm);
  parts.mmu.invalidateEpt();
  core.flushAllTranslations();
}
