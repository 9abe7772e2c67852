/** Carries out run requests on the embedded machine, a few milliseconds at a time. */
import { Mnemonic, Decoder, DecoderOptions, type Instruction } from 'iced-x86';
import type { Machine } from '../../../emulator-core/machine';
import { codeLinear } from '../../../emulator-core/machine';
import type { Vcpu } from '../../../emulator-core/cpu/vcpu';
import { turn } from '../../introspection/slices';
import { Burst } from './burst';
import { readGuest } from './guestMemory';
import type { Hits } from './hits';
import { Travel } from './travel';
import type { RunRequest, StopEvent } from '../../target';
import { Waiting } from './waiting';

/** Milliseconds after which the event loop gets its turn. */
const SLICE_MS = 6;

/** What one advance came to. */
type Advance = 'done' | 'stopped' | 'ended' | 'paused';

export interface RunnerHost {
  /** Between slices: output and exit events are flushed here. The guest is held until the promise resolves: nobody takes its output. */
  breathe(): Promise<void> | undefined;
  /** Milliseconds, for slices and pacing only. */
  clock(): number;
  /** Whether the guest waits for somebody outside of the machine. */
  expecting(): boolean;
  note(text: string): void;
  /** Some instructions have run forward. */
  ran(): void;
}

export class Runner {
  readonly travel: Travel;
  private readonly burst: Burst;
  private pauseRequested = false;
  private readonly waiting: Waiting;
  /** Wakes a machine that waits for input. */
  private wake?: () => void;
  private deadNoted = false;

  constructor(
    private readonly machine: Machine,
    private readonly hits: Hits,
    private readonly host: RunnerHost,
    private readonly pace: boolean,
  ) {
    this.burst = new Burst(() => host.clock());
    this.waiting = new Waiting(machine, host);
    this.travel = new Travel(machine, hits, this.burst, (step) => this.slices(step));
  }

  pause(): void {
    this.pauseRequested = true;
    this.wake?.();
  }
  inputArrived(): void {
    this.wake?.();
  }

  /** Runs a request to its end. undefined: the guest ended. */
  async run(request: RunRequest): Promise<StopEvent | undefined> {
    this.pauseRequested = false;
    this.hits.stop = undefined;
    const { machine } = this;
    machine.resume();
    switch (request.kind) {
      case 'continue':
        return this.event(
          await this.advance(Infinity, request.singleThread ? request.cpu : undefined),
          'pause',
          request.cpu,
        );
      case 'stepInstruction': {
        const only = request.singleThread ? request.cpu : undefined;
        return this.event(await this.stepInstruction(request.cpu, request.over, only), 'step', request.cpu);
      }
      case 'stepRange':
        return this.event(await this.stepRange(request), 'step', request.cpu);
      case 'runTo': {
        const only = request.singleThread ? request.cpu : undefined;
        const advance = await this.runTo(request.cpu, request.address, request.stackPointer, only);
        return this.event(advance, 'step', request.cpu);
      }
      case 'gotoIcount':
        return this.goto(request.icount);
      case 'stepBackInstructions':
        return this.back(request.count);
      case 'stepBackRange':
        return this.backRange(request);
      case 'reverseContinue':
        return this.reverse();
    }
  }

  /** Runs `step` until true, yielding to the event loop. */
  private async slices(step: () => boolean): Promise<void> {
    let since = this.host.clock();
    while (!step()) {
      if (this.host.clock() - since < SLICE_MS) continue;
      await this.breathe();
      since = this.host.clock();
      if (this.pauseRequested) return;
    }
  }

  /** The event loop's turn between slices. A pause ends it, however long the guest is held. */
  private async breathe(): Promise<void> {
    const held = this.host.breathe();
    // In one turn the client's requests are answered; what they are answered with leaves in the next.
    await turn();
    await turn();
    if (!held || this.pauseRequested) return;
    await Promise.race([held, new Promise<void>((resolve) => (this.wake = resolve))]);
    this.wake = undefined;
  }

