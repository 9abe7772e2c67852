/**
 * One counter of an 8254, as a function of time: the counting element is computed when somebody looks, from the clock
 * pulse at which it was loaded. Intel 8254 data sheet, "Mode Definitions". Times here are in CLK pulses since power-on.
 */

export interface PitChannelState {
  /** 0-5. */
  mode: number;
  /** Control word RW field: 1 low byte, 2 high byte, 3 low then high. */
  access: number;
  bcd: boolean;
  gate: 0 | 1;
  /** The low byte of a two-byte count that waits for its high byte, -1 when none. */
  lowByte: number;
  /** The count register: 1-65536. 0 before the first count. */
  count: number;
  /** Whether a count has been loaded (or the mode's trigger seen) since the control word. */
  loaded: boolean;
  /** The count in use, the pulse at which it was loaded, and, while the gate holds it, the pulses counted (else -1). */
  reload: number;
  loadedAt: number;
  heldAt: number;
  /** Modes 2 and 3: a new count takes over at this pulse; -1 when none waits. */
  switchAt: number;
  /** Latched count bytes still to be read, low first. */
  latch: number[];
  /** Latched status, -1 when none. */
  statusLatch: number;
  /** Two-byte access: the next read gives the high byte. */
  readHigh: boolean;
}

/** A counter as after reset: mode 3, nothing loaded. */
export function pitChannelState(): PitChannelState {
  return {
    mode: 3,
    access: 3,
    bcd: false,
    gate: 1,
    lowByte: -1,
    count: 0,
    loaded: false,
    reload: 0,
    loadedAt: 0,
    heldAt: -1,
    switchAt: -1,
    latch: [],
    statusLatch: -1,
    readHigh: false,
  };
}

function fromBcd(value: number): number {
  return (value >> 12) * 1000 + ((value >> 8) & 15) * 100 + ((value >> 4) & 15) * 10 + (value & 15);
}

function toBcd(value: number): number {
  const digit = (divisor: number) => Math.floor(value / divisor) % 10;
  return (digit(1000) << 12) | (digit(100) << 8) | (digit(10) << 4) | digit(1);
}

export class PitChannel {
  state = pitChannelState();

  /** A control word for this counter (not latch or read-back). */
  control(value: number): void {
    const { gate } = this.state;
    let mode = (value >> 1) & 7;
    if (mode > 5) mode -= 4; // bit 2 is "don't care" for modes 2 and 3
    this.state = { ...pitChannelState(), gate, mode, access: (value >> 4) & 3, bcd: (value & 1) !== 0 };
  }

  /** Writes a byte of the count. */
  write(value: number, now: number): void {
    const s = this.state;
    if (s.access === 3 && s.lowByte < 0) {
      s.lowByte = value;
      // Mode 0: the first byte of two stops the counting and drives OUT low.
      if (s.mode === 0) s.loaded = false;
      return;
    }
    let count = s.access === 1 ? value : s.access === 2 ? value << 8 : s.lowByte | (value << 8);
    s.lowByte = -1;
    if (s.bcd) count = fromBcd(count);
    this.sync(now);
    s.count = count || (s.bcd ? 10000 : 65536);
    switch (s.mode) {
      case 0:
      case 4:
        this.load(now + 1);
        if (!s.gate) s.heldAt = 0;
        break;
      case 1:
      case 5:
        break; // takes effect at the next trigger
      default:
        if (!s.loaded || !s.gate) this.load(now + 1);
        else s.switchAt = this.nextSwitch(now);
        if (!s.gate) s.heldAt = 0;
    }
  }

  /** The GATE input. Levels count for modes 0, 2, 3 and 4, rising edges for 1, 2, 3 and 5. */
  setGate(level: 0 | 1, now: number): void {
    const s = this.state;
    if (s.gate === level) return;
    this.sync(now);
    const triggered = s.mode === 1 || s.mode === 5;
    if (level) {
      if (triggered) {
        if (s.count) this.load(now + 1);
      } else if (s.mode === 2 || s.mode === 3) {
        if (s.loaded) this.load(now + 1);
      } else if (s.heldAt >= 0) {
        s.loadedAt = now - s.heldAt;
      }
      s.heldAt = -1;
    } else if (!triggered && s.loaded) {
      s.heldAt = Math.max(0, now - s.loadedAt);
    }
    s.gate = level;
  }

  /** The OUT pin. */
  out(now: number): 0 | 1 {
    this.sync(now);
    const s = this.state;
    if (!s.loaded) return s.mode === 0 ? 0 : 1;
    const elapsed = this.elapsed(now);
    switch (s.mode) {
      case 0:
        return elapsed >= s.reload ? 1 : 0;
      case 1:
        return elapsed >= 0 && elapsed < s.reload ? 0 : 1;
      case 2:
        return s.gate && elapsed >= 0 && elapsed % s.reload === s.reload - 1 ? 0 : 1;
      case 3:
        return s.gate && elapsed >= 0 && elapsed % s.reload >= this.highPulses() ? 0 : 1;
      default:
        return elapsed === s.reload ? 0 : 1;
    }
  }

