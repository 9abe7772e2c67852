/** What a run leaves behind, to be compared with that of another. */
import { createHash } from 'node:crypto';
import { EXIT_LOG_SIZE } from '../../../emulator-core/virt/exit';
import type { TestMachine } from '../testMachine';

const text = (value: unknown): string =>
  JSON.stringify(value, (_key, one: unknown) => (typeof one === 'bigint' ? one.toString(16) : one));

/** Registers, memory, devices, time and exits: all that a guest or a user can see. */
export function left({ machine, cpu, console }: TestMachine) {
  return {
    registers: Array.from({ length: 16 }, (_, n) => cpu.gpr(n)),
    rip: cpu.rip,
    flags: cpu.rflags,
    retired: machine.core.retired,
    now: machine.clock.now(),
    memory: createHash('sha256').update(machine.memory.ram).digest('hex'),
    counters: machine.vmm.log.counters(),
    exits: text(machine.vmm.log.newest(EXIT_LOG_SIZE)),
    last: machine.vmm.lastExit(0),
    devices: text(machine.platform.save()),
    console,
  };
}
