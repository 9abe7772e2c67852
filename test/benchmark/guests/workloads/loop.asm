; The hot loop: 8 instructions with a load and a store.
%include "harness.inc"

ITERATIONS      equ 130000

prepare:
        ret

work:
        mov eax, 1
        mov ebx, 3
        xor ecx, ecx
        mov edx, ITERATIONS
        mov esi, BUFFER
.next:  add xax, xbx
        mov [xsi + xcx * W], xax
        mov xdi, [xsi + xcx * W + W]
        xor xdi, xax
        inc xcx
        and xcx, 0xfff
        dec xdx
        jnz .next
        imul edi, edi, 31
        add eax, edi
        ret
