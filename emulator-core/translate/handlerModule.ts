/** The handler module of this process: prebuilt by the build, else generated on first use. */
import { VARIANTS } from './forms';
import { generateHandlers, type HandlerModule } from './handlers';
import { prebuilt, type PrebuiltHandlers } from './prebuilt';

let cached: HandlerModule | undefined;

export function handlerModule(): HandlerModule {
  cached ??= prebuilt ? unpack(prebuilt) : generateHandlers();
  return cached;
}

/** What a build stores; unpack() is its inverse. */
export function pack(made: HandlerModule): PrebuiltHandlers {
  const variants: number[] = [];
  made.handlers.forEach((table, code) => {
    if (table) variants.push(code, ...table);
  });
  return { module: made.bytes, variants: Int16Array.from(variants), tableSize: made.tableSize };
}

export function unpack(packed: PrebuiltHandlers): HandlerModule {
  const { variants, tableSize } = packed;
  const handlers: HandlerModule['handlers'] = [];
  for (let at = 0; at < variants.length; at += VARIANTS + 1) {
    handlers[variants[at]] = Int32Array.from(variants.subarray(at + 1, at + 1 + VARIANTS));
  }
  // Those who only compile regions do not need it.
  return {
    get bytes() {
      return packed.module;
    },
    handlers,
    tableSize,
  };
}
