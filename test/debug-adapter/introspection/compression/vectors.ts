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

export function generated(count: number, next: (x: number) => readonly number[]): Uint8Array {
  const out: number[] = [];
  for (let i = 0, x = 1; i < count; i++) {
    x = (Math.imul(x, 1103515245) + 12345) >>> 0;
    out.push(...next(x).map((byte) => byte & 0xff));
  }
  return Uint8Array.from(out);
}

/** Calls and jumps near and far apart, and their opcodes inside of each other's targets; xz as above. */
export const XZ_CODE = {
  plain: generated(600, (x) => {
    const kind = (x >>> 16) % 8;
    if (kind < 3) return [0xe8 + (kind & 1), x >>> 8, x >>> 24, 0, 0];
    if (kind < 5) return [0xe9, x >>> 8, x >>> 24, 0xff, 0xff];
    return [[0xe8, 0xe8, 0xe9], [0xe8, 0, 0xe9, 0xff, 0], [0x90, x >>> 20]][kind - 5]; // prettier-ignore
  }),
  compressed: bytes(
    '/Td6WFoAAAFpIt42AgEEACEBEACLIW9J4Ao9BpZdAHQBWPGIlCvxYkD76il6Q+fObPiWMkb/LhBLv71BeLS3+IfI10OC/ESdC4EOb1MYSvcOc+X26M+B7PJCjOKqSUywz2PtJP8wNtZiSSDNjoKlYGNtst9vZOaLIzbzfxBAN7UnN3b8Lq0u1uwe1zwEvA+FhB0A+myBIMjF79Hwe866nPICOpm9PgYEWPOYHvO9XosBRS8kTW8rqyRFbORcr7mJ413GDkzfz25nifYI6HWFnn1vuZcG2RzliUvqsRYGB7DLerhmAYQrQelkkLFIRcL145Pgmf4Di3YOAohnl/uRv4KspiAZ6o7a1fqaDi4s/vMHIsvuLAdXUFL2eSzcq3hTuOuXz2oLGiJb4hrGQi/HYtEzt+g4M1YCkpNQKXbPpIX7g/YWg5G3d/1fO2h9u9l3/ZdFCtTYA9zwvoiBbqzzqO6FBefGu2L8O4dpYcd322nRV4guBskeuLOVRMzD4ZjXNKhzo9kVsR74mcy98SLWTN8tNC5I2RsZ+n6WUy49pB0fSOQfQne4lux+7oWoPGLaAQ2Vlxu0PRxmZIk15WNnTIpnByQ2H19Sz5ntCwerVDed7KkgXkdppx81ERfgneL1cavqRjKgn0mvLHn8YWoRGv73ciCrDGQIXS0bFT6HNkyw2sRo/Y+oSM2pjxGzOErqgAI72ZeCfgqAufxctKV5KnCDLbdJpK0N9gEajXHEpeK0mkiZRtvwT/6fcivXvxcFQYjX0jpcAuTV0upC70lcCT6VSB8vDFdrDDdxOPHGNXhrCjZuO3IjRb+RTYEIcUtIZuoMm6xTj53Ai12ai8/X5FmeMk+VWG/+XcOzPZ8CH8oYOBWWQ/kxRS25lEz28Sup6c/moiO3uvtQJuwPXNTPleE88hg3/wnQUJuMCZtvoROz8UWW1Xj95j3ilY6nBomawlBVBKNzxrw1c17X/FV3/6jMOwiZOBBnh6n0wl2aHMVCoSfZqSI8crjpGUCc8pynT8vIucfUKWi6IUWBFPhgMBNPLPBh4Q1ZkIlWMh4UWd/R5OokJnySOqfgbcTuKHFf8GcjKGN0+Uo213hLi6814XyFTBkJgS46DEAsA6M27HcVz3Fk/fBHsCESQRByyJ7qKfFFLhvXXSxzWuIfVEezSwOtX2kI+8+OQabpZH9BUzw4E18KOOb1W2SOFj1nbGL3xHim+J7lqf0Bo0Zl07Bco649zmo8JAUp/cwfaiK4OYwmhyVmc7IaJUdymBck8usEfw0Alv10buRYY0M4eRO8n2CU4ZEJUIgi7ZKoeKJPlfrxJ0rLsS8shzm90yEpd9hpk41TTra1fJSrbOt3dJ3g72uU7B0gZzbyw7lB5WlYY+mmLZ8UAR8f7yG5TXp5sPBJJhOUjySNBYMEGAiWsRLU9eTfyZFXyKbniEfskb4+L1e97tBsloQdqv6TV5uK3ZF/dzJ7NzcWlflXcNv/nAlrQjIsp7AezV6ueHoAoqU9R2kETobSGJ/M1XZ6HTe3bXTs3TgtFJ3QI62/NybrLWHOl61/RMJalPB95b4czyJAqYOEOdNnMJQ7kdQyxr/+OkHCecPQ6bUTpC58o48YFMo8hiiUfFlHn03hEVCm8L7B55rgCLmCgdaDi5ADp8XTXI2uu55euc1fXTa+OiudVhiwyQGIGja0WeIZjJvqfjL95wEH7djA0/iArtS7DF7zOAHLXY3ydESMlql5n9Xyp9uE2NIT/Vv7ydgry62qqdVLePrIlXlNes7DxuNCTk+3BXYpDGHUBnIZ8MWul0lMmPx5Qe20ctnr3OOT9ecJWEVlqVWee6trWuEiuIGOOGMdY9VGoRVCp3z70W8sDhlsYhws691IUJ8epl0iseHxS1MemOCdOE+0lGoetoLqSY2w/wM0EAQOLgtMUNj1phCnP/vUBn059lmUljzCYg8g04DRs9dRK+hbJkGU4ou7i9XEJdVAW5R4kJ1MwAuulskqzNX/Myd2hbTG499dqAcIceelzJrEiuuQ2YcA9jaG6NbdjHfK76fdZk3uBnM9OVEaH5zwOOYVz6Tm07VtAXt28nTJWdOEL5b/8mwwJ+eGUI8tu1CTvX1azeVSqNnP17xtuk4fhmU8TxavqTTesr3Vcs//mqtXtWG3921YUjtcav3hYEdftihbyxvbSf++DerKo2zHezgqW9nUkianHyAopJkagXWX5/VMec1+TLaFCbOZ2JQH4Vlls+GuGFANKE8bx68ASfe2KbNKJI0bXyWmP3Vgyw5B6ac+yAAAAHAleh8AAa4NvhQAAPdSUf4+MA2LAgAAAAABWVo=',
  ),
};

