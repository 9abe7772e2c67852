; An AVX-512 instruction, which is invalid while CR4.OSXSAVE is 0, and which the VMM has no row for. It must give #UD.
%include "multiboot.inc"
%include "idt32.inc"
main:
        call idt_init
        TRIAL 'vpconflictd', vpconflictd zmm0, zmm1
        PRINT 'done', 10
        EXIT 0
