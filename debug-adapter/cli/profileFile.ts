/** `--profile FILE`: what it takes, and the file. */
import { messageOf } from '../errors';
import type { LaunchPlan } from '../launchConfig';
import { profileFormat, PROFILE_FORMATS } from '../profile/formats';
import { PROFILE_EVERY, Profiler } from '../profile/profiler';
import type { Target } from '../target';
import { parseCount, type CommandLine } from './commandLine';
import type { Services } from './services';
import { UsageError } from './usageError';

export interface ProfileOptions {
  file: string;
  every: number;
}

/** What `--profile` and its companion say. */
export function profileOptions({ options }: CommandLine): ProfileOptions | undefined {
  const { profile: file, profileEvery } = options;
  if (file === undefined) {
    if (profileEvery !== undefined) throw new UsageError('--profile-every: goes with --profile FILE');
    return undefined;
  }
  if (!profileFormat(file)) {
    const endings = PROFILE_FORMATS.map(({ ending }) => ending).join(' or ');
    throw new UsageError(`--profile: expected a file whose name ends in ${endings}, got '${file}'`);
  }
  return { file, every: profileEvery === undefined ? PROFILE_EVERY : parseCount(profileEvery, '--profile-every') };
}

export interface Profile {
  profiler: Profiler;
  write(): void;
  close(): void;
}

/** Begins to profile a machine that has not run yet, into a file that is opened now. */
export async function openProfile(
  { file, every }: ProfileOptions,
  services: Services,
  target: Target,
  plan: LaunchPlan,
  note: (text: string) => void,
): Promise<Profile> {
  // Samples are taken at exact instructions.
  if (!target.capabilities.timeTravel) throw new UsageError('--profile: needs "record": true');
  const { host, version } = services;
  const reaching = <T>(action: () => T): T => {
    try {
      return action();
    } catch (error) {
      throw new UsageError(`--profile: can't write '${file}': ${messageOf(error)}`);
    }
  };
  const out = reaching(() => services.createTrace(host.resolve(host.cwd(), file)));
  const profiler = await Profiler.create(target, plan, every, note);
  const facts = { name: plan.engine.kernel.name, exporter: `ringside ${version}` };
  return {
    profiler,
    write: () => reaching(() => out.write(profileFormat(file)!.write(profiler.tree, facts))),
    close: () => {
      profiler.close();
      out.close();
    },
  };
}
