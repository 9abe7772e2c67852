/** Loaded before the tests: machines of this process compile as RINGSIDE_COMPILE says. */
import { useCompileMode } from '../debug-adapter/node/compileMode';

useCompileMode(process.env);
