; System calls: ring 3 calls, the kernel switches stacks, looks up the call in a table and returns.
%include "harness.inc"

CALLS           equ 10000
KERNEL          equ VARIABLES + 0x1000  ; what GS points to in the kernel: the stack's top, the user's stack pointer
KERNEL_STACK    equ 0x310000
USER_STACK      equ 0x320000

%macro WRITE_MSR 3                      ; number, high half, low half
        mov ecx, %1
        mov edx, %2
        mov eax, %3
        wrmsr
%endmacro

prepare:
        WRITE_MSR 0xc0000081, 0x00180008, 0 ; STAR: SYSRET takes ss from 0x18 + 8 and cs from 0x18 + 16
        WRITE_MSR 0xc0000082, 0, system_call ; LSTAR
        WRITE_MSR 0xc0000084, 0, 0x700  ; SFMASK: clears TF, IF and DF
        WRITE_MSR 0xc0000101, 0, 0      ; GS.base
        WRITE_MSR 0xc0000102, 0, KERNEL ; KERNEL_GS_BASE
        mov qword [KERNEL], KERNEL_STACK
        ret

work:
        mov [KERNEL + 16], rsp
        mov ecx, user
        mov r11d, 2
        mov esp, USER_STACK
        o64 sysret

user:
        mov ebx, CALLS
        xor esi, esi                    ; the sum of what the calls return
.next:  mov edi, ebx
        xor eax, eax                    ; call 0
        syscall
        add esi, eax
        dec ebx
        jnz .next
        mov eax, 1                      ; call 1 goes back to the harness
        mov edi, esi
        syscall

system_call:
        swapgs
        mov [gs:8], rsp
        mov rsp, [gs:0]
        push rcx
        push r11
        push rdi
        push rsi
        push rbx
        cmp eax, 2
        jae .end
        call [table + rax * 8]
.end:   pop rbx
        pop rsi
        pop rdi
        pop r11
        pop rcx
        mov rsp, [gs:8]
        swapgs
        o64 sysret

triple: lea eax, [rdi + rdi * 2]
        ret
leave_user:
        swapgs
        mov eax, edi
        mov rsp, [KERNEL + 16]
        ret

        align 8
table:  dq triple, leave_user
