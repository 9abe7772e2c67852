/** Which interface a machine offers its guest: one entry a mode. */
import type { Machine } from '../machine';
import type { GuestInterface, GuestInterfaceName } from './guestInterface';
import { Kvm } from './kvm/kvm';

type Make = (machine: Machine, tscHz: number, startTime: number) => GuestInterface;

const INTERFACES: Readonly<Record<GuestInterfaceName, Make>> = {
  kvm: (machine, tscHz, startTime) => new Kvm(machine, tscHz, startTime),
};

/**
 * What the processor of such a machine lacks unless asked for, as cpu.features has it. KVM's guests see no invariant time-stamp
 * counter by default, as it would not survive migration: with one, Linux takes the plain TSC for its clock and leaves kvmclock.
 */
const CPU_FEATURES: Readonly<Record<GuestInterfaceName, readonly string[]>> = { kvm: ['-invtsc'] };

/** launch.json's cpu.features with what the mode brings before them. */
export function guestCpuFeatures(name: GuestInterfaceName | undefined, features: readonly string[]): readonly string[] {
  return name ? [...CPU_FEATURES[name], ...features] : features;
}

/**
 * @param name absent: a plain PC
 * @param tscHz frequency of the time-stamp counters
 * @param startTime wall time at power-on, milliseconds since 1970
 */
export function makeGuest(
  name: GuestInterfaceName | undefined,
  machine: Machine,
  tscHz: number,
  startTime: number,
): GuestInterface | undefined {
  return name && INTERFACES[name](machine, tscHz, startTime);
}
