/** Snapshots of the embedded machine, in slices: the adapter keeps answering meanwhile. */
import type { Machine } from '../../../emulator-core/machine';
import { compressed } from '../../../emulator-core/snapshot/snapshotFile';
import { turn } from '../../introspection/slices';
import type { SnapshotContents, SnapshotWork } from '../../target';

/** Milliseconds of work between two turns of the event loop. */
const SLICE_MS = 6;

/** A turn of the event loop where one is due; throws when the work was given up. */
function slices({ signal }: SnapshotWork): () => Promise<void> {
  let since = performance.now();
  return async () => {
    if (performance.now() - since >= SLICE_MS) {
      await turn();
      since = performance.now();
    }
    if (signal?.aborted) throw new Error('cancelled');
  };
}

/** @param write takes the file's bytes, in order */
export async function saveSnapshot(
  machine: Machine,
  write: (data: Uint8Array) => Promise<void>,
  work: SnapshotWork,
): Promise<void> {
  const turn = slices(work);
  for await (const piece of compressed(machine.snapshot(work.progress), turn)) {
    await turn();
    await write(piece);
  }
}

/** @returns what the user should know: that the snapshot was taken with another kernel file, say */
export async function restoreSnapshot(machine: Machine, file: SnapshotContents, work: SnapshotWork): Promise<string[]> {
  const checked = await machine.checkSnapshot(file, slices(work), work.progress);
  // From here on there is no way back.
  await machine.loadSnapshot(checked, slices({}));
  return checked.remarks;
}
