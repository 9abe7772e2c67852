/** Runs of one guest that have to end the same: straight, gone back in between, and from a snapshot. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createEmbeddedTarget } from '../../debug-adapter/engines/embedded';
import type { EmbeddedLaunch } from '../../debug-adapter/engines/launch';
import type { RunRequest, Target } from '../../debug-adapter/target';

/** Runs a request to its end. */
export async function run(target: Target, request: RunRequest): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    target.setEvents({
      stopped: () => resolve(),
      continued: () => undefined,
      ended: (reason) => reject(new Error(`the guest ended: ${JSON.stringify(reason)}`)),
      console: () => undefined,
      note: () => undefined,
      exitsChanged: () => undefined,
    });
    target.run(request);
  });
}

/** Instruction count, registers, and a hash of all memory. */
export async function state(target: Target, memory: number): Promise<string> {
  const hash = createHash('sha256');
  const PIECE = 1 << 20;
  for (let at = 0; at < memory; at += PIECE) {
    hash.update(await target.readMemory('physical', 0, BigInt(at), Math.min(PIECE, memory - at)));
  }
  const registers: string[] = [];
  for (const { index } of target.vcpus()) {
    for (const { name } of target.registerInfo()) registers.push(`${name}=${await target.readRegister(index, name)}`);
  }
  const exits = JSON.stringify(target.exitCounters());
  return `icount ${target.icount()}, memory ${hash.digest('hex')}, ${exits}, ${registers.join(' ')}`;
}

/** @param end instruction count to which the guest runs; it must not end before */
export async function endsTheSame(launch: () => EmbeddedLaunch, end: number): Promise<void> {
  const { memory } = launch();
  const middle = Math.floor((2 * end) / 3);
  const to = (icount: number): RunRequest => ({ kind: 'gotoIcount', icount });

  const first = await createEmbeddedTarget(launch());
  await run(first, to(end));
  const want = await state(first, memory);
  assert.match(want, new RegExp(`^icount ${end}, `));
  first.dispose();

  const second = await createEmbeddedTarget(launch());
  await run(second, to(middle));
  await run(second, { kind: 'stepBackInstructions', count: 1000 });
  assert.equal(second.icount(), middle - 1000);
  await run(second, to(middle));
  const pieces: Uint8Array[] = [];
  await second.save!(async (data) => void pieces.push(data));
  await run(second, to(end));
  assert.equal(await state(second, memory), want, 'stopped, gone back by 1,000 instructions, saved, and continued');
  second.dispose();

  const third = await createEmbeddedTarget({ ...launch(), from: { name: 's', pieces } });
  assert.equal(third.icount(), middle);
  await run(third, to(end));
  assert.equal(await state(third, memory), want, 'from the snapshot');
  third.dispose();
}
