; The 8254's channel 0 through the 8259: ten interrupts, HLT between them; then a one-shot count.
%include "multiboot.inc"
%include "idt32.inc"
main:
        call idt_init
        SET_GATE 0x20, tick

        ; Where there is a local APIC, let the 8259 through its LINT0 (virtual wire).
        mov eax, 1
        cpuid
        bt edx, 9
        jnc .no_apic
        mov dword [0xfee000f0], 0x1ff
        mov dword [0xfee00350], 0x700
.no_apic:

        mov al, 0x11
        out 0x20, al
        mov al, 0x20                    ; vectors from 0x20
        out 0x21, al
        mov al, 0x04
        out 0x21, al
        mov al, 0x01
        out 0x21, al
        mov al, 0xfe                    ; only line 0
        out 0x21, al

        mov al, 0x34                    ; mode 2, rate generator
        out 0x43, al
        mov al, 11932 & 0xff            ; 100 Hz
        out 0x40, al
        mov al, 11932 >> 8
        out 0x40, al
.wait:
        sti
        hlt
        cli
        cmp dword [ticks], 10
        jb .wait
        PRINT 'ten ticks', 10

        mov al, 0x30                    ; mode 0, interrupt on terminal count
        out 0x43, al
        mov al, 0xff
        out 0x40, al
        mov al, 0x20
        out 0x40, al
        mov dword [ticks], 0
        sti
        hlt
        cli
        cmp dword [ticks], 1
        jne .wrong
        PRINT 'one shot', 10
        EXIT 0
.wrong:
        PRINT 'wrong number of ticks', 10
        EXIT 1

tick:
        push eax
        inc dword [ticks]
        mov al, 0x20
        out 0x20, al
        pop eax
        iret

        align 4
ticks:  dd 0
