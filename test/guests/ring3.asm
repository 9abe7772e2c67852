; 64-bit mode with user code: IRETQ to ring 3, SYSCALL and SYSRET, a software interrupt with a stack switch, and faults
; that user code may cause.
%include "multiboot.inc"

PML4            equ 0x200000
PDPT            equ 0x201000
PD              equ 0x202000
IDT64           equ 0x203000
KERNEL_STACK    equ 0x204800            ; TSS.RSP0
USER_STACK      equ 0x1a0000

CODE64          equ 0x08
KERNEL_DATA     equ 0x10
USER_DATA       equ 0x20 | 3
USER_CODE       equ 0x28 | 3
TASK            equ 0x30

main:
        mov edi, PML4
        xor eax, eax
        mov ecx, 4096
        rep stosd
        mov dword [PML4], PDPT + 7
        mov dword [PDPT], PD + 7
        mov dword [PD], 0x87            ; 0 to 2 MiB: also for user code
        mov dword [PD + 8], 0x200083    ; 2 to 4 MiB: supervisor only
        mov eax, cr4
        or eax, 0x20
        mov cr4, eax
        mov eax, PML4
        mov cr3, eax
        mov ecx, 0xc0000080
        rdmsr
        or eax, 0x101                   ; LME, SCE
        wrmsr
        mov eax, cr0
        or eax, 0x80000000
        mov cr0, eax
        lgdt [gdt64_pointer]
        jmp CODE64:long_mode

        bits 64
%macro GATE 3                           ; vector, handler, type and DPL
        mov eax, %2
        mov [IDT64 + %1 * 16], ax
        mov word [IDT64 + %1 * 16 + 2], CODE64
        mov word [IDT64 + %1 * 16 + 4], %3
        shr eax, 16
        mov [IDT64 + %1 * 16 + 6], ax
%endmacro

; In ring 3: tries %2, whose fault the handlers report.
%macro USER_TRIAL 2+
        mov dword [resume], %%after
        mov dword [tried], %%at
        PRINT %1, ': '
%%at:   %2
        PRINT 'nothing'
%%after:
        PRINT 10
%endmacro

long_mode:
        mov eax, KERNEL_DATA
        mov ss, eax
        mov esp, 0x180000
        GATE 6, invalid_opcode, 0x8e00
        GATE 12, stack_fault, 0x8e00
        GATE 13, general_protection, 0x8e00
        GATE 14, page_fault, 0x8e00
        GATE 0x80, software_interrupt, 0xee00
        lidt [idt64_pointer]
        mov eax, tss
        mov [gdt64 + TASK + 2], ax
        shr eax, 16
        mov [gdt64 + TASK + 4], al
        mov eax, TASK
        ltr ax

        mov ecx, 0xc0000081             ; STAR: SYSRET takes ss from 0x18 + 8 and cs from 0x18 + 16
        xor eax, eax
        mov edx, 0x00180008
        wrmsr
        mov ecx, 0xc0000082             ; LSTAR
        mov eax, system_call
        xor edx, edx
        wrmsr
        mov ecx, 0xc0000084             ; SFMASK: clears DF and the arithmetic flags
        mov eax, 0xcd5
        xor edx, edx
        wrmsr

        PRINT 'to ring 3', 10
        push USER_DATA
        push USER_STACK
        push 0x3002                     ; rflags: IOPL 3, so that user code may print
        push USER_CODE
        push user
        iretq

user:
        mov ebp, cs
        PRINT 'user cs '
        PRINT_HEX ebp
        PRINT 10

        cmp eax, eax                    ; all arithmetic flags defined
        std
        syscall
.returned:
        mov ebp, cs
        pushfq
        pop rdi
        cld
        PRINT 'after syscall: cs '
        PRINT_HEX ebp
        PRINT ' rflags '
        PRINT_HEX edi
        PRINT 10

        int 0x80

        USER_TRIAL 'hlt', hlt
        USER_TRIAL 'mov from cr3', mov rax, cr3
        USER_TRIAL 'rdmsr', rdmsr
        USER_TRIAL 'supervisor page, read', mov eax, [0x200000]
        USER_TRIAL 'supervisor page, write', mov [0x200000], eax
        USER_TRIAL 'supervisor page, execute', call 0x204000
        USER_TRIAL 'absent page', mov [0x400010], al
        mov r14, 0x800000000000
        USER_TRIAL 'address not canonical', mov eax, [r14]
        mov rbp, r14
        ; #SS(0): rbp addresses the stack segment (SDM Vol. 2, MOV, "64-Bit Mode Exceptions").
        ; QEMU TCG, the reference of the other lines, makes #GP(0) of it; processors do not.
        USER_TRIAL 'stack address not canonical', mov eax, [rbp]
        USER_TRIAL 'kernel selector', call load_kernel_stack_segment
        PRINT 'done', 10
        EXIT 0

load_kernel_stack_segment:
        mov eax, KERNEL_DATA
        mov dword [tried], .at
.at:    mov ss, eax
        ret

system_call:
        mov r12, rsp                    ; SYSCALL leaves rsp alone
        mov rsp, KERNEL_STACK
        mov r8, rcx
        mov r9, r11
        pushfq
        pop r10
        PRINT 'syscall: rcx+'
        mov eax, r8d
        sub eax, user.returned
        call print_hex
        PRINT ' r11 '
        PRINT_HEX r9d
        PRINT ' rflags '
        PRINT_HEX r10d
        PRINT 10
        mov rcx, r8
        mov r11, r9
        mov rsp, r12
        o64 sysret

software_interrupt:
        mov r12, rsp
        mov r13d, cs
        PRINT 'int 0x80: cs '
        PRINT_HEX r13d
        PRINT ' rsp '
        PRINT_HEX r12d
        PRINT ' from cs '
        PRINT_HEX [rsp + 8]
        PRINT 10
        iretq

invalid_opcode:
        push 0
        mov r15d, 6
        jmp report
stack_fault:
        mov r15d, 12
        jmp report
general_protection:
        mov r15d, 13
        jmp report
page_fault:
        mov r15d, 14
report:
        cld
        PRINT 'vector '
        PRINT_HEX r15d
        PRINT ' error '
        PRINT_HEX [rsp]
        PRINT ' rip+'
        mov eax, [rsp + 8]
        sub eax, [tried]
        call print_hex
        mov eax, [resume]
        mov [rsp + 8], rax
        add rsp, 8
        iretq

        align 8
resume: dd 0
tried:  dd 0
gdt64:
        dq 0
        dq 0x00af9b000000ffff           ; CODE64
        dq 0x00cf93000000ffff           ; KERNEL_DATA
        dq 0                            ; SYSRET to 32-bit code: not used
        dq 0x00cff3000000ffff           ; USER_DATA
        dq 0x00affb000000ffff           ; USER_CODE
        dq 0x0000890000000067, 0        ; TASK
gdt64_end:
gdt64_pointer:
        dw gdt64_end - gdt64 - 1
        dq gdt64
idt64_pointer:
        dw 4095
        dq IDT64
tss:
        dd 0
        dq KERNEL_STACK
        times 92 db 0
