; Quicksort (Hoare's partition, recursive) of pseudo-random 32-bit numbers without sign.
%include "harness.inc"

NUMBERS         equ BUFFER
COUNT           equ 8192

prepare:
        ret

work:
        mov edi, NUMBERS
        mov ecx, COUNT
        call fill
        mov esi, NUMBERS
        mov edi, NUMBERS + COUNT * 4 - 4
        call quicksort
        mov esi, NUMBERS                ; the checksum depends on the order
        mov ecx, COUNT
        xor eax, eax
.next:  imul eax, eax, 31
        add eax, [xsi]
        add xsi, 4
        dec ecx
        jnz .next
        ret

; Sorts what is from xsi to xdi, the addresses of the first and the last number.
quicksort:
        cmp xsi, xdi
        jae .end
        mov xax, xdi
        sub xax, xsi
        shr xax, 3
        mov edx, [xsi + xax * 4]        ; the pivot, of the middle
        mov xbx, xsi
        mov xcx, xdi
.up:    cmp [xbx], edx
        jae .down
        add xbx, 4
        jmp .up
.down:  cmp [xcx], edx
        jbe .swap
        sub xcx, 4
        jmp .down
.swap:  cmp xbx, xcx
        ja .parts
        mov eax, [xbx]
        mov ebp, [xcx]
        mov [xbx], ebp
        mov [xcx], eax
        add xbx, 4
        sub xcx, 4
        cmp xbx, xcx
        jbe .up
.parts: push xbx
        push xdi
        mov xdi, xcx
        call quicksort
        pop xdi
        pop xsi
        jmp quicksort
.end:   ret
