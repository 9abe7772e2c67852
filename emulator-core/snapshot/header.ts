/** What a snapshot says of the machine that it was taken of, and whether another machine is the same. */
import type { BootResult } from '../boot/boot';
import type { CpuModel } from '../cpu/cpuid';
import type { Platform } from '../devices/platform';
import type { Disk } from '../disk/disk';
import type { MachineOptions } from '../machine/machineTypes';
import type { MachineMemory } from '../mmu/memory';
import { crc32 } from './crc32';
import { SnapshotError } from './snapshotError';
import { misfit, shapeOf } from './shape';

/** Counts up whenever the state of some part means something else than before. */
export const STATE_VERSION = 2;

/** A file that the guest was booted from. */
export interface ImageIdentity {
  size: number;
  crc: number;
}

export interface SnapshotHeader {
  state: number;
  /** Instructions retired. */
  icount: number;
  /** Bytes. */
  memory: number;
  cpus: number;
  /** launch.json's mode. */
  mode: string;
  /** The processor: features sorted; `widths` and signature as in 'GenuineIntel 6/94/3 46/48'. */
  cpu: { vendor: string; features: string[]; identity: string };
  boot: string;
  /** '1024x768', or 'text'. */
  display: string;
  disks: { size: number; readonly: boolean; sample: number }[];
  /** Buses of the virtio devices, and all devices by name. */
  virtio: string[];
  devices: string[];
  /** Host-physical addresses that the EPT's entries point to. */
  eptBase: number;
  ramBase: number;
  kernel: ImageIdentity;
  initrd: ImageIdentity;
  modules: ImageIdentity[];
  cmdline: string;
}

/** What a header is made of. */
export interface HeaderParts {
  options: MachineOptions;
  model: CpuModel;
  boot: BootResult;
  platform: Platform;
  memory: MachineMemory;
  icount: number;
}

const PIECE = 1 << 18;

/** The header of a machine. Yields where it takes a while. */
export function* headerOf({
  options,
  model,
  boot,
  platform,
  memory,
  icount,
}: HeaderParts): Generator<void, SnapshotHeader> {
  const { kernel, disks = [], virtio = [] } = options;
  const modules: ImageIdentity[] = [];
  for (const { data } of kernel.modules) modules.push(yield* identity(data));
  const diskRows: SnapshotHeader['disks'] = [];
  for (const disk of disks) diskRows.push(yield* diskOf(disk));
  const { framebuffer } = boot;
  const { family, model: number, stepping, maxPhysicalAddress, maxLinearAddress } = model;
  return {
    state: STATE_VERSION,
    icount,
    memory: memory.ramSize,
    cpus: options.cpus,
    mode: options.guest ?? 'bare',
    cpu: {
      vendor: model.vendor,
      features: [...model.features].sort(),
      identity: `family ${family} model ${number} stepping ${stepping}, ${maxPhysicalAddress} and ${maxLinearAddress} address bits`,
    },
    boot: boot.protocol,
    display: framebuffer ? `${framebuffer.width}x${framebuffer.height}` : 'text',
    disks: diskRows,
    virtio: virtio.map(({ bus }) => bus),
    devices: platform.devices.map(({ name }) => name),
    eptBase: memory.eptBase,
    ramBase: memory.ramBase,
    kernel: yield* identity(kernel.kernel),
    initrd: yield* identity(kernel.initrd ?? new Uint8Array(0)),
    modules,
    cmdline: kernel.cmdline,
  };
}

function* identity(bytes: Uint8Array): Generator<void, ImageIdentity> {
  let crc = 0;
  for (let at = 0; at < bytes.length; at += PIECE) {
    crc = crc32(bytes.subarray(at, at + PIECE), crc);
    yield;
  }
  return { size: bytes.length, crc };
}

/** Pieces of a disk's image that tell it from others; all of it may be too much to read. */
const SAMPLES = 64;
const SAMPLE_BYTES = 4096;

function* diskOf({ size, access, contents }: Disk): Generator<void, SnapshotHeader['disks'][number]> {
  let sample = 0;
  const length = Math.min(SAMPLE_BYTES, size);
  for (let i = 0; i < SAMPLES; i++) {
    const offset = Math.floor(((size - length) * i) / (SAMPLES - 1));
    try {
      sample = crc32(contents.readBytes(offset, length), sample);
    } catch {
      sample = crc32(Uint8Array.of(i), sample); // what can't be read is the guest's to find out
    }
    yield;
  }
  return { size, readonly: access === 'readonly', sample };
}

