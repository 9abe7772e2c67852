; PAE paging: 2 MiB and 4 KiB pages, no-execute, memory above what 32-bit entries name, page faults.
%include "multiboot.inc"
%include "idt32.inc"

POINTERS        equ 0x200000            ; the four page-directory-pointer-table entries
DIRECTORY       equ 0x201000            ; linear 0 to 1 GiB
TABLE           equ 0x202000            ; linear 4 to 6 MiB
FRAME           equ 0x210000

main:
        call idt_init
        mov edi, POINTERS
        xor eax, eax
        mov ecx, 3072
        rep stosd
        mov dword [POINTERS], DIRECTORY + 1
        mov dword [DIRECTORY], 0x83                     ; 0 to 4 MiB: two large pages
        mov dword [DIRECTORY + 8], 0x200083
        mov dword [DIRECTORY + 16], TABLE + 3
        mov dword [TABLE], FRAME + 3                    ; 0x400000: writable, executable
        mov dword [TABLE + 8], FRAME + 3                ; 0x401000: the same, no-execute
        mov dword [TABLE + 12], 0x80000000
        mov dword [TABLE + 16], FRAME + 1               ; 0x402000: the same, read-only
        mov dword [TABLE + 24], FRAME + 3               ; 0x403000: a reserved bit, 62
        mov dword [TABLE + 28], 0x40000000
        mov byte [FRAME], 0xc3                          ; ret

        mov ecx, 0xc0000080                             ; EFER.NXE
        rdmsr
        or eax, 0x800
        wrmsr
        mov eax, cr4
        or eax, 0x20                                    ; PAE
        mov cr4, eax
        mov eax, POINTERS
        mov cr3, eax
        mov eax, cr0
        or eax, 0x80010000                              ; PG, WP
        mov cr0, eax

        TRIAL 'execute', call 0x400000
        TRIAL 'execute a no-execute page', call 0x401000
        TRIAL 'read a no-execute page', mov eax, [0x401000]
        TRIAL 'write to a read-only page', mov [0x402008], eax
        TRIAL 'reserved bit', mov eax, [0x403000]
        TRIAL 'absent page', mov eax, [0x404000]
        TRIAL 'absent pointer', mov eax, [0x40000000]
        mov ebp, [TABLE + 8]
        PRINT 'accessed and dirty: '
        PRINT_HEX [TABLE]
        PRINT ' '
        PRINT_HEX [TABLE + 8]
        PRINT ' '
        PRINT_HEX [TABLE + 16]
        PRINT 10
        PRINT 'done', 10
        EXIT 0
