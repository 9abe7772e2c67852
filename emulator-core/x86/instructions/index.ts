/** The instruction table: every row of every family. */
import { arithmetic } from './arithmetic';
import { bitManipulation } from './bitManipulation';
import { control } from './control';
import { data } from './data';
import { decimal } from './decimal';
import { extensions } from './extensions';
import type { Instruction } from './instruction';
import { logicFamily } from './logic';
import { simd } from './simd';
import { protection } from './protection';
import { state } from './state';
import { string } from './string';
import { system } from './system';
import { x87 } from './x87';

export const INSTRUCTIONS: readonly Instruction[] = [
  ...data,
  ...arithmetic,
  ...decimal,
  ...logicFamily,
  ...bitManipulation,
  ...control,
  ...string,
  ...system,
  ...x87,
  ...state,
  ...simd,
  ...extensions,
  ...protection,
];
export type { Instruction } from './instruction';
