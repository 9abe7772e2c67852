/** Guest RAM as devices and the debugger write to it: checkpoints and decoded code see it. */
import { PAGE } from '../cpu/layout';
import type { MemoryPath } from '../cpu/memoryPath';
import type { GuestMemory } from '../devices/guestMemory';

export class GuestRam implements GuestMemory {
  constructor(
    private readonly ram: Uint8Array,
    private readonly path: MemoryPath,
  ) {}

  get size(): number {
    return this.ram.length;
  }

  read(gpa: number, length: number): Uint8Array {
    return this.ram.subarray(gpa, gpa + length);
  }

  /** What lies beyond RAM is left out. Returns bytes written. */
  write(gpa: number, data: Uint8Array): number {
    const length = Math.max(0, Math.min(data.length, this.ram.length - gpa));
    for (let at = gpa; at < gpa + length;) {
      const page = Math.floor(at / PAGE);
      const count = Math.min(gpa + length - at, PAGE - (at % PAGE));
      this.path.beforeWrite(page, at % PAGE, count);
      this.ram.set(data.subarray(at - gpa, at - gpa + count), at);
      at += count;
    }
    return length;
  }
}
