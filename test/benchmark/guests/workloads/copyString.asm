; Copies with string instructions: one half with REP MOVSB, the other with REP MOVS of words.
%include "harness.inc"
%include "copy.inc"

work:
        mov esi, SOURCE
        mov edi, TARGET
        mov ecx, SIZE / 2
        rep movsb
        mov ecx, SIZE / 2 / W
%if WIDTH == 64
        rep movsq
%else
        rep movsd
%endif
        jmp take_samples
