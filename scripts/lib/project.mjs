/** Where things are, and how scripts talk to the person who started them. */
import path from 'node:path';
import os from 'node:os';
import { fileURLToPath } from 'node:url';

/** The checkout. */
export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
export const artifacts = path.join(root, 'test', 'artifacts');

/** Ringside's folder in the user's cache; everything in it can be deleted and comes back when it is needed. */
export function cacheFolder() {
  const base = process.env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache');
  return path.join(base, 'ringside');
}

const colours = process.stdout.isTTY && !process.env.NO_COLOR;
const paint = (code) => (text) => (colours ? `\x1b[${code}m${text}\x1b[0m` : String(text));
export const bold = paint('1');
export const dim = paint('2');
export const red = paint('31');
export const green = paint('32');
export const yellow = paint('33');
export const cyan = paint('36');

/** One line saying what a script does now. */
export function say(text) {
  process.stdout.write(`${cyan('▸')} ${text}\n`);
}

/** A mistake of the user's or of the surroundings: its message is printed without a stack trace. */
export class UserError extends Error {}

/** Runs a script's main function; its return value is the exit status. */
export async function main(body) {
  try {
    process.exitCode = (await body(process.argv.slice(2))) ?? 0;
  } catch (error) {
    process.stderr.write(`${red('✗')} ${error instanceof UserError ? error.message : (error?.stack ?? error)}\n`);
    process.exitCode = 1;
  }
}

/** True for the module that node was started with. */
export function isMain(url) {
  return process.argv[1] !== undefined && path.resolve(process.argv[1]) === fileURLToPath(url);
}
