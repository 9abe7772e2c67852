/** What a machine begins with, a good part of what making one takes: its memory, with the guest in it. */
import { bootGuest, type BootResult } from '../boot/boot';
import { compiledHandlers } from '../cpu/core';
import { MachineMemory } from '../mmu/memory';
import { handlerModule } from '../translate/handlerModule';
import type { MachineOptions } from './machineTypes';

export interface PreparedMachine {
  memory: MachineMemory;
  boot: BootResult;
}

type Wanted = Pick<MachineOptions, 'memory' | 'cpus' | 'kernel' | 'virtio'>;

/**
 * Prepares a machine in steps of some ten milliseconds, for a caller that has other things to do between them.
 * @throws BootError that says why the kernel cannot be booted
 */
export function* prepareMachine(options: Wanted): Generator<void, PreparedMachine> {
  handlerModule();
  yield;
  compiledHandlers();
  yield;
  const memory = new MachineMemory(options.memory, options.cpus);
  yield;
  return { memory, boot: loadGuest(options, memory.ram) };
}

/** The same, for a caller that has not. */
export function prepareAtOnce(options: Wanted): PreparedMachine {
  const memory = new MachineMemory(options.memory, options.cpus);
  return { memory, boot: loadGuest(options, memory.ram) };
}

/** Fills RAM, all zeros before, as firmware and boot protocol do: the same each time. */
export function loadGuest({ kernel, cpus, virtio = [] }: Wanted, ram: Uint8Array): BootResult {
  const virtioMmio = virtio.filter(({ bus }) => bus === 'mmio').length;
  return bootGuest({ ...kernel, memory: ram, zeroed: true, cpus, virtioMmio });
}
