; Context switches: CR3 goes back and forth between two address spaces, and each time eight pages are touched.
%include "harness.inc"

SWITCHES        equ 2000                ; to each of the two
PAGES           equ 8
AREA            equ 0x40000000          ; linear: pages of 4 KiB that differ
FRAMES          equ BUFFER
SPACES          equ 0x310000            ; for each space a PML4, a PDPT, a directory and a table

; An address space at %1 whose AREA is at %2.
%macro SPACE 2
        mov dword [%1], %1 + 0x1003
        mov esi, PDPT
        mov edi, %1 + 0x1000
        mov ecx, 4
        rep movsq
        mov dword [%1 + 0x1008], %1 + 0x2003
        mov dword [%1 + 0x2000], %1 + 0x3003
        mov edi, %1 + 0x3000
        mov eax, %2 + 3
        mov ecx, PAGES
%%page: mov [rdi], rax
        add edi, 8
        add eax, 4096
        dec ecx
        jnz %%page
%endmacro

prepare:
        mov edi, SPACES
        xor eax, eax
        mov ecx, 0x8000 / 4
        rep stosd
        SPACE SPACES, FRAMES
        SPACE SPACES + 0x4000, FRAMES + PAGES * 4096
        ret

work:
        mov edi, FRAMES                 ; both start with pages of zeros
        xor eax, eax
        mov ecx, 2 * PAGES * 4096 / 4
        rep stosd
        mov ebp, SWITCHES
.next:  mov eax, SPACES
        mov cr3, rax
        mov edx, 1
        call touch
        mov eax, SPACES + 0x4000
        mov cr3, rax
        mov edx, 3
        call touch
        dec ebp
        jnz .next
        mov eax, TABLES
        mov cr3, rax
        xor eax, eax                    ; the checksum: each page's number, first the first space's, times what it counted
        mov esi, FRAMES
        mov ecx, 1
.sum:   mov ebx, [rsi]
        imul ebx, ecx
        add eax, ebx
        add esi, 4096
        inc ecx
        cmp ecx, 2 * PAGES
        jbe .sum
        ret

touch:
        mov edi, AREA
        mov ecx, PAGES
.next:  add [rdi], edx
        add edi, 4096
        dec ecx
        jnz .next
        ret
