; Spins for ever with interrupts off.
%include "multiboot.inc"
main:
        PRINT 'spinning', 10
        jmp $
