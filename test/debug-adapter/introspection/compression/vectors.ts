/** One text, and what the compressors' own programs make of it. */
export const TEXT = new TextEncoder().encode(
  Array.from({ length: 40 }, (_, i) => `line ${i % 7} of a text that repeats itself, ${'abc'.repeat(i % 5)}\n`).join(
    '',
  ),
);

const bytes = (base64: string): Uint8Array => new Uint8Array(Buffer.from(base64, 'base64'));

/** lz4 -l -9 */
export const LZ4 = bytes(
  'AiFMGN0AAADxGGxpbmUgMCBvZiBhIHRleHQgdGhhdCByZXBlYXRzIGl0c2VsZiwgCicAHzEnAA0yYWJjKgAfMioAEAUtAB8zLQATBTAAHzQwABYFMwAfNeEAEx824QAWHzDhABkfMeEAHB8y4QAfD0QBDg87ARcOMgEP4QAOHzbhABwfMOEAHw9EAQ4POwEUD3YCFw9zAiMPPgEaD0QBGg87ARQPdgIXD3MCIw+0AxcPtwMdDzsBFA92AhcPcwIjD7QDFw+3Ax0POwEUD3YCFw9zAiMOtAMP4QAPDycGyVBjYWJjCg==',
);

/** xz --check=crc32 --x86 --lzma2=dict=1MiB */
export const XZ = bytes(
  '/Td6WFoAAAFpIt42AgEEACEBEACLIW9J4AcHAIZdADYaSh8IoCYDTQad7+2MoT/IOM9thS+aaJmfL/bA0qMCNuh6OVroUjHykFbXgBwqWO8ZzW7jGpOb1n3qh9pUqFkc6m3J0mJGcEI5zFjCk6JboU1HFKqU40mAhz7YyL4CelzGMRTyG8xayyrU/ltHWxCkMmkyewyJEzL96thf7C7565es0oAAAAAAsZdtHwABngGIDgAAgDkq+z4wDYsCAAAAAAFZWg==',
);

/** zstd -19 */
export const ZSTD = bytes(
  'KLUv/WQIBu0DAMJEDxGgPYDgW2EXW1VnU2bijt9TI0N48+oQ3rw6hDevDuHNq0N4sylkQQa0DnyV8Mlx5+WT9PnxfJJELTUPUysoqGHssf53sDMNaxE0DCEj/P+M0GACTPVuXBVDplA+abGPFNwnE/YhhftIApgsPUt5miYTCiC9DTfUFUCqGtVSuA==',
);
