; Exits by reads of a device's memory: the local APIC's spurious-interrupt vector register, which keeps what was written. The checksum
; is the sum of what was read.
%include "harness.inc"
%include "system/exit.inc"

SPURIOUS        equ 0xfee000f0

%macro READ 0
        add esi, [rbx]
%endmacro

prepare:
        mov eax, SPURIOUS
        mov dword [rax], 0x1ff          ; enabled, vector 0xff
        ret

work:
        mov ebx, SPURIOUS
        EXIT_LOOP READ
