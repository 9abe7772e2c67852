; A triple fault as soon as possible: an empty IDT and an invalid instruction.
%include "multiboot.inc"
main:
        lidt [empty_idt]
        ud2
empty_idt:
        dw 0
        dd 0
