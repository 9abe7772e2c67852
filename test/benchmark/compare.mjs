/**
 * Speeds side by side: the same guest here and on a peer, in turns, as times of one round. How many rounds a run has is found
 * first, for each side, so that runs are long enough to be compared on any machine.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { guestImage } from './guestImage.mjs';
import { ringside } from './peers/ringside.mjs';

/** Seconds that the measured part of a run should take, and the part of it that will do. As many rounds come before it to warm up. */
const [target, enough] = [1, 0.7];
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

/** A side of a comparison. */
class Side {
  #taken = [];
  #rounds = 20;

  /** @param {(rounds: number) => Promise<import('./peers/timedRun.mjs').Taken>} run */
  constructor(run) {
    this.run = run;
  }

  /** Finds how many rounds take about the target's time. A start that is slow, of a compiler, makes the first guesses too low. */
  async calibrate() {
    for (;;) {
      const { wall } = await this.run(this.#rounds);
      if (wall >= enough * target) return;
      this.#rounds = Math.ceil(this.#rounds * Math.min(20, target / Math.max(wall, 0.001)));
    }
  }

  async measure() {
    const { wall, cpu } = await this.run(this.#rounds);
    this.#taken.push({ wall: wall / this.#rounds, cpu: cpu / this.#rounds });
  }

  /** Seconds a round. */
  get wall() {
    return median(this.#taken.map(({ wall }) => wall));
  }

  /** Seconds of processor time a round; NaN where it isn't known. */
  get cpu() {
    return median(this.#taken.map(({ cpu }) => cpu));
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
 *   `ours` and `theirs`: seconds a round, `cpuRatio`: `value` by processor time; or `skipped` with the reason
 */
export async function compare(workload, width, peer) {
  const found = await peer?.find();
  if (found?.missing) return { skipped: found.missing };
  return withFolder(async (folder) => {
    const side = (who) =>
      new Side((rounds) =>
        who.run(guestImage(workload, width, rounds, { warmUp: rounds, stay: true }), folder, workload),
      );
    const here = side(ringside);
    const there = peer && side(peer);
    const sides = there ? [here, there] : [here];
    for (const one of sides) await one.calibrate();
    for (let run = 0; run < repetitions; run++) for (const one of sides) await one.measure();

    const events = workload.events ?? 1;
    const each = workload.events ? 'each' : 'a round';
    const ours = `${duration(here.wall / events)} ${each}`;
    if (!there) return { value: (here.wall / events) * 1e9, ours: here.wall, note: workload.noPeer };
    const cpuRatio = there.cpu / here.cpu || undefined;
    const theirs = `${peer.name} ${found.version} ${duration(there.wall / events)}`;
    const busy = cpuRatio ? `; ${cpuRatio.toPrecision(3)} by processor time` : '';
    return {
      value: there.wall / here.wall,
      cpuRatio,
      ours: here.wall,
      theirs: there.wall,
      note: `${ours}, ${theirs}${busy}`,
    };
  });
}
