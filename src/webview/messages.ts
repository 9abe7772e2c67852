/** What the display's page and the extension say to each other. */
import type { ScreenUpdate } from '../wire';
import type { PointerChange } from './pointer';

export type PageMessage =
  | { type: 'ready' }
  | { type: 'key'; code: string; down: boolean }
  /** A click on the picture: does the guest listen to its mouse? */
  | { type: 'grab' }
  | { type: 'pointer'; changes: PointerChange[] };

export type DisplayMessage =
  | { type: 'grabbed' }
  | { type: 'update'; update?: ScreenUpdate; state: 'starting' | 'running' | 'stopped' | 'ended'; status: string };
