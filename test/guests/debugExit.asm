; Ends with 42 through isa-debug-exit.
%include "multiboot.inc"
main:
        PRINT 'leaving with 42', 10
        EXIT 42