  /** Runs forward to an instruction count, or for ever, with breakpoints live. */
  private async advance(until: number, only?: number): Promise<Advance> {
    const { machine } = this;
    const started = { wall: this.host.clock(), virtual: machine.clock.now() };
    let since = started.wall;
    // Counted over resets by the guest, behind which its own count begins anew.
    const end = until + machine.retiredBefore;
    for (;;) {
      const left = end - machine.retiredBefore - machine.core.retired;
      // An instruction's step has the reset in it that it asks for.
      if (left <= 0 && !machine.resetPending) return 'done';
      const result = this.burst.run(Math.max(0, left), (count, patience) =>
        left <= 0 ? machine.resetNow(patience) : machine.run(count, only, this.waiting.idleUntil(), patience),
      );
      this.host.ran();
      if (result === 'ended') return 'ended';
      if (result === 'stopped') return 'stopped';
      const now = this.host.clock();
      if (result === 'idle') await this.sleep();
      else if (result === 'ahead') await this.sleep(this.waiting.rest());
      else if (now - since >= SLICE_MS) {
        await this.breathe();
        const ahead = this.pace ? (machine.clock.now() - started.virtual) / 1e6 - (now - started.wall) : 0;
        // An idle guest's time runs ahead of ours: let the host rest, too.
        if (ahead > 2 && !this.pauseRequested) await rest(Math.min(ahead, 20));
        since = this.host.clock();
      }
      if (this.pauseRequested && !machine.resetting) return 'paused';
    }
  }

  /** Nothing can happen until input comes, somebody pauses, or that many milliseconds have passed. */
  private async sleep(ms?: number): Promise<void> {
    if (ms === undefined && !this.machine.alive && !this.deadNoted) {
      this.deadNoted = true;
      this.host.note('all vCPUs are halted with interrupts disabled: only an NMI or a reset could wake the guest');
    }
    void this.host.breathe();
    if (this.pauseRequested) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    await new Promise<void>((resolve) => {
      this.wake = resolve;
      if (ms !== undefined) timer = setTimeout(resolve, ms);
    });
    clearTimeout(timer);
    this.wake = undefined;
  }

  private event(advance: Advance, reason: 'step' | 'pause' | 'goto', cpu = 0): StopEvent | undefined {
    this.hits.setTemporary(undefined);
    if (advance === 'ended') return undefined;
    if (advance === 'stopped' && this.hits.stop) return this.hits.stop;
    return { reason: advance === 'paused' ? 'pause' : reason, cpu };
  }

  private cpu(index: number): Vcpu {
    return this.machine.vcpus[index];
  }

  private decode(cpu: Vcpu): { mnemonic: number; length: number; repeats: boolean; calls: boolean } | undefined {
    const bytes = readGuest(this.machine, cpu, 'virtual', codeLinear(cpu), 15);
    if (bytes.length === 0) return undefined;
    const decoder = new Decoder(cpu.bitness, bytes, DecoderOptions.None);
    const x: Instruction = decoder.decode();
    const m = x.mnemonic;
    const calls = m === Mnemonic.Call || m === Mnemonic.Int || m === Mnemonic.Int3 || m === Mnemonic.Syscall;
    const found = { mnemonic: m, length: x.length, repeats: x.hasRepPrefix || x.hasRepnePrefix, calls };
    x.free();
    decoder.free();
    return found;
  }

  /** One instruction; with `over`, a call runs to its return. A whole REP is one instruction, and interrupts run to their IRET. */
  private async stepInstruction(index: number, over: boolean, only?: number): Promise<Advance> {
    const cpu = this.cpu(index);
    const x = this.decode(cpu);
    if (x && ((over && x.calls) || x.repeats)) {
      const target = codeLinear(cpu) + BigInt(x.length);
      return this.runTo(index, target, cpu.gpr(4) - 1n, only);
    }
    return this.single(cpu, only);
  }

  private async single(cpu: Vcpu, only?: number): Promise<Advance> {
    const { machine } = this;
    const start = machine.core.retired;
    const before = machine.delivery.lastInjection;
    let advance = await this.advance(start + 1, only ?? (machine.vcpus.length > 1 ? cpu.index : undefined));
    const injected = machine.delivery.lastInjection;
    if (advance === 'done' && injected !== before && injected.cpu === cpu.index && injected.icount === start) {
      // An interrupt came first: its handler runs to the end, then the step is taken.
      const back = BigInt(injected.rip) + (cpu.bitness === 64 ? 0n : codeLinear(cpu) - cpu.rip);
      advance = await this.runTo(cpu.index, back, injected.rsp - 1n, only);
      if (advance === 'done') {
        machine.resume();
        advance = await this.advance(machine.core.retired + 1, only);
      }
    }
    return advance;
  }

  private async runTo(index: number, address: bigint, above: bigint | undefined, only?: number): Promise<Advance> {
    this.hits.setTemporary({ address, cpu: index, above });
    const advance = await this.advance(Infinity, only);
    const reached = this.hits.temporaryHit;
    this.hits.setTemporary(undefined);
    // A breakpoint of the user's at the same place counts as one.
    if (advance === 'stopped' && reached && !this.hits.stop) {
      this.machine.resume();
      return 'done';
    }
    return advance;
  }

