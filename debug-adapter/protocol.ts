/**
 * Custom requests and events between the adapter and the editor's views. Types only: the editor side imports this file with `import type`.
 * Addresses and other 64-bit numbers travel as 0x-prefixed hex strings: Wire<T> is T with every bigint replaced by such a string.
 */
import type { DecodedField, ExitCounter, ExitRecord, PagingEntry, PagingWalk, Screen } from './target';

/** 0x-prefixed hex of an unsigned number. */
export type Hex = `0x${string}`;

export type Wire<T> = T extends bigint
  ? Hex
  : T extends (infer E)[]
    ? Wire<E>[]
    : T extends object
      ? { [K in keyof T]: Wire<T[K]> }
      : T;

/** Refers to one paging structure: `target` of the entry that points to it, its level below the root, and the address it maps first. */
export interface TableReference {
  address: Hex;
  level: number;
  base: Hex;
}

/** A place for the editor: where an exit's instruction is. */
export interface ExitPlace {
  symbol?: string;
  file?: string;
  line?: number;
}

export type ExitItem = Wire<ExitRecord> & ExitPlace;

type TextScreen = Extract<Screen, { kind: 'text' }>;

/** What has changed on the display since `version`, 0 for everything. */
export type ScreenUpdate = { version: number } & (
  | { kind: 'none' | 'unchanged' }
  /** `attributes` as base64. */
  | ({ kind: 'text' } & Omit<TextScreen, 'kind' | 'attributes'> & { attributes: string })
  /** Whole lines, 4 bytes a pixel (red, green, blue, 255), as base64. `more`: others have changed as well; ask again. */
  | {
      kind: 'graphics';
      width: number;
      height: number;
      bands: { line: number; pixels: string }[];
      more: boolean;
    }
);

/** Every custom request: its arguments and the body of its response. `cpu` defaults to vCPU 0. */
export interface RingsideRequests {
  /** Newest first. `before`: only exits with a smaller seq. */
  'ringside/exits': { arguments: { count: number; before?: number }; body: { exits: ExitItem[] } };
  'ringside/exit': { arguments: { seq: number }; body: { fields: DecodedField[] } };
  'ringside/exitCounters': { arguments: Record<string, never>; body: { counters: ExitCounter[]; icount: number } };
  'ringside/ept': { arguments: { cpu?: number; table?: TableReference }; body: { entries: Wire<PagingEntry>[] } };
  'ringside/eptWalk': { arguments: { cpu?: number; gpa: Hex }; body: Wire<PagingWalk> };
  'ringside/pageTables': {
    arguments: { cpu?: number; table?: TableReference };
    body: { entries: Wire<PagingEntry>[] };
  };
  'ringside/pageWalk': { arguments: { cpu?: number; gva: Hex }; body: Wire<PagingWalk> };
  'ringside/vmcs': { arguments: { cpu?: number }; body: { fields: DecodedField[] } };
  'ringside/devices': { arguments: Record<string, never>; body: { fields: DecodedField[] } };
  /**
   * The console's backlog as base64; from then on its output comes as `ringside/console` events.
   * `missing`: bytes written before those, which are not kept.
   */
  'ringside/consoleAttach': { arguments: Record<string, never>; body: { data: string; missing: number } };
  'ringside/screen': { arguments: { since?: number }; body: ScreenUpdate };
  /** A key of the guest's keyboard, by W3C's KeyboardEvent.code. `accepted` is false when it has no such key. */
  'ringside/key': { arguments: { code: string; down: boolean }; body: { accepted: boolean } };
  /**
   * The guest's mouse: counts to the right and down, notches of the wheel towards the user, and the buttons that are down (bit 0 left, 1
   * right, 2 middle, 3 back, 4 forward). `accepted` is false when the guest does not listen to a mouse.
   */
  'ringside/pointer': {
    arguments: { dx?: number; dy?: number; wheel?: number; buttons?: number };
    body: { accepted: boolean };
  };
  /** base64 of bytes typed. `accepted` is false when the machine has no serial console, or has too much waiting to take these. */
  'ringside/consoleInput': { arguments: { data: string }; body: { accepted: boolean } };
  /** The terminal's size in characters, 1 to 65535. `accepted` is false without "virtioConsole": a serial line has no size. */
  'ringside/consoleSize': { arguments: { cols: number; rows: number }; body: { accepted: boolean } };
}

export interface RingsideEvents {
  /** base64 of bytes that the guest wrote to its serial console. */
  'ringside/console': { data: string };
  /** At most ten times a second while exits happen, and at each stop. */
  'ringside/exitsChanged': { counters: ExitCounter[]; newest: ExitItem[]; icount: number };
  /** Something the user should know, also shown in the debug console. */
  'ringside/note': { text: string };
}

export type RingsideRequest = keyof RingsideRequests;
export type RingsideEvent = keyof RingsideEvents;

/** Attributes that Ringside's own extension adds to a launch; other clients leave them out. */
export interface PrivateLaunchAttributes {
  /** The serial console is shown by a terminal that sends ringside/consoleAttach. */
  __attachConsole?: boolean;
  /** Folder that relative paths of the launch configuration start from. */
  __workspaceFolder?: string;
}
