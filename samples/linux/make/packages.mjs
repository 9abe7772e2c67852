/**
 * Debian packages, fetched and unpacked without root and without installing anything. apt runs with state folders of its own, so that
 * the system's lists, cache and foreign architectures stay as they are; its sources and keys are the system's.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { say, UserError } from '../../../scripts/lib/project.mjs';

/** Runs a command; its standard output. What it prints on standard error is part of the message when it fails. */
export function command(name, args, options = {}) {
  const env = { ...process.env, LC_ALL: 'C', ...options.env };
  const done = spawnSync(name, args, { encoding: 'utf8', maxBuffer: 1 << 28, ...options, env });
  if (done.error?.code === 'ENOENT') throw new UserError(`the program '${name}' is not installed`);
  if (done.error) throw new UserError(`${name}: ${done.error.message}`);
  if (done.status !== 0) {
    const said = `${done.stdout}\n${done.stderr}`.trim().split('\n').slice(-12).join('\n');
    throw new UserError(`'${name} ${args.join(' ')}' failed with status ${done.status ?? done.signal}:\n${said}`);
  }
  return done.stdout;
}

/** True when the system has apt. */
export function hasApt() {
  return spawnSync('apt-get', ['--version'], { stdio: 'ignore' }).status === 0;
}

/** Private states of apt, one for each architecture: lists that one of them cannot load do not hold up the other. */
export class Packages {
  #folder;
  #ready = new Map();

  /** @param {string} folder holds the lists and the packages fetched */
  constructor(folder) {
    this.#folder = folder;
  }

  /** apt's configuration file for an architecture; the lists are fetched when this run has not used them yet. */
  #configuration(architecture) {
    const known = this.#ready.get(architecture);
    if (known) return known;
    if (!hasApt()) throw new UserError('there is no apt-get on this machine');
    const state = path.join(this.#folder, `apt-${architecture}`);
    for (const name of ['lists/partial', 'archives/partial']) mkdirSync(path.join(state, name), { recursive: true });
    writeFileSync(path.join(state, 'status'), '');
    const file = path.join(state, 'apt.conf');
    writeFileSync(
      file,
      [
        `#clear APT::Architectures;`,
        `APT::Architecture "${architecture}";`,
        `APT::Architectures { "${architecture}"; };`,
        `Dir::State "${state}";`,
        `Dir::State::status "${state}/status";`,
        `Dir::State::Lists "${state}/lists";`,
        `Dir::Cache "${state}";`,
        `Dir::Cache::archives "${state}/archives";`,
        // Another user could not write into these folders.
        `APT::Sandbox::User "root";`,
        `Acquire::Languages "none";`,
        // What the system does after it updates its own lists is not wanted here.
        `#clear APT::Update::Pre-Invoke;`,
        `#clear APT::Update::Post-Invoke;`,
        `#clear APT::Update::Post-Invoke-Success;`,
        '',
      ].join('\n'),
    );
    say(`Fetching the package lists for ${architecture} (apt-get update, into ${path.relative('.', state)})`);
    try {
      command('apt-get', ['-c', file, '-qq', 'update']);
    } catch (error) {
      // One source of several may fail; whether the packages are known decides.
      process.stderr.write(`${error.message}\n`);
    }
    this.#ready.set(architecture, file);
    return file;
  }

  /** Fields of the index files that apt has for an architecture, in the words of `apt-get indextargets --format`. */
  targets(architecture, format) {
    const args = ['-c', this.#configuration(architecture), 'indextargets', '--format', format, 'Created-By: Packages'];
    return command('apt-get', args).split('\n').filter(Boolean);
  }

  /** The package that a meta package depends on and whose name matches. */
  dependency(architecture, name, pattern) {
    const configuration = this.#configuration(architecture);
    let out;
    try {
      out = command('apt-cache', ['-c', configuration, 'depends', name]);
    } catch {
      throw new UserError(`apt's sources on this machine have no package ${name} for ${architecture}`);
    }
    const found = [...out.matchAll(/^ *Depends: (\S+)$/gm)].map((match) => match[1]).find((one) => pattern.test(one));
    if (!found) throw new UserError(`${name} depends on no package that matches ${pattern}:\n${out}`);
    return found;
  }

  /**
   * The file of a package: the one fetched before, else the newest of apt's sources.
   * @param {string} name of the package, or of the meta package that `pattern` is given for: then of what it depends on
   */
  fetch(architecture, name, pattern) {
    const folder = path.join(this.#folder, `${name}-${architecture}`);
    const there = existsSync(folder) && readdirSync(folder).find((file) => file.endsWith('.deb'));
    if (there) return path.join(folder, there);
    const real = pattern ? this.dependency(architecture, name, pattern) : name;
    const configuration = this.#configuration(architecture);
    say(`Fetching the package ${real} for ${architecture}`);
    mkdirSync(this.#folder, { recursive: true });
    const partial = mkdtempSync(path.join(this.#folder, 'partial-'));
    try {
      command('apt-get', ['-c', configuration, '-qq', 'download', real], { cwd: partial });
      rmSync(folder, { recursive: true, force: true });
      renameSync(partial, folder);
    } finally {
      rmSync(partial, { recursive: true, force: true });
    }
    return path.join(
      folder,
      readdirSync(folder).find((file) => file.endsWith('.deb')),
    );
  }
}

/** Unpacks a package into a folder, which the caller removes. */
export function unpack(file, folder) {
  mkdirSync(folder, { recursive: true });
  command('dpkg-deb', ['-x', file, folder]);
}
