; Checks that emulators like to leave out: segment limits, reserved bits, unknown MSRs. The manual decides what is right here
; (SDM Vol. 3A, "Limit Checking", "Control Registers", "PDPTE Registers"; Vol. 4 for MSRs).
%include "multiboot.inc"
%include "idt32.inc"

POINTERS        equ 0x200000            ; page-directory-pointer table
DIRECTORY       equ 0x201000

main:
        call idt_init
        TRIAL '#GP beyond the segment limit', call exceed_limit
        TRIAL '#GP reserved bit of cr4', call set_cr4
        TRIAL '#GP unknown msr', call read_unknown_msr
        TRIAL '#GP write beyond the segment limit', call exceed_limit_writing
        TRIAL '#SS beyond the stack segment limit', call exceed_stack_limit

        mov edi, POINTERS
        xor eax, eax
        mov ecx, 2048
        rep stosd
        mov dword [POINTERS], DIRECTORY + 1
        mov dword [DIRECTORY], 0x83                     ; 0 to 4 MiB: two large pages
        mov dword [DIRECTORY + 8], 0x200083
        mov eax, 0x20                                   ; PAE
        mov cr4, eax
        mov eax, POINTERS
        mov cr3, eax
        mov eax, cr0
        or eax, 0x80000000
        mov cr0, eax
        TRIAL '#GP reserved bit in a page-directory pointer', call load_bad_pointer
        PRINT 'done', 10
        EXIT 0

; In each, the faulting instruction is at `tried`.
%macro HERE 0
        mov dword [tried], %%at
%%at:
%endmacro

exceed_limit:
        mov eax, 0x18
        mov gs, eax
        mov eax, [gs:0xffc]             ; the last one inside
        HERE
        mov eax, [gs:0xffd]
        ret
exceed_limit_writing:
        mov eax, 0x18
        mov gs, eax
        HERE
        mov [gs:0xffd], eax
        ret
; The exception arrives on this stack, which is why it lies where it can be used; the guest stays on it.
exceed_stack_limit:
        mov eax, 0x18
        mov ss, eax
        mov esp, 0x800
        HERE
        mov eax, [esp + 0x7fd]
        ret
set_cr4:
        mov eax, 0x00008000
        HERE
        mov cr4, eax
        ret
read_unknown_msr:
        mov ecx, 0x12345678
        HERE
        rdmsr
        ret

; The pointers are checked when CR3 is loaded: #GP, and the old ones stay.
load_bad_pointer:
        mov dword [POINTERS + 16], DIRECTORY + 3        ; bit 1 is reserved here
        mov eax, cr3
        HERE
        mov cr3, eax
        ret