  private async stepRange(request: Extract<RunRequest, { kind: 'stepRange' }>): Promise<Advance> {
    const { cpu: index, ranges, over, singleThread } = request;
    const cpu = this.cpu(index);
    const only = singleThread ? index : undefined;
    const inside = (at: bigint): boolean => ranges.some(([low, high]) => at >= low && at < high);
    let since = this.host.clock();
    for (;;) {
      const advance = await this.stepInstruction(index, over, only);
      if (advance !== 'done') return advance;
      if (!inside(codeLinear(cpu))) return 'done';
      this.machine.resume();
      if (this.host.clock() - since >= SLICE_MS) {
        await this.breathe();
        since = this.host.clock();
      }
      if (this.pauseRequested) return 'paused';
    }
  }

  // ---- time travel -----------------------------------------------------------------------------------------------

  private async goto(icount: number): Promise<StopEvent | undefined> {
    const { travel } = this;
    if (icount >= travel.now) return this.event(await this.advance(icount), 'goto');
    if (icount < travel.start) return this.atStart();
    await travel.to(icount);
    return { reason: 'goto', cpu: 0 };
  }

  private async atStart(): Promise<StopEvent> {
    await this.travel.to(this.travel.start);
    return { reason: 'history start', cpu: 0, text: 'Start of recorded history' };
  }

  private async back(count: number): Promise<StopEvent | undefined> {
    const { travel } = this;
    const cpu = this.cpu(0);
    const end = travel.now;
    if (end - 1 < travel.start) return this.atStart();
    if (count > 1) {
      if (end - count < travel.start) return this.atStart();
      await travel.to(end - count);
      return { reason: 'step', cpu: 0 };
    }
    // Iterations of a REP have the same rip: go to where it began.
    const points = await travel.trace(end, cpu);
    let i = points.length - 1;
    while (i > 0 && points[i].rip === points[i - 1].rip) i--;
    if (i < 0) return this.atStart();
    await travel.to(points[i].icount);
    return { reason: 'step', cpu: 0 };
  }

  /** Walks back instruction by instruction, passing over what was called, until rip has left the ranges. */
  private async backRange(request: Extract<RunRequest, { kind: 'stepBackRange' }>): Promise<StopEvent | undefined> {
    const { travel } = this;
    const cpu = this.cpu(request.cpu);
    const inside = (at: bigint): boolean => request.ranges.some(([low, high]) => at >= low && at < high);
    let end = travel.now;
    // icount and stack pointer of the instruction that follows in this frame.
    let next = { icount: end, rsp: cpu.gpr(4) };
    /** Inside something that returned to a frame with this stack pointer: passed over. */
    let returnedTo: bigint | undefined;
    while (end > travel.start && !this.pauseRequested) {
      const points = await travel.trace(end, cpu);
      if (points.length === 0) break;
      for (const p of points.reverse()) {
        if (returnedTo !== undefined && p.rsp < returnedTo) continue;
        returnedTo = undefined;
        if (this.returns(cpu, p.rip)) {
          returnedTo = next.rsp;
          continue;
        }
        if (!inside(p.rip)) {
          await travel.to(request.toStart ? next.icount : p.icount);
          return { reason: 'step', cpu: request.cpu };
        }
        next = p;
      }
      end = points[points.length - 1].icount;
    }
    return this.pauseRequested ? { reason: 'pause', cpu: request.cpu } : this.atStart();
  }

  /** Whether the instruction at rip returns from a call or an interrupt. */
  private returns(cpu: Vcpu, rip: bigint): boolean {
    const base = codeLinear(cpu) - cpu.rip;
    const bytes = readGuest(this.machine, cpu, 'virtual', BigInt.asUintN(64, rip + base), 2);
    const at = bytes[0] === 0x48 || bytes[0] === 0xf3 || bytes[0] === 0xf2 ? 1 : 0;
    return [0xc3, 0xc2, 0xcb, 0xca, 0xcf].includes(bytes[at]);
  }

  private async reverse(): Promise<StopEvent | undefined> {
    const { travel, hits, machine } = this;
    const end = travel.now;
    const found = await travel.lastHit(end);
    if (this.pauseRequested) {
      await travel.to(travel.now);
      return { reason: 'pause', cpu: 0 };
    }
    if (!found) return this.atStart();
    await travel.to(found.icount);
    if (found.stop.reason !== 'exit' && found.stop.reason !== 'exception') return found.stop;
    // Run into the exit, so that it is the last one in the log, as when it was met going forward.
    hits.stop = undefined;
    machine.resumeHere();
    machine.run(1);
    return hits.stop ?? found.stop;
  }
}

function rest(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