  /**
   * The next pulse after `now` at which OUT changes so that an interrupt input sees it, Infinity when none. The one-pulse
   * lows of modes 2, 4 and 5 count as one change, at their end.
   */
  nextChange(now: number): number {
    this.sync(now);
    const s = this.state;
    if (!s.loaded || s.heldAt >= 0) return Infinity;
    const elapsed = now - s.loadedAt;
    let at: number;
    switch (s.mode) {
      case 0:
        at = s.reload;
        break;
      case 1:
        at = elapsed < 0 ? 0 : s.reload;
        break;
      case 2:
        at = (Math.floor(Math.max(0, elapsed) / s.reload) + 1) * s.reload;
        break;
      case 3: {
        if (elapsed < 0) return s.loadedAt + this.highPulses();
        const start = Math.floor(elapsed / s.reload) * s.reload;
        at = elapsed - start < this.highPulses() ? start + this.highPulses() : start + s.reload;
        break;
      }
      default:
        at = s.reload + 1;
    }
    return at > elapsed ? s.loadedAt + at : Infinity;
  }

  /** Counter latch command: later ones are ignored until the latched count has been read. */
  latchCount(now: number): void {
    if (this.state.latch.length === 0) this.state.latch = this.countBytes(now);
  }

  /** Read-back command, status part. */
  latchStatus(now: number): void {
    if (this.state.statusLatch < 0) this.state.statusLatch = this.status(now);
  }

  /** Reads what is next: latched status, latched count, or the running count. */
  read(now: number): number {
    const s = this.state;
    if (s.statusLatch >= 0) {
      const status = s.statusLatch;
      s.statusLatch = -1;
      return status;
    }
    if (s.latch.length > 0) return s.latch.shift()!;
    const bytes = this.countBytes(now);
    if (s.access !== 3) return bytes[0];
    const byte = bytes[s.readHigh ? 1 : 0];
    s.readHigh = !s.readHigh;
    return byte;
  }

  /** Status byte: OUT, null count, RW, mode, BCD. */
  status(now: number): number {
    const s = this.state;
    const out = this.out(now);
    const waiting = !s.loaded || s.reload !== s.count || now < s.loadedAt || s.switchAt >= 0;
    return (out << 7) | (waiting ? 0x40 : 0) | (s.access << 4) | (s.mode << 1) | (s.bcd ? 1 : 0);
  }

  /** The counting element, 0-65535, as its register shows it (BCD in BCD mode). */
  value(now: number): number {
    this.sync(now);
    const s = this.state;
    const modulus = s.bcd ? 10000 : 65536;
    let value = 0;
    if (s.loaded) {
      const elapsed = Math.max(0, this.elapsed(now));
      if (s.mode === 2) value = s.reload - (elapsed % s.reload);
      else if (s.mode === 3) {
        // Counts by two; an odd count is loaded less one, and the high half lasts one pulse longer.
        const phase = elapsed % s.reload;
        const high = this.highPulses();
        value = s.reload - (s.reload & 1) - 2 * (phase < high ? phase : phase - high);
      } else value = (((s.reload - elapsed) % modulus) + modulus) % modulus;
    }
    value %= modulus;
    return s.bcd ? toBcd(value) : value;
  }

  private countBytes(now: number): number[] {
    const value = this.value(now);
    if (this.state.access === 1) return [value & 0xff];
    if (this.state.access === 2) return [value >> 8];
    return [value & 0xff, value >> 8];
  }

  private elapsed(now: number): number {
    const s = this.state;
    return s.heldAt >= 0 ? s.heldAt : now - s.loadedAt;
  }

  private highPulses(): number {
    return (this.state.reload + 1) >> 1;
  }

  private load(at: number): void {
    const s = this.state;
    s.reload = s.count;
    s.loadedAt = at;
    s.heldAt = -1;
    s.switchAt = -1;
    s.loaded = true;
  }

  /** Modes 2 and 3: when a count written now is loaded: at the end of the period, or of the half period. */
  private nextSwitch(now: number): number {
    const s = this.state;
    if (now < s.loadedAt) return s.loadedAt;
    const phase = (now - s.loadedAt) % s.reload;
    const high = this.highPulses();
    const end = s.mode === 3 && phase < high ? high : s.reload;
    return now - phase + end;
  }

  /** Takes a waiting count over once its time has come. */
  private sync(now: number): void {
    const s = this.state;
    if (s.switchAt < 0 || now < s.switchAt || s.heldAt >= 0) return;
    const at = s.switchAt;
    const low = s.mode === 3 && at > s.loadedAt && (at - s.loadedAt) % s.reload === this.highPulses();
    this.load(at);
    // A switch in the middle of a square wave goes on with its low half.
    if (low && s.reload > 1) s.loadedAt = at - this.highPulses();
  }
}
