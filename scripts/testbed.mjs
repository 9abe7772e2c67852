/**
 * A real VS Code that needs neither a desktop nor a download page: code-server from npm, installed once into the user's
 * cache.  node scripts/testbed.mjs  installs it and says where it is.
 *
 * RINGSIDE_VSCODE chooses the version: `minimum` (default) is the oldest that the extension supports, `current` a new one.
 */
import { existsSync } from 'node:fs';
import { chmod, copyFile, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { cacheFolder, isMain, main, say, UserError } from './lib/project.mjs';
import { capture, cleanEnvironment, npm, startGroup } from './lib/processes.mjs';

/** Versions go together: a code-server carries one VS Code and wants one major version of Node. */
const versions = {
  minimum: { codeServer: '4.100.3', vscode: '1.100.3', node: 20 },
  current: { codeServer: '4.139.1', vscode: '1.139.1', node: 24 },
};

const bedFolder = () => path.join(cacheFolder(), 'bed');
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** argon2 hashes passwords and needs a native build. Servers here listen on loopback without a password. */
const argon2 = `'use strict';
const refuse = async () => {
  throw new Error('no passwords in this installation: start it with --auth none');
};
module.exports = { hash: refuse, verify: refuse };
`;

/** Counts changes of what follows in ensureBed, so that an older installation is not taken for a new one. */
const recipe = 3;

/**
 * VS Code finds files with ripgrep. Older versions of its package download the program in an install script; newer ones
 * have it in npm packages, one for each platform, which serve the older as well.
 */
async function addRipgrep(cwd, vscode, flags, nodeFolder) {
  const name = `@vscode/ripgrep-${process.platform}-${process.arch}`;
  await npm(['install', '--save-optional', `${name}@1.18.0`, ...flags], { cwd, nodeFolder });
  const program = path.join(cwd, 'node_modules', name, 'bin', 'rg');
  const wanted = path.join(vscode, 'node_modules/@vscode/ripgrep/bin/rg');
  if (!existsSync(program) || existsSync(wanted)) return;
  await mkdir(path.dirname(wanted), { recursive: true });
  await copyFile(program, wanted);
  await chmod(wanted, 0o755);
}

/**
 * Builds node-pty, which the editor's own terminals need; the guest's serial console does without. Takes a C++ compiler
 * and Node's headers, which are beside most installations of Node; node-gyp downloads them otherwise.
 */
function buildTerminals(vscode, node) {
  const prefix = path.dirname(path.dirname(node));
  const headers = existsSync(path.join(prefix, 'include/node/node.h')) ? { npm_config_nodedir: prefix } : {};
  const env = cleanEnvironment({ ...headers, PATH: `${path.dirname(node)}:${process.env.PATH}` });
  capture('npm', ['rebuild', 'node-pty'], { cwd: vscode, env, stdio: 'pipe', timeout: 180_000 });
  if (existsSync(path.join(vscode, 'node_modules/node-pty/build/Release/pty.node'))) return;
  say("The editor's own terminals will not work in this VS Code (no C++ compiler); the guest's serial console does");
}

/** Runs `body` while no other process does with the same name. A lock whose owner is dead is taken over. */
async function withLock(name, body) {
  const lock = path.join(bedFolder(), `${name}.lock`);
  const owner = path.join(lock, 'pid');
  await mkdir(bedFolder(), { recursive: true });
  let told = false;
  for (;;) {
    try {
      await mkdir(lock);
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    // The owner writes its pid right after the folder: give it that moment before calling the lock dead.
    let pid = Number(await readFile(owner, 'utf8').catch(() => 0));
    if (!pid) {
      await sleep(1000);
      pid = Number(await readFile(owner, 'utf8').catch(() => 0));
    }
    if (!alive(pid)) {
      await rm(lock, { recursive: true, force: true });
      continue;
    }
    if (!told) say(`Waiting for process ${pid}, which is installing ${name}`);
    told = true;
    await sleep(500);
  }
  try {
    await writeFile(owner, String(process.pid));
    return await body();
  } finally {
    await rm(lock, { recursive: true, force: true });
  }
}

function alive(pid) {
  if (!pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/** Installs into a folder of another name and renames it at the end, so that a folder of this name is always whole. */
async function installOnce(name, what, install) {
  const folder = path.join(bedFolder(), name);
  if (existsSync(folder)) return folder;
  return withLock(name, async () => {
    if (existsSync(folder)) return folder;
    say(`Installing ${what} into ${folder} (once)`);
    const temporary = `${folder}.installing`;
    await rm(temporary, { recursive: true, force: true });
    await mkdir(temporary, { recursive: true });
    await writeFile(path.join(temporary, 'package.json'), '{ "private": true }\n');
    try {
      await install(temporary);
      await rename(temporary, folder);
    } catch (error) {
      await rm(temporary, { recursive: true, force: true });
      throw error;
    }
    return folder;
  });
}

/** A Node of this major version: the running one, or one from npm. */
async function ensureNode(major) {
  if (Number(process.versions.node.split('.')[0]) === major) return process.execPath;
  const name = `node-${process.platform}-${process.arch}`;
  const folder = await installOnce(`${name}-${major}`, `Node ${major} (npm package ${name}, 190 MB)`, async (cwd) => {
    await npm(['install', `${name}@${major}`, '--ignore-scripts', '--no-audit', '--no-fund'], { cwd });
  });
  return path.join(folder, 'node_modules', name, 'bin', 'node');
}

/**
 * Makes sure that code-server is in the cache.
 * @param {string} which key of `versions`
 * @returns {Promise<{ node: string, entry: string, folder: string, vscode: string }>}
 */
export async function ensureBed(which = process.env.RINGSIDE_VSCODE || 'minimum') {
  const version = versions[which];
  if (!version) throw new UserError(`RINGSIDE_VSCODE is '${which}'; it takes ${Object.keys(versions).join(' or ')}`);
  if (process.platform === 'win32') {
    throw new UserError('code-server does not run on Windows; install VS Code with its `code` command, or use WSL');
  }
  const node = await ensureNode(version.node);
  const name = `code-server-${version.codeServer}-r${recipe}`;
  const what = `code-server ${version.codeServer} (VS Code ${version.vscode}, 300 to 600 MB, from npm)`;
  const folder = await installOnce(name, what, async (cwd) => {
    const flags = ['--ignore-scripts', '--no-audit', '--no-fund'];
    // npm would refuse packages for another Node than the one that runs npm, which is not the one that runs them.
    const nodeFolder = path.dirname(node);
    await npm(['install', `code-server@${version.codeServer}`, ...flags], { cwd, nodeFolder });
    const vscode = path.join(cwd, 'node_modules', 'code-server', 'lib', 'vscode');
    await npm(['install', '--omit=dev', ...flags], { cwd: vscode, nodeFolder });
    await writeFile(path.join(cwd, 'node_modules', 'argon2', 'argon2.js'), argon2);
    await addRipgrep(cwd, vscode, flags, nodeFolder);
    buildTerminals(vscode, node);
  });
  return {
    node,
    entry: path.join(folder, 'node_modules/code-server/out/node/entry.js'),
    folder,
    vscode: version.vscode,
  };
}

/** A loopback TCP port that is free now. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** Lines about the extension gallery and about optional native modules that are not there. */
const noise =
  /gallery|open-vsx|bindings|watchdog|spdlog|vsda|cjs\/loader|esm\/|deprecat|--trace-|punycode|^info: |^\s*$/i;

/** Output of code-server and its pages without the known noise; lines as long as a screen. */
export function worthShowing(lines) {
  return lines.filter((line) => !noise.test(line)).map((line) => line.slice(0, 400));
}

/**
 * Starts code-server on loopback, in its own process group.
 * @param {object} bed from ensureBed
 * @param {{ folder: string, port?: number, env?: object, onLine?: (line: string) => void }} options
 *   `folder` takes settings, extensions (subfolder `extensions`) and state
 * @returns {Promise<{ port: number, url: (workspace: string, payload?: [string, string][]) => string, stop, ended }>}
 */
export async function startServer(bed, { folder, port, env = {}, onLine }) {
  port ??= await freePort();
  await mkdir(path.join(folder, 'extensions'), { recursive: true });
  await mkdir(path.join(folder, 'data'), { recursive: true });
  await writeFile(path.join(folder, 'config.yaml'), '');
  const environment = cleanEnvironment({
    XDG_CONFIG_HOME: path.join(folder, 'config'),
    XDG_DATA_HOME: path.join(folder, 'share'),
    ...env,
  });
  delete environment.VSCODE_IPC_HOOK_CLI;
  const lines = [];
  const server = startGroup(
    bed.node,
    [
      bed.entry,
      ...['--config', path.join(folder, 'config.yaml'), '--auth', 'none', '--bind-addr', `127.0.0.1:${port}`],
      ...['--user-data-dir', path.join(folder, 'data'), '--extensions-dir', path.join(folder, 'extensions')],
      ...['--disable-telemetry', '--disable-update-check', '--disable-workspace-trust'],
      ...['--disable-getting-started-override', '--disable-proxy'],
      ...(bed.vscode.startsWith('1.100.') ? [] : ['--vscode-option', 'enable-smoke-test-driver']),
    ],
    {
      cwd: folder,
      env: environment,
      onLine: (line) => {
        lines.push(line);
        if (lines.length > 200) lines.shift();
        onLine?.(line);
      },
    },
  );
  let dead = false;
  void server.ended.then(() => (dead = true));
  const deadline = Date.now() + 60_000;
  for (;;) {
    const answer = await fetch(`http://127.0.0.1:${port}/healthz`).catch(() => undefined);
    if (answer?.ok) break;
    if (dead || Date.now() > deadline) {
      await server.stop();
      const why = dead ? 'ended' : 'did not answer within 60 s';
      throw new UserError(`code-server ${why}:\n${worthShowing(lines).join('\n')}`);
    }
    await sleep(100);
  }
  return {
    port,
    stop: server.stop,
    ended: server.ended,
    url(workspace, payload) {
      const query = `?folder=${encodeURI(workspace)}`;
      const more = payload ? `&payload=${encodeURIComponent(JSON.stringify(payload))}` : '';
      return `http://127.0.0.1:${port}/${query}${more}`;
    },
    /** The name that the browser side has for a file on the server. */
    remote: (file) => `vscode-remote://127.0.0.1:${port}${file}`,
  };
}

if (isMain(import.meta.url)) {
  await main(async () => {
    const bed = await ensureBed();
    say(`VS Code ${bed.vscode} is in ${bed.folder}`);
  });
}
