/** A hypercall that a machine offers its guest, as a debugger lists it. */
export interface HypercallInfo {
  readonly number: number;
  /** As in the hypervisor's headers: 'KVM_HC_KICK_CPU'. */
  readonly name: string;
  readonly arguments: readonly string[];
  readonly text: string;
  /** Calls since power-on. */
  readonly count: number;
}
