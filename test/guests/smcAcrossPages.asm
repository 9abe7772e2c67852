; Changing code that lies across two pages, changing it through another address of the same memory, and changing what the
; second page is. 32-bit paging; linear 0x400000 and 0x800000 are windows that the page tables decide.
%include "multiboot.inc"

DIRECTORY       equ 0x200000
LOW_TABLE       equ 0x201000            ; linear 0 to 4 MiB, identity
WINDOW_TABLE    equ 0x202000            ; linear 4 to 8 MiB
ALIAS_TABLE     equ 0x203000            ; linear 8 to 12 MiB
PAGE_A          equ 0x210000            ; physical pages behind the windows
PAGE_B          equ 0x211000
PAGE_C          equ 0x212000
WINDOW          equ 0x400000
ALIAS           equ 0x800000
STRADDLE        equ WINDOW + 0xffd      ; mov eax, imm32: opcode and two bytes of the immediate, then the second page

main:
        call paging_on

        ; An instruction across two pages: change the bytes in the second page, then those in the first.
        mov edi, STRADDLE
        mov esi, routine
        mov ecx, routine_end - routine
        rep movsb
        call show                       ; 44332211
        mov word [WINDOW + 0x1000], 0x5566
        call show                       ; 55662211
        mov word [STRADDLE + 1], 0x7788
        call show                       ; 55667788

        ; Through the alias: other linear addresses, the same memory.
        mov word [ALIAS + 0x1000], 0x99aa
        call show                       ; 99aa7788
        mov byte [ALIAS + 0xffe], 0x01
        call show                       ; 99aa7701

        ; Another second page: a copy of it with another immediate, mapped in its place.
        mov esi, PAGE_B
        mov edi, PAGE_C
        mov ecx, 1024
        rep movsd
        mov word [PAGE_C], 0xbbcc
        call show                       ; 99aa7701
        mov dword [WINDOW_TABLE + 4], PAGE_C + 3
        invlpg [WINDOW + 0x1000]
        call show                       ; bbcc7701
        mov word [PAGE_B], 0xdddd       ; no longer mapped there
        call show                       ; bbcc7701
        mov dword [WINDOW_TABLE + 4], PAGE_B + 3
        mov eax, cr3
        mov cr3, eax
        call show                       ; dddd7701

        ; A store that itself crosses from one code page into the other.
        mov dword [STRADDLE + 1], 0x12345678
        call show                       ; 12345678
        PRINT 'done', 10
        EXIT 0

show:
        mov eax, STRADDLE
        call eax
        call print_hex
        PRINT 10
        ret

routine:
        db 0xb8, 0x11, 0x22, 0x33, 0x44 ; mov eax, 0x44332211
        ret
routine_end:

paging_on:
        mov edi, DIRECTORY
        xor eax, eax
        mov ecx, 4096
        rep stosd
        mov dword [DIRECTORY], LOW_TABLE + 3
        mov dword [DIRECTORY + 4], WINDOW_TABLE + 3
        mov dword [DIRECTORY + 8], ALIAS_TABLE + 3
        mov eax, 3
        xor ecx, ecx
.low:   mov [LOW_TABLE + ecx * 4], eax
        add eax, 4096
        inc ecx
        cmp ecx, 1024
        jb .low
        mov dword [WINDOW_TABLE], PAGE_A + 3
        mov dword [WINDOW_TABLE + 4], PAGE_B + 3
        mov dword [ALIAS_TABLE], PAGE_A + 3
        mov dword [ALIAS_TABLE + 4], PAGE_B + 3
        mov eax, DIRECTORY
        mov cr3, eax
        mov eax, cr0
        or eax, 0x80000000
        mov cr0, eax
        ret
