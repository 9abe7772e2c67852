; INS and OUTS: with REP, forwards and backwards, and with a count of zero.
%include "multiboot.inc"
main:
        mov edx, COM1
        mov esi, forwards
        mov ecx, forwards_end - forwards
        rep outsb

        mov esi, backwards_end - 1
        mov ecx, backwards_end - backwards
        std
        rep outsb
        cld

        xor ecx, ecx
        rep outsb                       ; nothing

        mov edx, COM1 + 7               ; the scratch register gives back what was written
        mov al, 'Z'
        out dx, al
        mov edi, buffer
        mov ecx, 5
        rep insb
        mov ebp, ecx
        sub edi, buffer
        mov esi, edi
        push esi
        mov esi, buffer
        call print
        pop edi
        PRINT ' ecx '
        PRINT_HEX ebp
        PRINT ' edi+'
        PRINT_HEX edi
        PRINT 10
        EXIT 0

forwards:       db 'forwards', 10
forwards_end:
backwards:      db 10, 'sdrawkcab'
backwards_end:
buffer:         times 8 db 0
