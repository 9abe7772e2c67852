/** `power button`. */
import type { Command } from './commands';

export const POWER_COMMANDS: readonly Command[] = [
  {
    name: 'power',
    arguments: 'button',
    help: "presses the machine's ACPI power button, upon which a guest that listens to it shuts down",
    // A variable of that name stays an expression.
    pattern: /^power\s+button\s*$/,
    run: async ({ debuggee: { target } }) => {
      if (!target.powerButton) throw new Error('this machine has no power button');
      return target.powerButton()
        ? 'the power button is pressed: the guest hears of it when it runs'
        : 'the power button is pressed, but the guest does not listen to it (PM1_EN.PWRBTN_EN is 0)';
    },
  },
];
