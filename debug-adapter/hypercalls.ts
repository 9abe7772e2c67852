/** Hypercalls by name: function breakpoints, `info hypercalls`, completion. */
import { closest } from './expression/compile';
import type { HypercallInfo, Target } from './target';

/** Function breakpoints with this prefix stop at a hypercall. */
export const HYPERCALL_PREFIX = 'hypercall:';

/**
 * The hypercall that a function breakpoint names.
 * @throws Error that says what there is
 */
export function findHypercall(target: Target, name: string): HypercallInfo {
  const all = target.hypercalls?.() ?? [];
  if (all.length === 0) {
    throw new Error(
      `the machine of mode 'bare' offers its guest no hypercalls by name; use the exception filter VMCALL with a condition such as $rax == 5`,
    );
  }
  const found = all.find((each) => each.name === name);
  if (found) return found;
  const names = all.map((each) => each.name);
  const near = closest(name, names);
  throw new Error(
    `no hypercall is called '${name}'${near ? `; did you mean ${near}?` : `; there are ${names.join(', ')}`}`,
  );
}

/** A table of all hypercalls, for the debug console. */
export function hypercallLines(target: Target): string {
  const all = target.hypercalls?.() ?? [];
  if (all.length === 0) return 'this machine offers its guest no hypercalls';
  const signature = (each: HypercallInfo): string => `${each.name}(${each.arguments.join(', ')})`;
  const width = Math.max(...all.map((each) => signature(each).length));
  const rows = all.map(
    (each) =>
      `${String(each.count).padStart(10)}  ${String(each.number).padStart(3)}  ${signature(each).padEnd(width)}  ${each.text}`,
  );
  return [`${'calls'.padStart(10)}  nr.  ${'name'.padEnd(width)}`.trimEnd(), ...rows].join('\n');
}

/** Names that continue `hypercall:` at the end of the input, and where they begin. */
export function completeHypercall(target: Target, before: string): { words: string[]; start: number } | undefined {
  const found = /hypercall:(\w*)$/.exec(before);
  if (!found) return undefined;
  const words = (target.hypercalls?.() ?? []).map((each) => each.name).filter((name) => name.startsWith(found[1]));
  return { words, start: before.length - found[1].length };
}
