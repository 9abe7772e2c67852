/** The firmware behind the BIOS ROM's stubs: their VMCALL runs the service on the machine. */
import type { BiosMachine } from '../boot/biosMachine';
import { biosResumeOffset, biosVector } from '../boot/biosRom';
import { biosCall } from '../boot/biosServices';
import type { AssistContext } from '../cpu/assistContext';
import { biosRegisters } from '../cpu/biosRegisters';
import { SegmentIndex } from '../cpu/layout';
import type { Vcpu } from '../cpu/vcpu';
import { Disk } from '../disk/disk';
import { memoryImage, rawContents } from '../disk/image';
import type { MachineMemory } from '../mmu/memory';

/** What the services need beside memory and disk. */
export interface FirmwareHost {
  /** Writes guest RAM as a device does; beyond RAM nothing happens. */
  writePhysical(gpa: number, data: Uint8Array): void;
  /** ASCII code of the oldest key typed, which `take` removes; undefined when there is none. */
  key(take: boolean): number | undefined;
  console(byte: number): void;
  /** A register of the real-time clock. */
  cmos(index: number): number;
  note(text: string): void;
}

export class Firmware {
  /** The image that was booted, as a disk. */
  readonly disk: Disk;
  /** What INT 13h offers as drive 80h. */
  drive?: Disk;
  private readonly machine: BiosMachine;

  /** @param image contents of `disk` */
  constructor(
    private readonly context: AssistContext,
    memory: MachineMemory,
    image: Uint8Array,
    host: FirmwareHost,
  ) {
    this.disk = new Disk(rawContents(memoryImage('kernel', image)), 'snapshot');
    const drive = () => this.drive;
    this.machine = {
      memorySize: memory.ramSize,
      readMemory: (gpa, length) => memory.ram.slice(gpa, gpa + length),
      writeMemory: (gpa, data) => host.writePhysical(gpa, data),
      get disk() {
        return drive();
      },
      key: (take) => {
        const ascii = host.key(take);
        return ascii === undefined ? undefined : { ascii, scanCode: 0 };
      },
      console: (byte) => host.console(byte),
      cmos: (index) => host.cmos(index),
      note: (text) => host.note(text),
    };
  }

  /** The service that a VMCALL of the instruction under way asks for; undefined: it is none of the stubs'. */
  service(cpu: Vcpu): number | undefined {
    return cpu.bitness === 16 ? biosVector(Number(cpu.segmentBase(SegmentIndex.cs) + this.context.rip)) : undefined;
  }

  /** Runs what service() says; false: nothing. */
  call(cpu: Vcpu): boolean {
    const vector = this.service(cpu);
    if (vector === undefined) return false;
    const outcome = biosCall(vector, biosRegisters(cpu), this.machine);
    this.context.jump(this.context.rip + BigInt(biosResumeOffset(outcome)));
    return true;
  }
}
