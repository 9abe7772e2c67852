/** What has been written to a disk, as runs of blocks: for files of snapshots. */
import { BLOCK, TABLE, ZEROS, type DiskState } from './disk';

/** Blocks that a state from a file may have: 4 GiB of contents, and as many zeros as take 512 MiB of tables. */
const MAX_BLOCKS = { contents: 1 << 20, zeros: 1 << 26 };

/** Written blocks that follow each other: their contents, or so many that are zeros. */
export interface BlockRun {
  first: number;
  contents: readonly Uint8Array[] | number;
}

/** @param longest blocks with contents in a run */
export function* runsOf(state: DiskState, longest: number): Generator<BlockRun, void> {
  let run: { first: number; blocks: Uint8Array[]; zeros: number } | undefined;
  const end = (r: NonNullable<typeof run>): BlockRun => ({ first: r.first, contents: r.zeros || r.blocks });
  for (const [index, table] of state.entries()) {
    for (const [i, data] of (table ?? []).entries()) {
      if (!data) continue;
      const block = index * TABLE + i;
      const zero = data === ZEROS;
      const length = run ? run.zeros + run.blocks.length : 0;
      const goesOn = run && block === run.first + length && zero === run.zeros > 0 && (zero || length < longest);
      if (run && !goesOn) yield end(run);
      if (!run || !goesOn) run = { first: block, blocks: [], zeros: 0 };
      if (zero) run.zeros++;
      else run.blocks.push(data);
    }
  }
  if (run) yield end(run);
}

/** Puts a disk's state together out of rising runs. */
export class DiskStateBuilder {
  readonly state: ((Uint8Array | undefined)[] | undefined)[] = [];
  private next = 0;
  private readonly blocks = { contents: 0, zeros: 0 };

  /** @param size bytes of the disk */
  constructor(private readonly size: number) {}

  /** What is wrong with the run; undefined: it has been added. `contents`: whole blocks, or how many are zeros. */
  add(first: number, contents: Uint8Array | number): string | undefined {
    const zeros = typeof contents === 'number';
    const count = zeros ? contents : contents.length / BLOCK;
    const problem = this.count(first, count, zeros);
    if (problem) return problem;
    for (let i = 0; i < count; i++) {
      this.table(first + i)[(first + i) % TABLE] = zeros ? ZEROS : contents.slice(i * BLOCK, (i + 1) * BLOCK);
    }
    return undefined;
  }

  /** As add(), but only whether it could be. */
  count(first: number, count: number, zeros: boolean): string | undefined {
    if (!Number.isInteger(count) || count < 1) return 'no whole blocks';
    if (first < this.next) return `block ${first} again`;
    if (first + count > Math.ceil(this.size / BLOCK))
      return `block ${first + count - 1} of a disk of ${this.size} bytes`;
    const kind = zeros ? 'zeros' : 'contents';
    this.blocks[kind] += count;
    if (this.blocks[kind] > MAX_BLOCKS[kind]) return `more than ${MAX_BLOCKS[kind]} blocks`;
    this.next = first + count;
    return undefined;
  }

  private table(block: number): (Uint8Array | undefined)[] {
    const index = Math.floor(block / TABLE);
    while (this.state.length <= index) this.state.push(undefined);
    return (this.state[index] ??= new Array<Uint8Array | undefined>(TABLE).fill(undefined));
  }
}
