/** The fids of a session: the numbers by which the guest knows files. Plan 9 manual, intro(5), "Fids". */
import { Refusal } from './errno';
import { isWithin, pathBytes } from './paths';
import type { Place } from './shareMessages';

/** A file that the guest has a number for. */
export interface Fid {
  /** Names from the share's root on. */
  path: string[];
  /** By which its file is known again. */
  inode: bigint;
  /** QidType. */
  type: number;
  /** Open.read, Open.write or both; 0: not open. */
  open: number;
}

/** What a guest may hold: a driver that caches has one fid for every file that it has seen. */
const MAX_FIDS = 65536;
const MAX_PATH_BYTES = 4 << 20;

export class Fids {
  private fids = new Map<number, Fid>();
  private bytes = 0;

  get size(): number {
    return this.fids.size;
  }

  /** @throws Refusal EBADF */
  get(number: number): Fid {
    const fid = this.fids.get(number);
    if (!fid) throw new Refusal('EBADF');
    return fid;
  }

  /** @param access Open.read or Open.write, for which the fid must be open @throws Refusal EBADF */
  opened(number: number, access?: number): Fid {
    const fid = this.get(number);
    if (fid.open === 0 || (access !== undefined && !(fid.open & access))) throw new Refusal('EBADF');
    return fid;
  }

  /** A number that is not in use yet. @throws Refusal EBADF, ENFILE */
  checkNew(number: number): void {
    if (this.fids.has(number)) throw new Refusal('EBADF');
    if (this.fids.size >= MAX_FIDS || this.bytes >= MAX_PATH_BYTES) throw new Refusal('ENFILE');
  }

  set(number: number, fid: Fid): void {
    this.delete(number);
    this.fids.set(number, fid);
    this.bytes += pathBytes(fid.path);
  }

  delete(number: number): void {
    const fid = this.fids.get(number);
    if (!fid) return;
    this.bytes -= pathBytes(fid.path);
    this.fids.delete(number);
  }

  /** A file or folder has another path now. */
  moved(from: readonly string[], to: readonly string[]): void {
    for (const [number, fid] of this.entries()) {
      if (isWithin(fid.path, from)) this.set(number, { ...fid, path: [...to, ...fid.path.slice(from.length)] });
    }
  }

  clear(): void {
    this.fids.clear();
    this.bytes = 0;
  }

  entries(): [number, Fid][] {
    return [...this.fids];
  }

  restore(entries: readonly [number, Fid][]): void {
    this.clear();
    for (const [number, fid] of entries) this.set(number, { ...fid, path: [...fid.path] });
  }
}

/** The file of a fid, for what stands outside. */
export function placeOf({ path, inode }: Fid): Place {
  return { path, inode };
}
