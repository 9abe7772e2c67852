/** npm run differential:engines */
import { bundleAndRun } from './bundle.mjs';

await bundleAndRun('test/emulator-core/engines', 'engines');
