; One exception after the other in 32-bit protected mode without paging.
%include "multiboot.inc"
%include "idt32.inc"
main:
        call idt_init

        xor ecx, ecx
        TRIAL '#DE divide by zero', div ecx
        mov ecx, 1
        TRIAL '#DE quotient too large', div ecx        ; edx is COM1, as PRINT leaves it
        TRIAL '#BP int3', int3
        TRIAL '#BP int 3', db 0xcd, 3
        mov al, 0x7f
        TRIAL '#OF into', call overflow
        TRIAL '#BR bound', call out_of_bounds
        TRIAL '#UD ud2', ud2
        TRIAL '#UD lock on a register', db 0xf0, 0x01, 0xc8
        TRIAL '#GP selector beyond the GDT', call load_far_selector
        TRIAL '#GP null in ss', call load_null_ss
        TRIAL '#GP empty gate', int 0x50
        TRIAL '#NP segment not present', call load_absent
        TRIAL '#SS stack segment not present', call load_absent_ss
        TRIAL '#DB single step', call single_step
        PRINT 'done', 10
        EXIT 0

; In each, the faulting instruction is at `tried`.
%macro HERE 0
        mov dword [tried], %%at
%%at:
%endmacro

overflow:
        mov al, 0x7f
        add al, 1
        HERE
        into
        ret
out_of_bounds:
        mov eax, 5
        HERE
        bound eax, [bounds]
        ret
bounds: dd 0, 4
load_far_selector:
        mov eax, 0x28
        HERE
        mov ds, ax
        ret
load_null_ss:
        xor eax, eax
        HERE
        mov ss, ax
        ret
load_absent:
        mov eax, 0x20
        HERE
        mov es, ax
        ret
load_absent_ss:
        mov eax, 0x20
        HERE
        mov ss, ax
        ret
single_step:
        mov dword [tried], .at
        pushfd
        or dword [esp], 0x100
.at:    popfd
        nop                             ; traps after this one
        nop
        ret
