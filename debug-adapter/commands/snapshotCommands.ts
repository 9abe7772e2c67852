/** `save` and `restore`. */
import type { Command } from './commands';

export const SNAPSHOT_COMMANDS: readonly Command[] = [
  {
    name: 'save',
    arguments: '[FILE]',
    help: 'a snapshot of the whole machine into a file, by default the one that "snapshot" in launch.json names',
    pattern: /^save(?:\s+(.*))?$/s,
    run: ({ debuggee, signal }, file) => debuggee.snapshots.save(file, signal),
  },
  {
    name: 'restore',
    arguments: '[FILE]',
    help: 'puts the machine where a snapshot was taken; breakpoints stay, history begins there',
    pattern: /^restore(?:\s+(.*))?$/s,
    run: ({ debuggee, signal }, file) => debuggee.snapshots.restore(file, signal),
  },
];
