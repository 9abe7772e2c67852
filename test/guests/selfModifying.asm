; Code that changes code: an immediate in a loop, the very next instruction, code copied over other code, a store that
; spans two instructions.
%include "multiboot.inc"
main:
        ; The immediate of an instruction, each time around.
        mov ebp, 'a'
again:  mov eax, ebp
        mov [patched + 1], al
patched:
        mov al, '?'
        call put_char
        inc ebp
        cmp ebp, 'h'
        jbe again
        PRINT 10

        ; The instruction that follows the store at once: inc ecx becomes inc ebx.
        xor ebx, ebx
        xor ecx, ecx
        mov byte [next], 0x43
next:   inc ecx
        mov ebp, ecx
        mov edi, ebx
        PRINT 'next: ebx '
        PRINT_HEX edi
        PRINT ' ecx '
        PRINT_HEX ebp
        PRINT 10

        ; One routine copied over another that has run already.
        call victim
        mov esi, replacement
        mov edi, victim
        mov ecx, replacement_end - replacement
        rep movsb
        call victim

        ; A store over the end of one instruction and the beginning of the next.
        call spanned
        mov dword [spanned.mov + 3], 0xc1291234 ; mov eax, 0x12340001; sub ecx, eax
        call spanned
        PRINT 'done', 10
        EXIT 0

victim:
        PRINT 'original', 10
        ret
        times 40 nop
replacement:
        mov al, 'N'
        mov edx, COM1
        out dx, al
        mov al, 10
        out dx, al
        ret
replacement_end:

spanned:
        xor ecx, ecx
.mov:   mov eax, 1                      ; b8 01 00 00 00
        add ecx, eax                    ; 01 c1
        mov ebp, ecx
        PRINT 'spanned: '
        PRINT_HEX ebp
        PRINT 10
        ret
