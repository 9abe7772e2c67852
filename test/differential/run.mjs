/** npm run differential */
import { bundleAndRun } from './bundle.mjs';

await bundleAndRun('test/differential', 'main');
