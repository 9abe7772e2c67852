/**
 * npm start: VS Code with the extension and the samples, ready for F5. Takes the desktop `code` when there is one, else
 * code-server from the user's cache and prints the address for a browser.
 *   npm start -- linux              samples/linux instead: its own folder with Linux kernels
 *   npm start -- --browser          code-server even when `code` is installed
 *   npm start -- --port 8080        on this port of the loopback interface
 */
import { createHash } from 'node:crypto';
import { mkdir, rm, symlink } from 'node:fs/promises';
import path from 'node:path';
import { build } from './build.mjs';
import { ensureDependencies } from './lib/dependencies.mjs';
import { bold, cacheFolder, main, root, say, UserError } from './lib/project.mjs';
import { capture, run } from './lib/processes.mjs';
import { ensureBed, startServer, worthShowing } from './testbed.mjs';

/** The samples themselves: what one edits, rebuilds and debugs here is what the repository holds. */
const samples = path.join(root, 'samples');
/** Samples that are a folder of their own to open, with their launch configurations. */
const folders = ['linux'];

/** The desktop VS Code's command. Inside a terminal of a remote window, `code` is another program of the same name. */
function desktopCode() {
  if (process.env.VSCODE_IPC_HOOK_CLI) return false;
  const version = capture('code', ['--version'], { shell: process.platform === 'win32' });
  const [major, minor] = (version ?? '').split('.').map(Number);
  return major > 1 || (major === 1 && minor >= 100);
}

async function startInBrowser(workspace, port) {
  const bed = await ensureBed();
  // Settings and editor state stay from one start to the next, for every checkout apart.
  const name = createHash('sha256').update(root).digest('hex').slice(0, 12);
  const folder = path.join(cacheFolder(), 'start', name);
  const link = path.join(folder, 'extensions', 'ringside');
  await mkdir(path.dirname(link), { recursive: true });
  await rm(link, { force: true });
  await symlink(root, link, 'dir');
  const log = [];
  const server = await startServer(bed, { folder, port, onLine: (line) => log.push(line) });
  console.log(`\n  VS Code ${bed.vscode} with Ringside:  ${bold(server.url(workspace))}`);
  console.log(
    '  Open it in a browser on this machine, open the Run and Debug view and press F5. Ctrl-C here ends it.\n',
  );
  await server.ended;
  throw new UserError(`code-server ended:\n${worthShowing(log.slice(-40)).join('\n')}`);
}

await main(async (args) => {
  const at = args.indexOf('--port');
  const port = at >= 0 ? Number(args[at + 1]) : undefined;
  if (at >= 0 && !(Number.isInteger(port) && port > 0 && port < 65536)) {
    throw new UserError(`--port takes a TCP port from 1 to 65535, not '${args[at + 1] ?? ''}'`);
  }
  const named = args.find((one, i) => !one.startsWith('-') && !(at >= 0 && i === at + 1));
  if (named !== undefined && !folders.includes(named)) {
    throw new UserError(`no sample folder is called '${named}'; there is ${folders.join(', ')}`);
  }
  const workspace = path.join(samples, named ?? '');
  await ensureDependencies();
  await build();
  if (!args.includes('--browser') && desktopCode()) {
    say(
      `Opening VS Code with the extension and ${path.relative(root, workspace)}: open the Run and Debug view and press F5`,
    );
    const options = { shell: process.platform === 'win32' };
    return run('code', ['--new-window', `--extensionDevelopmentPath=${root}`, workspace], options);
  }
  return startInBrowser(workspace, port);
});
