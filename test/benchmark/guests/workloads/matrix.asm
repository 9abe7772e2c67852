; The product of two matrices of doubles with packed SSE2: for each row and each of its elements, a row of the other matrix.
%include "harness.inc"

SIDE            equ 64
BYTES           equ SIDE * SIDE * 8
A               equ BUFFER
B               equ A + BYTES
C               equ B + BYTES

prepare:                                ; thirds of pseudo-random numbers from 0 to 255, A first
        mov edi, A
        mov ecx, 2 * SIDE * SIDE
        mov eax, 1
        movsd xmm1, [three]
.fill:  RANDOM
        mov edx, eax
        shr edx, 16
        and edx, 0xff
        cvtsi2sd xmm0, edx
        divsd xmm0, xmm1
        movsd [xdi], xmm0
        add xdi, 8
        dec ecx
        jnz .fill
        ret

work:
        mov edi, C
        mov ecx, BYTES / 4
        xor eax, eax
        rep stosd
        mov esi, A
        mov edi, C
        mov ebx, SIDE                   ; rows
.row:   mov ecx, SIDE                   ; elements of the row
        mov edx, B
.element:
        movsd xmm0, [xsi]
        unpcklpd xmm0, xmm0
        xor eax, eax
.four:  movapd xmm1, [xdx + xax * 8]
        movapd xmm2, [xdx + xax * 8 + 16]
        mulpd xmm1, xmm0
        mulpd xmm2, xmm0
        addpd xmm1, [xdi + xax * 8]
        addpd xmm2, [xdi + xax * 8 + 16]
        movapd [xdi + xax * 8], xmm1
        movapd [xdi + xax * 8 + 16], xmm2
        add eax, 4
        cmp eax, SIDE
        jb .four
        add xsi, 8
        add xdx, SIDE * 8
        dec ecx
        jnz .element
        add xdi, SIDE * 8
        dec ebx
        jnz .row

        mov esi, C                      ; the checksum: of the bits, in their order
        mov ecx, BYTES / 4
        xor eax, eax
.sum:   rol eax, 1
        add eax, [xsi]
        add xsi, 4
        dec ecx
        jnz .sum
        ret

        align 8
three:  dq 3.0
