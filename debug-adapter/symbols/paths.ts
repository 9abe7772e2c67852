/** Source paths as compilers write them (Unix or Windows), without a file system. */

/** Replaces backslashes, resolves '.' and '..' and doubled slashes. A relative path stays relative. */
export function normalizePath(path: string): string {
  const slashed = path.replace(/\\/g, '/');
  const root = /^(?:[A-Za-z]:)?\//.exec(slashed)?.[0] ?? '';
  const parts: string[] = [];
  for (const part of slashed.slice(root.length).split('/')) {
    if (part === '' || part === '.') continue;
    if (part === '..' && parts.length > 0 && parts[parts.length - 1] !== '..') parts.pop();
    else if (part !== '..' || root === '') parts.push(part);
  }
  return root + parts.join('/');
}

export function isAbsolute(path: string): boolean {
  return /^(?:[A-Za-z]:)?[\\/]/.test(path);
}

/** Joins and normalizes; a later absolute part replaces what comes before it. */
export function joinPaths(...parts: string[]): string {
  let path = '';
  for (const part of parts) path = isAbsolute(part) || path === '' ? part : part === '' ? path : `${path}/${part}`;
  return normalizePath(path);
}

export function directoryName(path: string): string {
  const slashed = path.replace(/\\/g, '/');
  const at = slashed.lastIndexOf('/');
  return at < 0 ? '' : at === 0 ? '/' : slashed.slice(0, at);
}

export function baseName(path: string): string {
  return path.slice(Math.max(path.lastIndexOf('/'), path.lastIndexOf('\\')) + 1);
}

/** Paths of Windows compare without regard to case. */
function comparable(path: string): string {
  return /^[A-Za-z]:/.test(path) ? path.toLowerCase() : path;
}

export function samePath(a: string, b: string): boolean {
  return comparable(a) === comparable(b);
}

/** Number of path segments, from the end, that two normalized paths share. */
export function commonSuffix(a: string, b: string): number {
  const left = a.split('/');
  const right = b.split('/');
  let count = 0;
  while (
    count < Math.min(left.length, right.length) &&
    left[left.length - 1 - count] === right[right.length - 1 - count]
  ) {
    count++;
  }
  return count;
}

/** Replaces the prefix `from` (a whole number of segments) by `to`; undefined when the path does not begin with it. */
export function replacePrefix(path: string, from: string, to: string): string | undefined {
  const prefix = normalizePath(from);
  const rest = prefix === '' ? '/' + path : path.slice(prefix.length);
  if (prefix === '' && isAbsolute(path)) return undefined;
  if (!samePath(path.slice(0, prefix.length), prefix)) return undefined;
  if (rest !== '' && !rest.startsWith('/') && !prefix.endsWith('/')) return undefined;
  return joinPaths(to, rest.replace(/^\//, ''));
}
