; 32-bit paging: 4 KiB and 4 MiB pages, accessed and dirty bits, page faults with their error codes, CR0.WP.
%include "multiboot.inc"
%include "idt32.inc"

DIRECTORY       equ 0x200000
TABLE           equ 0x201000            ; linear 4 to 8 MiB
FRAME           equ 0x210000

main:
        call idt_init
        mov edi, DIRECTORY
        xor eax, eax
        mov ecx, 2048
        rep stosd
        mov dword [DIRECTORY], 0x83                     ; 0 to 4 MiB: one large page
        mov dword [DIRECTORY + 4], TABLE + 3
        mov dword [DIRECTORY + 8], 0x83 | 1 << 21       ; the reserved bit of a 4 MiB page's entry
        mov dword [TABLE], FRAME + 3                    ; 0x400000: writable
        mov dword [TABLE + 4], FRAME + 0x1000 + 1       ; 0x401000: read-only
        mov dword [FRAME], 0xcafe0000
        mov dword [FRAME + 0x1000], 0xcafe0001
        mov eax, cr4
        or eax, 0x10                                    ; PSE
        mov cr4, eax
        mov eax, DIRECTORY
        mov cr3, eax
        mov eax, cr0
        or eax, 0x80000000
        mov cr0, eax

        PRINT 'entries untouched: '
        call show_entries
        mov ebp, [0x400000]
        PRINT 'read '
        PRINT_HEX ebp
        PRINT ': '
        call show_entries
        mov dword [0x400000], 0xcafe0002
        PRINT 'written: '
        call show_entries

        mov dword [0x401000], 0xcafe0003                ; allowed: supervisor, CR0.WP is 0
        PRINT 'read-only written without WP: '
        PRINT_HEX [FRAME + 0x1000]
        PRINT 10
        mov eax, cr0
        or eax, 0x10000                                 ; WP
        mov cr0, eax
        TRIAL 'write to a read-only page', mov dword [0x401004], eax
        TRIAL 'read of an absent page', mov eax, [0x402000]
        TRIAL 'write of an absent page', mov [0x402ffc], eax
        TRIAL 'read across into an absent page', mov eax, [0x401fff]
        TRIAL 'read without a table', mov eax, [0xc00000]
        TRIAL 'read with a reserved bit set', mov eax, [0x800000]
        TRIAL 'call of an absent page', call 0x403123
        PRINT 'done', 10
        EXIT 0

; Directory entry 1, table entries 0 and 1.
show_entries:
        PRINT_HEX [DIRECTORY + 4]
        PRINT ' '
        PRINT_HEX [TABLE]
        PRINT ' '
        PRINT_HEX [TABLE + 4]
        PRINT 10
        ret