/** Checks that data from a file is a header, with `own` as the example. @throws SnapshotError */
export function checkHeader(name: string, data: unknown, own: SnapshotHeader): SnapshotHeader {
  const state = (data as { state?: unknown } | null)?.state;
  if (typeof state === 'number' && state !== STATE_VERSION) {
    const which = state > STATE_VERSION ? 'a newer' : 'an older';
    throw new SnapshotError(
      `'${name}': its state has version ${state}, expected ${STATE_VERSION}: ${which} Ringside has written it`,
    );
  }
  // Lists may be longer or shorter here: whether they differ is for the comparison to say.
  const lists = { disks: [], virtio: [], devices: [], modules: [], cpu: { ...own.cpu, features: [] } };
  const problem = misfit(data, shapeOf({ ...own, ...lists }), 'header');
  if (problem) throw new SnapshotError(`'${name}': ${problem}`);
  const header = data as SnapshotHeader;
  const strings = [...header.virtio, ...header.devices, ...header.cpu.features];
  const rows = misfitRows(header.disks, { size: 0, readonly: false, sample: 0 }, 'header.disks');
  const modules = misfitRows(header.modules, { size: 0, crc: 0 }, 'header.modules');
  const wrong =
    rows ?? modules ?? (strings.every((each) => typeof each === 'string') ? undefined : 'header: a list of names');
  if (wrong) throw new SnapshotError(`'${name}': ${wrong}`);
  return header;
}

function misfitRows(rows: readonly unknown[], example: object, path: string): string | undefined {
  const shape = shapeOf(example);
  return rows.map((row, i) => misfit(row, shape, `${path}[${i}]`)).find((problem) => problem !== undefined);
}

const mebibytes = (bytes: number): string =>
  bytes % (1 << 20) === 0 ? `${bytes / (1 << 20)}M` : bytes % 1024 === 0 ? `${bytes / 1024}K` : `${bytes} bytes`;

/** What must be the same, by the attribute of launch.json that decides it. */
const SAME: readonly [attribute: string, text: (header: SnapshotHeader) => string][] = [
  ['memory', ({ memory }) => mebibytes(memory)],
  ['cpus', ({ cpus }) => String(cpus)],
  ['mode', ({ mode }) => `"${mode}"`],
  ['cpu.vendor', ({ cpu }) => `"${cpu.vendor}"`],
  ['cpu.model', ({ cpu }) => cpu.identity],
  ['boot', ({ boot }) => `"${boot}"`],
  ['display', ({ display }) => `"${display}"`],
  ['disks', ({ disks }) => `${disks.length} disks`],
];

/** Why a machine with the header `own` can't take up a snapshot with the header `saved`; undefined: it can. */
export function mismatch(saved: SnapshotHeader, own: SnapshotHeader): string | undefined {
  for (const [attribute, text] of SAME) {
    if (text(saved) !== text(own)) return differs(attribute, text(saved), text(own));
  }
  for (const [i, disk] of saved.disks.entries()) {
    const other = own.disks[i];
    if (disk.size !== other.size) return differs(`disks[${i}].file`, `${disk.size} bytes`, `${other.size} bytes`);
    const access = ({ readonly }: typeof disk): string => (readonly ? '"readonly"' : '"snapshot" or "write"');
    if (access(disk) !== access(other)) return differs(`disks[${i}].access`, access(disk), access(other));
  }
  return (
    difference('cpu.features', saved.cpu.features, own.cpu.features) ??
    difference('devices', saved.devices, own.devices) ??
    (saved.virtio.join() === own.virtio.join()
      ? undefined
      : differs('disks[].bus', saved.virtio.join(), own.virtio.join()))
  );
}

function differs(attribute: string, saved: string, own: string): string {
  return `${attribute}: the snapshot was taken with ${saved}, this machine has ${own}`;
}

function difference(attribute: string, saved: readonly string[], own: readonly string[]): string | undefined {
  const missing = saved.filter((each) => !own.includes(each));
  const more = own.filter((each) => !saved.includes(each));
  if (missing.length === 0 && more.length === 0) return undefined;
  const parts = [...missing.map((each) => `with ${each}`), ...more.map((each) => `without ${each}`)];
  return `${attribute}: the snapshot was taken ${parts.join(', ')}, unlike this machine`;
}

/** What differs without harm to the machine: for the user to know. */
export function remarks(saved: SnapshotHeader, own: SnapshotHeader): string[] {
  const other = (a: ImageIdentity, b: ImageIdentity): boolean => a.size !== b.size || a.crc !== b.crc;
  const notes: string[] = [];
  const symbols = 'names and sources may not fit what runs';
  if (other(saved.kernel, own.kernel)) notes.push(`kernel: the snapshot was taken with another file: ${symbols}`);
  if (other(saved.initrd, own.initrd)) notes.push('initrd: the snapshot was taken with another file');
  const sameModules =
    saved.modules.length === own.modules.length && !saved.modules.some((each, i) => other(each, own.modules[i]));
  if (!sameModules) notes.push('modules: the snapshot was taken with others');
  if (saved.cmdline !== own.cmdline) {
    notes.push(
      `cmdline: the snapshot was taken with "${saved.cmdline}", not "${own.cmdline}"; a reset boots with the latter`,
    );
  }
  saved.disks.forEach(({ sample }, i) => {
    if (sample !== own.disks[i].sample) {
      notes.push(
        `disks[${i}].file: the image has changed since the snapshot was taken: the guest may find its files damaged`,
      );
    }
  });
  return notes;
}
