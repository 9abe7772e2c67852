/** From a launch to the machine that it asks for. */
import type { MachineOptions } from '../../../emulator-core/machine';
import type { EmbeddedLaunch } from '../launch';
import type { LaunchDevices } from './devices';

/** 2026-01-01T00:00:00Z: what the guest's RTC shows at power-on, the same in every run. */
const START_TIME = Date.UTC(2026, 0, 1);

/** @param now wall-clock milliseconds, which the guest never sees */
export function machineOptions(launch: EmbeddedLaunch, attached: LaunchDevices, now: () => number): MachineOptions {
  return {
    memory: launch.memory,
    cpus: launch.cpus,
    vendor: launch.cpu.vendor,
    features: launch.cpu.features,
    model: launch.cpu.model,
    debugExit: launch.debugExit,
    compile: launch.compile,
    now,
    startTime: START_TIME,
    guest: launch.mode === 'bare' ? undefined : launch.mode,
    ...attached,
    virtioConsole: launch.virtioConsole,
    kernel: {
      name: launch.kernel.name,
      kernel: launch.kernel.bytes,
      protocol: launch.boot,
      linuxEntry: launch.linuxEntry,
      cmdline: launch.cmdline,
      initrd: launch.initrd?.bytes,
      framebuffer: launch.display,
      modules: launch.modules.map((m) => ({ name: m.name, data: m.bytes, cmdline: m.cmdline })),
    },
  };
}
