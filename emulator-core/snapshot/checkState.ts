/** Whether a state from a file can be a machine's: its shape first, then what a wrong value would do harm in. */
import { PAGE } from '../cpu/layout';
import type { SavedMachine } from '../machine/machineState';
import { emptyExit, type VmExit } from '../virt/exit';
import { relocateEpt, type EptPlaces } from '../virt/vmx/eptRelocation';
import { misfit, shapeOf, type Shape } from './shape';

/** A machine's state in a file: without RAM and disks, which have sections of their own, and what belongs to one process only. */
export type SnapshotState = Omit<SavedMachine, 'disks' | 'inputs' | 'end'> & {
  /** The newest VM exits, newest first. */
  exits: VmExit[];
};

/** The machine that is to take the state. */
export interface StateBounds {
  cpus: number;
  /** Bytes of RAM. */
  memory: number;
  /** Bytes that there are for EPT tables. */
  eptBytes: number;
  /** Where EPT entries point to, when the state was saved and here. */
  from: EptPlaces;
  to: EptPlaces;
}

const ACTIVITIES: readonly string[] = ['active', 'halted', 'wait-for-sipi', 'shutdown'];
/** Virtual time that a number holds exactly. */
const MAX_NS = Number.MAX_SAFE_INTEGER;
const EXIT = shapeOf(emptyExit());

/**
 * What is wrong with `data`; undefined: it is a state of the shape `shape`, and its EPT tables have been moved to where they belong here.
 */
export function checkState(data: unknown, shape: Shape, bounds: StateBounds): string | undefined {
  const problem = misfit(data, shape);
  if (problem) return problem;
  const state = data as SnapshotState;
  const { cpus, memory } = bounds;
  for (const [what, right] of checks(state, cpus, memory)) if (!right) return `state.${what}`;
  const exits = state.exits
    .map((exit, i) => misfit(exit, EXIT, `state.exits[${i}]`))
    .find((each) => each !== undefined);
  if (exits) return exits;
  if (state.exits.some(({ seq }, i) => seq !== state.vmm.log.next - 1 - i)) return 'state.exits: not the newest ones';
  if (state.ept.length > bounds.eptBytes) return `state.ept: ${bounds.eptBytes} bytes at most`;
  return relocateEpt(state.ept, bounds.from, bounds.to, memory);
}

const whole = (value: unknown, low: number, high: number): boolean =>
  Number.isInteger(value) && (value as number) >= low && (value as number) <= high;

/** What must hold, and its words. */
function* checks(state: SnapshotState, cpus: number, memory: number): Generator<[string, boolean]> {
  const { clock, scheduler, vcpus, delivery, monitors, vmm, platform, retired } = state;
  yield ['retired: expected a number of instructions', whole(retired, 0, MAX_NS / 16)];
  yield ['clock.idleNs: expected nanoseconds', clock.idleNs >= 0 && clock.idleNs < MAX_NS / 2];
  yield ['scheduler.turn: expected a vCPU', whole(scheduler.turn, 0, cpus - 1)];
  yield ['scheduler.quantumEnd: expected an instruction count', whole(scheduler.quantumEnd, 0, MAX_NS)];
  for (const [i, { activity, pending, faultsInRow }] of vcpus.entries()) {
    yield [`vcpus[${i}].activity: expected one of ${ACTIVITIES.join(', ')}`, ACTIVITIES.includes(activity)];
    yield [
      `vcpus[${i}].pending: expected a vector of 0 to 255`,
      pending === undefined || whole(pending?.vector, 0, 255),
    ];
    yield [`vcpus[${i}].pending: expected an exception`, pending === undefined || exception(pending)];
    yield [`vcpus[${i}].faultsInRow: expected a count`, whole(faultsInRow.count, 0, MAX_NS)];
  }
  const { window, nmi, injecting } = delivery;
  const pairs = injecting.every((each) => Array.isArray(each) && whole(each[0], 0, cpus - 1) && injected(each[1]));
  yield ['delivery: expected vCPUs', [...window, ...nmi].every((cpu) => whole(cpu, 0, cpus - 1)) && pairs];
  const lines = (monitors as { line: number }[]).every(({ line }) => line === -1 || whole(line, 0, memory - PAGE));
  yield ['monitors: expected addresses in RAM', lines];
  const { next, counts } = vmm.log;
  yield [
    'vmm.log: expected counts of exits',
    whole(next, 0, MAX_NS) && counts.length <= 256 && counts.every((n) => whole(n, 0, MAX_NS)),
  ];
  yield ['vmm.lastSeq: expected running numbers of exits', vmm.lastSeq.every((seq) => whole(seq, -1, next - 1))];
  const { passing } = vmm;
  yield ['vmm.passing: expected exits', passing === undefined || Array.isArray(passing?.reasons)];
  yield ['platform.events: expected deadlines', platform.events.every(({ ns }) => Math.abs(ns) < MAX_NS)];
}

function exception({ error, address, debug }: NonNullable<SavedMachine['vcpus'][number]['pending']>): boolean {
  const small = [error, debug].every((each) => each === undefined || whole(each, 0, 0xffffffff));
  return small && (address === undefined || typeof address === 'bigint');
}

function injected(event: unknown): boolean {
  const { vector, type } = (event ?? {}) as { vector?: unknown; type?: unknown };
  return whole(vector, 0, 255) && whole(type, 0, 7);
}
