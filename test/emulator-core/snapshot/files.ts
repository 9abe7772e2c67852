/** Snapshots in memory: taken, taken apart, changed and put together again with right checksums. */
import { deflateSync, inflateSync } from 'node:zlib';
import type { Machine } from '../../../emulator-core/machine';
import type { PlatformZlib } from '../../../emulator-core/platformZlib';
import { preamble, section, SectionReader, trailer, type SectionName } from '../../../emulator-core/snapshot/format';
import { decodePlain, encodePlain } from '../../../emulator-core/snapshot/plainData';
import { compressed } from '../../../emulator-core/snapshot/snapshotFile';

export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** The file of a machine's snapshot. */
export async function save(machine: Machine): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for await (const piece of compressed(machine.snapshot(), turn)) pieces.push(piece);
  return new Uint8Array(Buffer.concat(pieces));
}

/** Checks a file and takes it up; what it remarks. */
export async function load(
  machine: Machine,
  file: Uint8Array,
  name = 'x.snapshot',
  zlib?: PlatformZlib,
): Promise<string[]> {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < file.length; at += 50_000) pieces.push(file.subarray(at, at + 50_000));
  const checked = await machine.checkSnapshot({ name, pieces, zlib }, turn);
  await machine.loadSnapshot(checked, turn);
  return checked.remarks;
}

export interface Part {
  name: SectionName;
  contents: Uint8Array;
}

export function parts(file: Uint8Array): Part[] {
  const found: Part[] = [];
  for (const each of new SectionReader('f').push(inflateSync(file.subarray(16, file.length - 16)))) {
    found.push({ name: each.name, contents: each.contents.slice() });
  }
  return found;
}

/** A file of sections, with a new END_. */
export function build(sections: readonly Part[]): Uint8Array {
  const kept = sections.filter(({ name }) => name !== 'END_');
  const count = new Uint8Array(4);
  new DataView(count.buffer).setUint32(0, kept.length, true);
  const raw = [...kept, { name: 'END_' as const, contents: count }].map(({ name, contents }) =>
    section(name, contents),
  );
  const body = [preamble(), deflateSync(Buffer.concat(raw))];
  const size = body.reduce((sum, { length }) => sum + length, 0);
  return new Uint8Array(Buffer.concat([...body, trailer(size)]));
}

/** The file with the plain data of a section changed. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- any wrong data at all
export function changed(file: Uint8Array, name: 'HEAD' | 'STAT', change: (data: any) => unknown): Uint8Array {
  return build(
    parts(file).map((part) => {
      if (part.name !== name) return part;
      const data = decodePlain(part.contents, { name: 'f', offset: 0 });
      return { name, contents: encodePlain(change(data) ?? data) };
    }),
  );
}
