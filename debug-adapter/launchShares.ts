/** The `shares` of a launch configuration: folders that the guest can mount. */
import type { Host } from './engine';
import type { LaunchShare } from './engines/launch';
import { messageOf } from './errors';
import { LaunchError } from './launchSchema';

/** An entry of launch.json, which the schema has checked. */
export interface ShareAttributes {
  path: string;
  tag?: string;
  access?: LaunchShare['access'];
}

/** Checks and opens the folders. @throws LaunchError that names the attribute and the folder */
export async function openShares(
  shares: readonly ShareAttributes[],
  host: Host,
  resolve: (path: string) => string,
): Promise<LaunchShare[]> {
  const opened: LaunchShare[] = [];
  for (const [i, { path, tag = defaultTag(i), access = 'readonly' }] of shares.entries()) {
    const attribute = `shares[${i}]`;
    const same = opened.findIndex((each) => each.tag === tag);
    if (same >= 0)
      throw new LaunchError(`${attribute}.tag: "${tag}" is the tag of shares[${same}], too; expected another one`);
    const folder = resolve(path);
    opened.push({ path: folder, tag, access, open: await open(folder, `${attribute}.path`, access === 'write', host) });
  }
  return opened;
}

function defaultTag(index: number): string {
  return index === 0 ? 'workspace' : `workspace${index}`;
}

async function open(folder: string, attribute: string, write: boolean, host: Host): Promise<LaunchShare['open']> {
  if (!host.openShare) throw new LaunchError(`${attribute}: folders can't be shared with the guest here`);
  let share: LaunchShare['open'] | undefined;
  try {
    share = await host.openShare(folder, write);
  } catch (error) {
    throw new LaunchError(`${attribute}: can't share '${folder}': ${messageOf(error)}`);
  }
  if (!share) throw new LaunchError(`${attribute}: there is no folder '${folder}'`);
  return share;
}
