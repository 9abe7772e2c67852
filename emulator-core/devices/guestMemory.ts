/** Guest RAM as devices that move data by themselves (bus masters) reach it. */

export interface GuestMemory {
  /** Bytes of RAM, from guest-physical 0. */
  readonly size: number;
  /** `length` bytes at `gpa`: a view that holds until the guest goes on, not to be written to. The range lies within RAM. */
  read(gpa: number, length: number): Uint8Array;
  /** Writes as the machine's own instructions do: checkpoints and decoded code see it. The range lies within RAM. */
  write(gpa: number, data: Uint8Array): void;
}

/** Guest memory over bytes that nobody else watches. */
export function plainGuestMemory(memory: Uint8Array): GuestMemory {
  return {
    size: memory.length,
    read: (gpa, length) => memory.subarray(gpa, gpa + length),
    write: (gpa, data) => memory.set(data, gpa),
  };
}
