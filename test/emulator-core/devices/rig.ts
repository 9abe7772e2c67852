/** A platform with a clock that the test moves, and a record of what it asked of its host. */
import { Platform, type PlatformOptions } from '../../../emulator-core/devices/platform';

export const START_TIME = Date.UTC(2024, 1, 28, 23, 59, 58);

export interface Rig {
  platform: Platform;
  /** What the host was told, in order, except interruptChanged. */
  log: string[];
  console: () => string;
  interruptChanges: () => number;
  now: () => number;
  in: (port: number, size?: number) => number;
  out: (port: number, value: number, size?: number) => void;
  /** Lets virtual time pass, running each event at its deadline. */
  advance: (ns: number) => void;
}

export function rig(options: Partial<PlatformOptions> = {}): Rig {
  let time = 0;
  let changes = 0;
  let output = '';
  const log: string[] = [];
  const platform = new Platform({
    cpus: 1,
    memory: new Uint8Array(16 << 20),
    clock: { now: () => time },
    tscHz: 2e9,
    debugExit: true,
    startTime: START_TIME,
    host: {
      console: (byte) => (output += String.fromCharCode(byte)),
      powerOff: () => log.push('powerOff'),
      debugExit: (value) => log.push(`debugExit ${value}`),
      reset: () => log.push('reset'),
      interruptChanged: () => changes++,
      init: (cpu) => log.push(`init ${cpu}`),
      startup: (cpu, vector) => log.push(`startup ${cpu} ${vector}`),
      nmi: (cpu) => log.push(`nmi ${cpu}`),
      mmioChanged: () => log.push('mmioChanged'),
    },
    ...options,
  });
  return {
    platform,
    log,
    console: () => output,
    interruptChanges: () => changes,
    now: () => time,
    in: (port, size = 1) => platform.bus.readPort(port, size),
    out: (port, value, size = 1) => platform.bus.writePort(port, value, size),
    advance: (ns) => {
      const end = time + ns;
      while (platform.events.nextDeadline() <= end) {
        time = Math.max(time, platform.events.nextDeadline());
        platform.events.runDue(time);
      }
      time = end;
    },
  };
}

/** Virtual ns of a number of 8254 clock pulses, rounded up. */
export function pulses(count: number): number {
  return Math.ceil((count * 88000) / 105);
}
