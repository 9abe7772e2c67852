/** The rows of npm run bench that run a guest of guests/ beside another emulator. */
import { compare } from './compare.mjs';
import { bochs } from './peers/bochs.mjs';
import { qemu } from './peers/qemu.mjs';
import { v86 } from './peers/v86.mjs';
import { systemWorkloads, workloads } from './workloads.mjs';

/** A workload beside a peer. */
const row = (name, workload, width, peer, atLeast) => ({
  name,
  says: `${workload.says}, ${width}-bit${peer ? `, beside ${peer.name}` : ''}`,
  unit: peer ? `of ${peer.name}'s speed` : 'ns',
  goal: peer && { atLeast },
  peer: peer?.name,
  measure: () => compare(workload, width, peer),
});

export const comparisons = [
  ...workloads.map((one) => row(`${one.name}-64`, one, 64, qemu, one.atLeast)),
  ...workloads.flatMap((one) => [
    row(`${one.name}-32-v86`, one, 32, v86, 3),
    row(`${one.name}-32-bochs`, one, 32, bochs, 10),
  ]),
  ...systemWorkloads.map((one) => row(one.name, one, 64, one.noPeer ? undefined : qemu, one.atLeast)),
];
