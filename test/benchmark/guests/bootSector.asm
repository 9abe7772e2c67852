; A boot sector that loads a flat multiboot image from the sectors behind it to 1 MiB and enters it as multiboot says: for an
; emulator that has only a BIOS.
        bits 16
        org 0x7c00

SECTORS         equ 63                  ; of the image at most
STAGING         equ 0x10000
IMAGE           equ 0x100000

        cli
        xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, 0x7c00
        mov si, packet
        mov ah, 0x42                    ; extended read; dl is the drive
        int 0x13
        jc stop
        in al, 0x92                     ; A20
        or al, 2
        and al, ~1
        out 0x92, al
        cli
        lgdt [gdt_pointer]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        jmp 0x08:protected
stop:   hlt
        jmp stop

        bits 32
protected:
        mov eax, 0x10
        mov ds, eax
        mov es, eax
        mov ss, eax
        mov esi, STAGING
        mov edi, IMAGE
        mov ecx, SECTORS * 512 / 4
        cld
        rep movsd
        mov eax, 0x2badb002
        jmp [IMAGE + 28]                ; entry_addr of the header

        align 8
packet: db 16, 0
        dw SECTORS
        dw 0, STAGING >> 4
        dq 1
gdt:    dq 0
        dq 0x00cf9b000000ffff
        dq 0x00cf93000000ffff
gdt_pointer:
        dw 23
        dd gdt

        times 510 - ($ - $$) db 0
        dw 0xaa55
