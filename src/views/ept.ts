/** The EPT: what the VMM maps for its guest. */
import type { GuestSessions } from '../session';
import { PagingView } from './paging';

export function createEptView(sessions: GuestSessions): PagingView {
  return new PagingView(
    { id: 'ringside.ept', structure: 'ept', addressName: 'guest-physical address', resultName: 'Host-physical' },
    sessions,
  );
}
