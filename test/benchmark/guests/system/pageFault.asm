; Page faults: each page touched is absent, the handler maps it; afterwards all are unmapped with INVLPG.
%include "harness.inc"

PAGES           equ 64
PASSES          equ 20
AREA            equ 0x40000000          ; linear: pages of 4 KiB
TABLE           equ 0x310000
DIRECTORY       equ PD + 0x1000         ; of the second GiB
IDT             equ 0x311000
FRAMES          equ BUFFER

prepare:
        mov edi, TABLE
        xor eax, eax
        mov ecx, 0x2000 / 4
        rep stosd
        mov qword [DIRECTORY], TABLE + 3
        mov eax, page_fault             ; an interrupt gate for vector 14
        mov [IDT + 14 * 16], ax
        mov word [IDT + 14 * 16 + 2], CODE64
        mov word [IDT + 14 * 16 + 4], 0x8e00
        shr eax, 16
        mov [IDT + 14 * 16 + 6], ax
        lidt [idt_pointer]
        mov rax, cr3                    ; the directory's old entry may be in a TLB
        mov cr3, rax
        ret

work:
        xor ebx, ebx                    ; faults
        mov ebp, PASSES
.pass:  mov edi, AREA
        mov ecx, PAGES
.touch: mov [rdi + 8], edi
        add edi, 4096
        dec ecx
        jnz .touch
        mov edi, AREA
        mov ecx, PAGES
        mov esi, TABLE
.unmap: mov qword [rsi], 0
        invlpg [rdi]
        add rsi, 8
        add edi, 4096
        dec ecx
        jnz .unmap
        dec ebp
        jnz .pass
        mov eax, ebx                    ; the checksum: faults, and what the frames hold
        mov esi, FRAMES + 8
        mov ecx, PAGES
.sum:   add eax, [rsi]
        add esi, 4096
        dec ecx
        jnz .sum
        ret

page_fault:
        push rax
        push rcx
        mov rax, cr2
        sub eax, AREA
        shr eax, 12
        mov ecx, eax
        shl ecx, 12
        add ecx, FRAMES + 3
        mov [TABLE + rax * 8], rcx
        inc ebx
        pop rcx
        pop rax
        add rsp, 8                      ; the error code
        iretq

        align 8
idt_pointer:
        dw 15 * 16 - 1
        dq IDT
