; Powers off through the ACPI PM1a control register at port 0x604 (S5 is sleep type 0).
%include "multiboot.inc"
main:
        PRINT 'powering off', 10
        mov edx, 0x604
        mov eax, 0x2000
        out dx, ax
        cli
        hlt
        jmp $
