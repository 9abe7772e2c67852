/** Runs batches on both sides and compares. While the processor runs a batch, the machine runs the one before. */
import type { CpuVendor } from '../../emulator-core/cpu/cpuModels';
import { difference } from './compare';
import { Emulated } from './emulated';
import { listForms, type FormList } from './forms';
import { Generator, type GeneratedBatch } from './generate';
import { Native, readResult, type BatchResult } from './native';
import { Outcome, Result } from './protocol';
import { caseLine, parseLine } from './vectorLine';

export interface Tally {
  executions: number;
  mismatches: number;
}
export interface Mismatch {
  form: string;
  /** The case as a line that vectorLine.ts reads. */
  line: string;
  problems: string[];
}
export interface Summary {
  executions: number;
  seconds: number;
  tallies: Map<string, Tally>;
  mismatches: Mismatch[];
  mismatchCount: number;
  forms: FormList;
  /** Forms of which no encoding was found: other Codes stand for the same bytes. */
  unencoded: Set<string>;
  /** Batches in which the runner's child died, with the form that it died in. */
  crashes: string[];
}
export interface Options {
  seed: number;
  only?: RegExp;
  /** Ends at the end of the batch in which the first of these is reached; after 20 passes over all forms when none is given. */
  cases?: number;
  seconds?: number;
  passes?: number;
  sequences?: number;
  datasets?: number;
  /** Mismatches kept per form. */
  keep?: number;
  progress?: (summary: Summary) => void;
  /** Changes what the machine did, to see that it is noticed. */
  tamper?: (outcome: Outcome) => void;
}

/** Of a run that nothing else ends: 1000 cases of every form. */
const PASSES = 20;

export async function runDifferential(options: Options): Promise<Summary> {
  const native = new Native();
  try {
    return await run(native, options);
  } finally {
    native.close();
  }
}

/** Runs one line on both sides: what differs between machine and processor, line and processor; and the line as it should be. */
export async function runLine(line: string): Promise<{ machine: string[]; line: string[]; vector: string }> {
  const native = new Native();
  try {
    const { sequence, code, cases, want } = parseLine(line);
    native.start({ code, cases, count: 1 });
    const { results, count } = await native.finish();
    if (!count) throw new Error("the runner's child died");
    const processor = new Outcome();
    readResult(cases, 0, results, 0, processor);
    return {
      machine: difference(
        sequence,
        cases,
        0,
        runOnMachine(new Emulated(native.features, native.processorLimit), code, cases),
        processor,
        native.vendor,
      ),
      line: difference(sequence, cases, 0, want, processor),
      vector: caseLine(sequence, cases, 0, processor),
    };
  } finally {
    native.close();
  }
}

/** What the machine makes of one case. */
export function runOnMachine(machine: Emulated, code: Uint8Array, cases: Buffer): Outcome {
  const outcome = new Outcome();
  machine.setCode(code);
  machine.run(cases, 0, outcome);
  return outcome;
}

async function run(native: Native, options: Options): Promise<Summary> {
  const { seed, only, seconds = Infinity, sequences = 200, datasets = 50, keep = 3 } = options;
  // Faults are thrown inside the machine, often: their stack traces cost more than the instruction.
  const traces = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  const machine = new Emulated(native.features, native.processorLimit);
  const both = new Set([...machine.features].filter((name) => native.features.has(name)));
  const forms = listForms(both, only);
  if (!forms.forms.length) throw new Error('no form matches');
  const summary: Summary = {
    executions: 0, seconds: 0, tallies: new Map(), mismatches: [], mismatchCount: 0, forms, crashes: [], unencoded: new Set(),
  }; // prettier-ignore
  const perBatch = Math.min(sequences, Math.max(20, forms.forms.length));
  const generators = [0, 1].map(() => new Generator(seed, perBatch, datasets));
  const make = (number: number): GeneratedBatch =>
    generators[number % 2].batch(number, forms.forms, (number * perBatch) % forms.forms.length);
  const endless = options.cases !== undefined || options.seconds !== undefined;
  const { passes = endless ? Infinity : PASSES, cases = Infinity } = options;
  const started = Date.now();
  const over = (batches: number): boolean =>
    batches * perBatch >= passes * forms.forms.length ||
    summary.executions >= cases ||
    Date.now() - started >= seconds * 1000;
  let batch = make(0);
  native.start(batch);
  try {
    for (let number = 0; ; number++) {
      const result = await native.finish();
      const next = over(number + 1) ? undefined : make(number + 1);
      if (next) native.start(next);
      judge(number, batch, result, machine, native.vendor, summary, keep, options.tamper);
      summary.seconds = (Date.now() - started) / 1000;
      for (const generator of generators) for (const name of generator.unencoded) summary.unencoded.add(name);
      options.progress?.(summary);
      if (!next) return summary;
      batch = next;
    }
  } finally {
    Error.stackTraceLimit = traces;
  }
}

const got = new Outcome();
const want = new Outcome();

function judge(
  number: number,
  batch: GeneratedBatch,
  native: BatchResult,
  machine: Emulated,
  vendor: CpuVendor,
  summary: Summary,
  keep: number,
  tamper?: (outcome: Outcome) => void,
): void {
  const cases = batch.cases as Buffer;
  machine.setCode(batch.code);
  let at = 0;
  for (let i = 0; i < native.count; i++) {
    const sequence = batch.sequences[batch.sequenceOf[i]];
    const offset = batch.offsets[i];
    readResult(cases, offset, native.results, at, want);
    at += native.results.readUInt32LE(at + Result.size);
    machine.run(cases, offset, got);
    tamper?.(got);
    const problems = difference(sequence, cases, offset, got, want, vendor);
    const name = sequence.name;
    let tally = summary.tallies.get(name);
    if (!tally) summary.tallies.set(name, (tally = { executions: 0, mismatches: 0 }));
    tally.executions++;
    summary.executions++;
    if (problems.length) {
      tally.mismatches++;
      summary.mismatchCount++;
      if (tally.mismatches <= keep) {
        const line = caseLine(sequence, cases, offset, want);
        summary.mismatches.push({ form: name, line, problems });
      }
    }
  }
  if (native.count < batch.count) {
    const sequence = batch.sequences[batch.sequenceOf[native.count]];
    summary.crashes.push(
      `${sequence.name}: the runner's child died (wait status ${native.status}) in batch ${number}, case ${native.count}`,
    );
  }
}
