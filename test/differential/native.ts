/** The real processor: builds runner.c, starts it, and sends it batches. */
import { execFileSync, spawn, spawnSync, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { CPU_FEATURES, type CpuidRegister } from '../../emulator-core/cpu/cpuFeatures';
import type { CpuVendor } from '../../emulator-core/cpu/cpuModels';
import {
  BATCH_MAGIC,
  CaseFlag,
  Case,
  LINE,
  Outcome,
  RESULT_MAGIC,
  Result,
  ResultFlag,
  TEMPLATE,
  DATA,
  DATA_BYTES,
} from './protocol';

/** Why nothing can be compared on this host, or undefined. */
export function unavailable(): string | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    return `the host is ${process.platform} ${process.arch}, not x86-64 Linux`;
  if (spawnSync('gcc', ['--version']).status !== 0)
    return 'gcc is not installed (Debian: apt-get install gcc libc6-dev)';
  const folder = mkdtempSync(path.join(os.tmpdir(), 'ringside-differential-'));
  try {
    const missing = [...describeHost(buildRunner(folder)).matchAll(/^not (.*)$/gm)].map(([, what]) => what);
    if (missing.length) return `this host's kernel does not let user code have what is compared: ${missing.join(', ')}`;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return undefined;
}

/** Returns the program's path. */
function buildRunner(folder: string): string {
  const binary = path.join(folder, 'runner');
  const options = ['-O2', '-Wall', '-fPIE', '-pie', '-fno-stack-protector', '-fcf-protection=none'];
  execFileSync('gcc', [...options, '-o', binary, path.join(__dirname, 'runner.c')], { stdio: 'pipe' });
  return binary;
}

function describeHost(binary: string): string {
  return execFileSync(binary, ['--cpuid'], { encoding: 'utf8' });
}

export interface Batch {
  /** Bytes at CODE. */
  code: Uint8Array;
  cases: Uint8Array;
  count: number;
}
export interface BatchResult {
  results: Buffer;
  /** Cases that have a result; fewer than sent when the child process died, with this wait status. */
  count: number;
  status: number;
}

export class Native {
  /** Features of this host, by the names of cpuFeatures.ts. */
  readonly features: ReadonlySet<string>;
  readonly vendor: CpuVendor;
  /** Limit of the data segment by which Linux tells user code its processor (cpu | node << 12). */
  readonly processorLimit: number;
  private readonly folder: string;
  private readonly process: ChildProcessWithoutNullStreams;
  private readonly batchFile: number;
  private readonly resultFile: number;
  private reply = Buffer.alloc(0);
  private wake?: () => void;
  private failure?: string;

  constructor() {
    this.folder = mkdtempSync(path.join(os.tmpdir(), 'ringside-differential-'));
    const binary = buildRunner(this.folder);
    const text = describeHost(binary);
    this.features = hostFeatures(text);
    this.vendor = vendorOf(this.features);
    const [, cpu, node] = /processor (\d+) (\d+)/.exec(text)!;
    this.processorLimit = Number(cpu) | (Number(node) << 12);
    this.batchFile = openSync(path.join(this.folder, 'batch'), 'w+');
    this.resultFile = openSync(path.join(this.folder, 'results'), 'w+');
    this.process = spawn(binary, [this.folder]);
    this.process.stdout.on('data', (chunk: Buffer) => {
      this.reply = Buffer.concat([this.reply, chunk]);
      this.wake?.();
    });
    this.process.on('exit', (status, signal) => {
      this.failure = `the runner ended with ${signal ?? `status ${status}`}`;
      this.wake?.();
    });
    this.process.stderr.on('data', (data: Buffer) => process.stderr.write(data));
    this.process.stdin.on('error', () => {});
  }

  /** Starts a batch; one at a time. It runs while this process does something else. */
  start(batch: Batch): void {
    writeSync(this.batchFile, batch.code, 0, batch.code.length, 0);
    writeSync(this.batchFile, batch.cases, 0, batch.cases.length, batch.code.length);
    const header = Uint32Array.of(BATCH_MAGIC, batch.code.length, batch.count, batch.cases.length);
    this.process.stdin.write(new Uint8Array(header.buffer));
  }

  /** What became of the batch started last. */
  async finish(): Promise<BatchResult> {
    while (this.reply.length < 16) {
      if (this.failure) throw new Error(this.failure);
      await new Promise<void>((resolve) => (this.wake = resolve));
    }
    const { reply } = this;
    this.reply = reply.subarray(16);
    if (reply.readUInt32LE(0) !== RESULT_MAGIC) throw new Error('the runner answered something else');
    const results = Buffer.allocUnsafe(reply.readUInt32LE(8));
    readSync(this.resultFile, results, 0, results.length, 0);
    return { count: reply.readUInt32LE(4), status: reply.readUInt32LE(12), results };
  }

  close(): void {
    this.process.stdin.end();
    closeSync(this.batchFile);
    closeSync(this.resultFile);
    this.process.removeAllListeners('exit');
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Whose processor has these features: what only AMD's have tells. */
export function vendorOf(features: ReadonlySet<string>): CpuVendor {
  return features.has('mmxext') ? 'amd' : 'intel';
}

/** Lines "leaf subleaf eax ebx ecx edx" -> names of cpuFeatures.ts. */
function hostFeatures(text: string): Set<string> {
  const registers: readonly CpuidRegister[] = ['eax', 'ebx', 'ecx', 'edx'];
  const found = new Set<string>();
  for (const line of text.split('\n')) {
    const [leaf, subleaf, ...values] = line.split(' ').map((word) => parseInt(word, 16));
    for (const feature of CPU_FEATURES) {
      if (feature.leaf !== leaf || feature.subleaf !== subleaf) continue;
      if ((values[registers.indexOf(feature.register)] >>> feature.bit) & 1) found.add(feature.name);
    }
  }
  return found;
}

/** Puts a case's patches into data memory that holds the template. */
export function applyPatches(cases: Buffer, at: number, write: (address: number, bytes: Uint8Array) => void): void {
  const extended = cases.readUInt32LE(at + Case.flags) & CaseFlag.extended;
  let patch = at + (extended ? Case.end : Case.x87);
  for (let left = cases.readUInt32LE(at + Case.patches); left > 0; left--) {
    const length = cases.readUInt32LE(patch + 4);
    write(cases.readUInt32LE(patch), cases.subarray(patch + 8, patch + 8 + length));
    patch += 8 + ((length + 7) & ~7);
  }
}

/** Reads a result over what its case began with. */
export function readResult(cases: Buffer, caseAt: number, results: Buffer, at: number, out: Outcome): void {
  out.vector = results.readUInt32LE(at + Result.vector);
  out.error = results.readUInt32LE(at + Result.error);
  for (let i = 0; i < 2; i++) {
    out.address[i] = results.readUInt32LE(at + Result.address + i * 4);
    out.rip[i] = results.readUInt32LE(at + Result.rip + i * 4);
  }
  out.rflags = results.readUInt32LE(at + Result.rflags);
  out.mxcsr = results.readUInt32LE(at + Result.mxcsr);
  out.fcw = results.readUInt16LE(at + Result.fcw);
  out.fsw = results.readUInt16LE(at + Result.fsw);
  out.valid = results.readUInt16LE(at + Result.valid);
  results.copy(out.bases, 0, at + Result.fsBase, at + Result.fsBase + 16);
  for (let i = 0; i < 6; i++) out.selectors[i] = results.readUInt16LE(at + Result.selectors + i * 2);
  results.copy(out.gpr, 0, at + Result.gpr, at + Result.gpr + 128);
  const flags = results.readUInt32LE(at + Result.flags);
  const extended = cases.readUInt32LE(caseAt + Case.flags) & CaseFlag.extended;
  let next = at + Result.end;
  if (flags & ResultFlag.x87) {
    results.copy(out.x87, 0, next, next + 128);
    next += 128;
  } else if (extended) cases.copy(out.x87, 0, caseAt + Case.x87, caseAt + Case.x87 + 128);
  else out.x87.fill(0);
  if (flags & ResultFlag.ymm) {
    results.copy(out.ymm, 0, next, next + 512);
    next += 512;
  } else if (extended) cases.copy(out.ymm, 0, caseAt + Case.ymm, caseAt + Case.ymm + 512);
  else out.ymm.fill(0);
  out.memory.set(TEMPLATE);
  applyPatches(cases, caseAt, (address, bytes) => {
    if (address >= DATA && address < DATA + DATA_BYTES) out.memory.set(bytes, address - DATA);
  });
  for (let lines = results.readUInt32LE(at + Result.lines); lines > 0; lines--) {
    results.copy(out.memory, results.readUInt32LE(next) * LINE, next + 8, next + 8 + LINE);
    next += 8 + LINE;
  }
}
