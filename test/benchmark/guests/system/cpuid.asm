; Exits by CPUID. The checksum counts those that told a vendor.
%include "harness.inc"
%include "system/exit.inc"

%macro ASK 0
        xor eax, eax
        cpuid
        cmp ebx, 1
        sbb esi, -1
%endmacro

prepare:
        ret

work:   EXIT_LOOP ASK
