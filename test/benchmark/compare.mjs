/**
 * Speeds side by side: the same guest here and on a peer, in turns, as times of one round. How many rounds a run has is found
 * first, for each side, so that runs are long enough to be compared on any machine.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { guestImage } from './guestImage.mjs';
import { ringside } from './peers/ringside.mjs';

/** Seconds that a run should take; a third of it will do. */
const target = 1.5;
const repetitions = 3;

export const median = (values) => [...values].sort((x, y) => x - y)[values.length >> 1];

/** Runs `body` with a folder that is gone afterwards. */
export async function withFolder(body) {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'ringside-bench-'));
  try {
    return await body(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A side of a comparison: runs of rounds, each giving seconds a round. */
class Side {
  #times = [];
  #rounds = 20;

  /** @param {(rounds: number) => Promise<number>} seconds */
  constructor(seconds) {
    this.seconds = seconds;
  }

  /** Finds how many rounds take about the target's time. */
  async calibrate() {
    for (;;) {
      const time = await this.seconds(this.#rounds);
      if (time >= target / 3) {
        this.#rounds = Math.max(1, Math.round((this.#rounds * target) / time));
        return;
      }
      this.#rounds = Math.ceil(this.#rounds * Math.min(20, target / Math.max(time, 0.001)));
    }
  }

  async measure() {
    this.#times.push((await this.seconds(this.#rounds)) / this.#rounds);
  }

  /** Seconds a round. */
  get time() {
    return median(this.#times);
  }
}

/** 0.0000123 as '12.3 µs'. */
export function duration(seconds) {
  const [unit, scale] =
    seconds >= 1 ? ['s', 1] : seconds >= 1e-3 ? ['ms', 1e3] : seconds >= 1e-6 ? ['µs', 1e6] : ['ns', 1e9];
  return `${Number((seconds * scale).toPrecision(3))} ${unit}`;
}

/**
 * Measures a workload here and on a peer.
 * @param {import('./workloads.mjs').Workload} workload
 * @param {32|64} width
 * @param {import('./peers/timedRun.mjs').Peer} [peer]
 * @returns {Promise<object>} `value`: this side's speed as a multiple of the peer's, or without a peer nanoseconds an event;
 *   `ours` and `theirs`: seconds a round; or `skipped` with the reason
 */
export async function compare(workload, width, peer) {
  const found = await peer?.find();
  if (found?.missing) return { skipped: found.missing };
  return withFolder(async (folder) => {
    const side = (who) => new Side((rounds) => who.seconds(guestImage(workload, width, rounds), folder, workload));
    const here = side(ringside);
    const there = peer && side(peer);
    const sides = there ? [here, there] : [here];
    for (const one of sides) await one.calibrate();
    for (let run = 0; run < repetitions; run++) for (const one of sides) await one.measure();

    const events = workload.events ?? 1;
    const each = workload.events ? 'each' : 'a round';
    const ours = `${duration(here.time / events)} ${each}`;
    if (!there) return { value: (here.time / events) * 1e9, ours: here.time, note: workload.noPeer };
    const note = `${ours}, ${peer.name} ${found.version} ${duration(there.time / events)}`;
    return { value: there.time / here.time, ours: here.time, theirs: there.time, note };
  });
}
