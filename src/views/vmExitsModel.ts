/** What the VM Exits view shows, computed from counters and records. No vscode here: tested without an editor. */
import { count, hex, share } from '../format';
import type { DecodedField, ExitCounter, ExitRecord } from '../wire';

export interface ExitFilter {
  /** Part of a name, a summary or a symbol, in any case; empty: everything. */
  text: string;
  /** Exits up to this sequence number are cleared away; -1: none. */
  after: number;
  /** Counters at that moment. */
  baseline: ReadonlyMap<string, number>;
}

export const noFilter: ExitFilter = { text: '', after: -1, baseline: new Map() };

/** Counters to show: cleared counts taken off, filtered by name, most frequent first; equal ones by name. */
export function shownCounters(counters: readonly ExitCounter[], filter: ExitFilter): ExitCounter[] {
  const text = filter.text.toLowerCase();
  return counters
    .map((counter) => ({ ...counter, count: Math.max(0, counter.count - (filter.baseline.get(counter.name) ?? 0)) }))
    .filter((counter) => counter.count > 0 && counter.name.toLowerCase().includes(text))
    .sort((a, b) => b.count - a.count || a.name.localeCompare(b.name));
}

/** Records to show, in the order given. */
export function shownExits(exits: readonly ExitRecord[], filter: ExitFilter): ExitRecord[] {
  const text = filter.text.toLowerCase();
  return exits.filter(
    (exit) =>
      exit.seq > filter.after &&
      (!text || [exit.name, exit.summary, exit.symbol ?? ''].some((part) => part.toLowerCase().includes(text))),
  );
}

/** '1,234 · 12%'. */
export function counterDescription(counter: ExitCounter, total: number): string {
  return `${count(counter.count)} · ${share(counter.count, total)}`;
}

/** The summary without the exit's name, which stands beside it. */
export function details(exit: ExitRecord): string {
  return exit.summary.startsWith(`${exit.name} `) ? exit.summary.slice(exit.name.length + 1) : exit.summary;
}

/** Where: 'timer_handler+0x12' when known, else the address. */
export function place(exit: ExitRecord): string {
  return exit.symbol ?? hex(exit.rip);
}

/** Which exit, where and when; what its architectural fields say comes from the adapter. */
export function exitFields(exit: ExitRecord): [name: string, value: string][] {
  const fields: [string, string][] = [
    ['Exit', `#${exit.seq} ${exit.name}`],
    ['What', exit.summary],
    ['Where', `${hex(exit.rip, 16)}${exit.symbol ? ` ${exit.symbol}` : ''}`],
  ];
  if (exit.file) fields.push(['Source', `${exit.file}:${exit.line}`]);
  fields.push(['When', `instruction ${count(exit.icount)} on vCPU ${exit.cpu}`]);
  return fields;
}

/** Decoded fields and their parts, as name and value. */
export function decodedLines(fields: DecodedField[], depth = 0): [name: string, value: string][] {
  return fields.flatMap((field) => [
    [' '.repeat(2 * depth) + field.name, field.text ? `${field.value} (${field.text})` : field.value],
    ...decodedLines(field.children ?? [], depth + 1),
  ]);
}

/**
 * Takes newer exits into a list.
 * @param exits newest first
 * @param newest newest first; may overlap with `exits` or leave a gap after them
 * @param limit how many to keep
 */
export function mergeExits(exits: ExitRecord[], newest: ExitRecord[], limit: number): ExitRecord[] {
  const oldest = newest.at(-1);
  // After going back in time the numbers start again from there: what is ahead has not happened.
  const kept = oldest ? exits.filter((exit) => exit.seq < oldest.seq) : exits;
  return [...newest, ...kept].slice(0, limit);
}
