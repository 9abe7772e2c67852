/** isa-debug-exit: a guest that writes v to port 0xf4 ends the run with that value. */
import type { Field } from '../fields';
import type { Device, PortHandler } from './device';

export const DEBUG_EXIT_PORT = 0xf4;

export class DebugExit implements Device<null>, PortHandler {
  readonly name = 'debugExit';

  constructor(private readonly exit: (value: number) => void) {}

  readPort(): number {
    return 0;
  }

  writePort(_port: number, value: number): void {
    this.exit(value);
  }

  reset(): void {}

  save(): null {
    return null;
  }

  restore(): void {}

  describe(): Field[] {
    return [{ name: 'port', value: '0xf4', text: 'a write ends the run' }];
  }
}
