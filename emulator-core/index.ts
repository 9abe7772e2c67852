/** The core's public face: what engines and the browser bundle use. */
export { Machine, type MachineEnd, type MachineHooks, type MachineOptions, type RunResult } from './machine';
export { BootError } from './boot/boot';
export { ElfError, ElfFile } from './boot/elf';