/** Noise; xz as above. */
export const XZ_RANDOM = {
  plain: generated(300, (x) => [x >>> 16]),
  compressed: bytes(
    '/Td6WFoAAAFpIt42AgEEACEBEACLIW9JAQErxn6Ba0v74vtU9r3ffBzhhwG/Md5Wcg9HZ2aHWaqIPFnqVhN70oWh2DxUVS83rmVb2gJ5mMzjGnaOX9mZjx8/Nu5DeE0N+r6m2uSGjtwpbU7/VuFwIPuPsVgFkMUJ3FPNqjtImVLTUp0Gn+q1wgYTmEmyAR6sMogxnFJGlXE2j1f2OR0W+oh09Zh8F1xBu21xjg9wWccBGy8zPZHAHaUNDaszjX5ejz7maHSmOrHDkxGoZMfbyuBg4fO/CQBnouMloCExh9VixahPfi4Ja5SfsG2pnloLRnCAts9HDKalKtis+6Drt3kkciOSSIDFpqeFt9eMkOSrY0RSZuOcMyX5Xqq6c2BdS3F+vqmMVxlxw8pe5SozrIhRZqF7dWdkmmnvb1ZCoB1RxQL3u5JFAHyZI7sAAcACrAIAANrrRKw+MA2LAgAAAAABWVo=',
  ),
};
