/** Names of files and paths of them, as byte strings. limits.h: NAME_MAX, PATH_MAX. */
import { Refusal } from './errno';

const NAME_MAX = 255;
export const PATH_MAX = 4096;

/** A name that an entry of a directory may have; '.' and '..' are no such names. @throws Refusal */
export function checkName(name: string): string {
  if (name === '' || name === '.' || name === '..') throw new Refusal('EINVAL');
  if (name.includes('/') || name.includes('\0')) throw new Refusal('EINVAL');
  if (name.length > NAME_MAX) throw new Refusal('ENAMETOOLONG');
  return name;
}

/** The path of an entry of a directory. @throws Refusal */
export function childPath(path: readonly string[], name: string): string[] {
  const child = [...path, checkName(name)];
  if (pathBytes(child) >= PATH_MAX) throw new Refusal('ENAMETOOLONG');
  return child;
}

/** What one step of a walk leads to: '..' to the parent, at the root to itself. @throws Refusal */
export function stepPath(path: readonly string[], name: string): string[] {
  return name === '..' ? path.slice(0, -1) : childPath(path, name);
}

/** Bytes of a path with its separators. */
export function pathBytes(path: readonly string[]): number {
  return path.reduce((sum, name) => sum + name.length + 1, 0);
}

/** Whether `path` is `folder` or below it. */
export function isWithin(path: readonly string[], folder: readonly string[]): boolean {
  return path.length >= folder.length && folder.every((name, i) => path[i] === name);
}

/** For people: 'a/b', '/' for the root. Names are taken for UTF-8. */
export function showPath(path: readonly string[]): string {
  if (path.length === 0) return '/';
  return decodeUtf8(path.join('/'));
}

function decodeUtf8(bytes: string): string {
  try {
    return decodeURIComponent(escapeBytes(bytes));
  } catch {
    return bytes;
  }
}

function escapeBytes(bytes: string): string {
  return bytes.replace(/[^\w/.-]/g, (character) => `%${character.charCodeAt(0).toString(16).padStart(2, '0')}`);
}
