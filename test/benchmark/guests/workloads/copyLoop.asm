; Copies with plain loops: an eighth a byte a time, the rest a word a time.
%include "harness.inc"
%include "copy.inc"

BYTES           equ SIZE / 8

work:
        mov esi, SOURCE
        mov edi, TARGET
        mov ecx, BYTES
.byte:  mov al, [xsi]
        mov [xdi], al
        inc xsi
        inc xdi
        dec ecx
        jnz .byte
        mov ecx, (SIZE - BYTES) / W
.word:  mov xax, [xsi]
        mov [xdi], xax
        add xsi, W
        add xdi, W
        dec ecx
        jnz .word
        jmp take_samples
