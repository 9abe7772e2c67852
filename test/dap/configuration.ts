/** One configuration of a launch.json by name, comments and trailing commas allowed. */
import { parseJsonc } from '../../debug-adapter/cli/jsonc';

export function readConfiguration(text: string, name: string): Record<string, unknown> {
  const { configurations } = parseJsonc(text, 'launch.json') as { configurations: Record<string, unknown>[] };
  const found = configurations.find((each) => each.name === name);
  if (!found) throw new Error(`launch.json has no configuration '${name}'`);
  const { type, request, name: _name, ...attributes } = found;
  void [type, request, _name];
  return attributes;
}
