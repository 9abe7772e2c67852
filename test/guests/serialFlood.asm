; Prints 20000 lines of 64 bytes as fast as it can: a number in hexadecimal, then a fixed text with characters of two to four bytes in UTF-8.
; It polls nothing: a transmitter of this UART is always empty, as QEMU's is.
%include "multiboot.inc"
LINES   equ 20000

main:
        mov dword [number], 0
.line:
        mov ebx, [number]
        mov edi, line
        mov ecx, 8
.digit:
        rol ebx, 4
        mov eax, ebx
        and eax, 15
        mov al, [digits + eax]
        stosb
        dec ecx
        jnz .digit
        mov esi, line
        mov ecx, line_end - line
        mov edx, COM1
        rep outsb
        inc dword [number]
        cmp dword [number], LINES
        jb .line
        EXIT 0

        align 4
number: dd 0
line:   db '00000000 ', 'naïve ', '漢字 ', '😀 '
        times 62 - ($ - line) db '.'
        db 13, 10
line_end:
