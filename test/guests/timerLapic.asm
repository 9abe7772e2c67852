; The local APIC's timer: periodic, five interrupts; then one-shot; masked, it stays silent but counts.
%include "multiboot.inc"
%include "idt32.inc"

APIC            equ 0xfee00000
SPURIOUS        equ APIC + 0xf0
END             equ APIC + 0xb0
LVT_TIMER       equ APIC + 0x320
INITIAL_COUNT   equ APIC + 0x380
CURRENT_COUNT   equ APIC + 0x390
DIVIDE          equ APIC + 0x3e0

main:
        call idt_init
        SET_GATE 0x40, tick
        SET_GATE 0xff, spurious

        mov al, 0xff                    ; no 8259
        out 0x21, al
        out 0xa1, al
        mov dword [SPURIOUS], 0x1ff
        mov dword [DIVIDE], 0x0b        ; by 1
        mov dword [LVT_TIMER], 0x20040  ; periodic, vector 0x40
        mov dword [INITIAL_COUNT], 1000000
.wait:
        sti
        hlt
        cli
        cmp dword [ticks], 5
        jb .wait
        mov dword [LVT_TIMER], 0x10040  ; masked
        PRINT 'five ticks', 10

        mov dword [ticks], 0
        mov dword [LVT_TIMER], 0x40     ; one-shot
        mov dword [INITIAL_COUNT], 500000
.once:
        sti
        hlt
        cli
        cmp dword [ticks], 1
        jb .once
        mov ebp, [CURRENT_COUNT]
        PRINT 'one shot, count now '
        PRINT_HEX ebp
        PRINT 10

        mov dword [LVT_TIMER], 0x10040  ; masked, one-shot
        mov dword [INITIAL_COUNT], 20000
.count: mov eax, [CURRENT_COUNT]
        test eax, eax
        jnz .count
        sti
        nop
        nop
        cli
        PRINT 'masked: ticks '
        PRINT_HEX [ticks]
        PRINT 10
        EXIT 0

tick:
        inc dword [ticks]
        mov dword [END], 0
        iret
spurious:
        iret

        align 4
ticks:  dd 0
