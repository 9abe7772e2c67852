/** Whole guests, run to an instruction count and compared in everything that can be seen of them. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { State } from '../../emulator-core/cpu/layout';
import { Machine, type MachineOptions } from '../../emulator-core/machine';
import table from '../guests/guests.json';
import { quietHooks } from './testMachine';

const ROOT = path.join(__dirname, '../..');
export const HELLO = path.join(ROOT, 'samples/hello-guest/hello.elf');

export class Run {
  text = '';
  readonly machine: Machine;
  constructor(file: string, protocol = 'auto', options: Partial<MachineOptions> = {}) {
    const kernel = {
      name: path.basename(file),
      kernel: new Uint8Array(readFileSync(file)),
      protocol: protocol as 'auto',
      cmdline: '',
      modules: [],
    };
    this.machine = new Machine(
      { memory: 4 << 20, cpus: 1, vendor: 'intel', features: [], debugExit: true, startTime: 0, kernel, ...options },
      quietHooks({ console: (byte) => (this.text += String.fromCharCode(byte)) }),
    );
  }
  get icount(): number {
    return this.machine.core.retired;
  }
  /** Runs to an instruction count, or to the end. */
  to(icount: number, slice = Infinity): this {
    while (this.icount < icount) {
      const result = this.machine.run(Math.min(slice, icount - this.icount));
      if (result !== 'budget') break;
    }
    return this;
  }
  /** Memory, registers, devices, exits and virtual time. */
  get state(): string {
    const { machine } = this;
    const hash = createHash('sha256').update(machine.memory.ram);
    for (const cpu of machine.vcpus) {
      for (let i = 0; i < 16; i++) hash.update(cpu.gpr(i).toString(16));
      hash.update(`${cpu.rip.toString(16)} ${cpu.rflags.toString(16)} ${cpu.activity}`);
      for (let o: number = State.segments; o < 0x400; o += 8) hash.update(cpu.get64(o).toString(16));
    }
    const text = (value: unknown): string =>
      JSON.stringify(value, (_k, v: unknown) => (typeof v === 'bigint' ? v.toString() : v));
    hash.update(text(machine.platform.save()));
    return [
      this.icount,
      machine.clock.now(),
      text(machine.vmm.log.counters()),
      text(machine.end ?? ''),
      hash.digest('hex'),
    ].join(' ');
  }
}

export interface Subject {
  name: string;
  file: string;
  boot: string;
}
export const subjects: Subject[] = [
  { name: 'hello-guest', file: HELLO, boot: 'multiboot' },
  ...table.guests.map((g) => ({ name: g.name, file: path.join(ROOT, 'test/guests', g.file), boot: g.boot })),
];
