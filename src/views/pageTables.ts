/** The guest's own page tables, from CR3 of the vCPU in focus. */
import type { GuestSessions } from '../session';
import { PagingView } from './paging';

export function createPageTablesView(sessions: GuestSessions): PagingView {
  return new PagingView(
    { id: 'ringside.pageTables', structure: 'pageTables', addressName: 'linear address', resultName: 'Guest-physical' },
    sessions,
  );
}
