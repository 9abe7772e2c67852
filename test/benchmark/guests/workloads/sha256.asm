; SHA-256 of a message of 4 KB, plain integer instructions. FIPS 180-4.
%include "harness.inc"

MESSAGE         equ BUFFER
LENGTH          equ 4096
BLOCKS          equ LENGTH / 64 + 1     ; with the padding

; A step of the compression: %1 to %8 are where a to h are in "working", %9 is which of eight steps. esi counts steps in eights.
%macro COMPRESS 9
        mov eax, [working + %5 * 4]     ; Sigma1(e)
        mov ebx, eax
        ror ebx, 6
        mov ecx, eax
        ror ecx, 11
        xor ebx, ecx
        ror ecx, 14
        xor ebx, ecx
        mov ecx, [working + %6 * 4]     ; Ch(e, f, g)
        mov edx, [working + %7 * 4]
        xor ecx, edx
        and ecx, eax
        xor ecx, edx
        add ebx, ecx
        add ebx, [working + %8 * 4]
        add ebx, [constants + xsi * 4 + %9 * 4]
        add ebx, [schedule + xsi * 4 + %9 * 4]
        add [working + %4 * 4], ebx
        mov eax, [working + %1 * 4]     ; Sigma0(a)
        mov ecx, eax
        ror ecx, 2
        mov edx, eax
        ror edx, 13
        xor ecx, edx
        ror edx, 9
        xor ecx, edx
        add ebx, ecx
        mov ecx, [working + %2 * 4]     ; Maj(a, b, c)
        mov edx, ecx
        or ecx, eax
        and edx, eax
        and ecx, [working + %3 * 4]
        or ecx, edx
        add ebx, ecx
        mov [working + %8 * 4], ebx
%endmacro

prepare:
        mov edi, MESSAGE
        mov ecx, LENGTH / 4
        call fill
        mov ecx, 16                     ; the padding: a one bit, zeros, the length in bits
        xor eax, eax
        rep stosd
        mov byte [MESSAGE + LENGTH], 0x80
        mov eax, LENGTH * 8
        bswap eax
        mov [MESSAGE + LENGTH + 60], eax
        ret

work:
        mov esi, initial
        mov edi, hash
        mov ecx, 8
        rep movsd
        mov edi, MESSAGE
        mov ebp, BLOCKS
.block: xor ecx, ecx
.load:  mov eax, [xdi + xcx * 4]
        bswap eax
        mov [schedule + xcx * 4], eax
        inc ecx
        cmp ecx, 16
        jb .load
.extend:
        mov eax, [schedule + xcx * 4 - 15 * 4] ; sigma0
        mov ebx, eax
        mov edx, eax
        ror ebx, 7
        ror edx, 18
        shr eax, 3
        xor ebx, edx
        xor ebx, eax
        mov eax, [schedule + xcx * 4 - 2 * 4] ; sigma1
        mov edx, eax
        ror edx, 17
        mov esi, eax
        ror esi, 19
        shr eax, 10
        xor edx, esi
        xor edx, eax
        add ebx, edx
        add ebx, [schedule + xcx * 4 - 16 * 4]
        add ebx, [schedule + xcx * 4 - 7 * 4]
        mov [schedule + xcx * 4], ebx
        inc ecx
        cmp ecx, 64
        jb .extend
        xor ecx, ecx
.copy:  mov eax, [hash + xcx * 4]
        mov [working + xcx * 4], eax
        inc ecx
        cmp ecx, 8
        jb .copy
        xor esi, esi
.steps: COMPRESS 0, 1, 2, 3, 4, 5, 6, 7, 0
        COMPRESS 7, 0, 1, 2, 3, 4, 5, 6, 1
        COMPRESS 6, 7, 0, 1, 2, 3, 4, 5, 2
        COMPRESS 5, 6, 7, 0, 1, 2, 3, 4, 3
        COMPRESS 4, 5, 6, 7, 0, 1, 2, 3, 4
        COMPRESS 3, 4, 5, 6, 7, 0, 1, 2, 5
        COMPRESS 2, 3, 4, 5, 6, 7, 0, 1, 6
        COMPRESS 1, 2, 3, 4, 5, 6, 7, 0, 7
        add esi, 8
        cmp esi, 64
        jb .steps
        xor ecx, ecx
.add:   mov eax, [working + xcx * 4]
        add [hash + xcx * 4], eax
        inc ecx
        cmp ecx, 8
        jb .add
        add xdi, 64
        dec ebp
        jnz .block
        xor eax, eax                    ; the checksum: the sum of the words of the hash
        xor ecx, ecx
.sum:   add eax, [hash + xcx * 4]
        inc ecx
        cmp ecx, 8
        jb .sum
        ret

        align 4
initial:
        dd 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19
constants:
        dd 0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5
        dd 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174
        dd 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da
        dd 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967
        dd 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85
        dd 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070
        dd 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3
        dd 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2

hash            equ BUFFER + 0x10000
working         equ BUFFER + 0x11000
schedule        equ BUFFER + 0x12000
