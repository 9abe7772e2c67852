/** The ways a run ends, and the exit status and the words for each (interface.md, "Command line"). */
export type RunEnd =
  | { kind: 'power off' }
  | { kind: 'debug exit'; value: number }
  | { kind: 'triple fault'; cpu: number; rip: bigint; text: string }
  | { kind: 'panic'; text: string }
  | { kind: 'asleep' }
  | { kind: 'error'; text: string }
  | { kind: 'until'; text: string }
  | { kind: 'limit'; icount: number }
  | { kind: 'quit' };

export const EXIT_USAGE = 2;
export const EXIT_DIED = 3;
export const EXIT_LIMIT = 124;

/** Exit status of a process is 8 bits wide: a larger value of the debug exit is cut as the system would cut it, but never to 0. */
function debugExitStatus(value: number): number {
  return value === 0 ? 0 : ((value << 1) | 1) & 0xff;
}

export function exitStatus(end: RunEnd): number {
  switch (end.kind) {
    case 'debug exit':
      return debugExitStatus(end.value);
    case 'triple fault':
    case 'panic':
    case 'asleep':
    case 'error':
      return EXIT_DIED;
    case 'limit':
      return EXIT_LIMIT;
    case 'power off':
    case 'until':
    case 'quit':
      return 0;
  }
}

/** One line for the user. */
export function endText(end: RunEnd): string {
  switch (end.kind) {
    case 'power off':
      return 'the guest powered off';
    case 'debug exit':
      return `the guest wrote 0x${end.value.toString(16)} to port 0xf4`;
    case 'triple fault':
      // An engine's own text usually says all of this.
      if (/triple fault/i.test(end.text)) return end.text;
      return `triple fault on vCPU ${end.cpu} at 0x${end.rip.toString(16)}: ${end.text}`;
    case 'panic':
      return `the guest panicked ('${end.text}' on its console)`;
    case 'asleep':
      return 'the guest halted and nothing can wake it';
    case 'error':
      return end.text;
    case 'until':
      return `'${end.text}' was seen`;
    case 'limit':
      return `stopped at the limit of ${end.icount} instructions`;
    case 'quit':
      return 'stopped by the user';
  }
}
