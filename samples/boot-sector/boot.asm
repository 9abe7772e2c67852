; A boot sector: 512 bytes that the firmware loads at 0x7c00 and jumps to in real mode. It prints a line, asks for a key,
; echoes it, and turns the machine off when the key is 'q'.
;
; It prints with the BIOS (int 10h) and reads keys with it (int 16h). On a machine without a BIOS, whose interrupt vectors
; are zero, it drives the serial port COM1 itself.

        bits 16
        org 0x7c00

COM1_DATA       equ 0x3f8
COM1_STATUS     equ 0x3fd
DATA_READY      equ 0x01
TRANSMIT_EMPTY  equ 0x20
DEBUG_EXIT      equ 0xf4

start:
        jmp 0:.here                     ; some firmware comes in at 07c0:0000
.here:
        cli
        xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, 0x7c00                  ; the stack grows down from where we are
        sti
        cld

        mov eax, [0x10 * 4]             ; the vector of int 10h
        mov [bios_video], eax

        mov si, greeting
        call print

next_key:
        mov si, prompt
        call print
        call read_key
        mov [last_key], al
        call print_char
        mov si, newline
        call print
        cmp byte [last_key], 'q'
        jne next_key

        mov si, goodbye
        call print
        xor al, al
        out DEBUG_EXIT, al              ; ends a machine that has isa-debug-exit
.sleep:
        cli
        hlt
        jmp .sleep

; Prints the zero-terminated text at si.
print:
        lodsb
        test al, al
        jz .end
        call print_char
        jmp print
.end:
        ret

; Prints the character al.
print_char:
        cmp dword [bios_video], 0
        je .serial
        mov ah, 0x0e                    ; teletype output
        mov bx, 0x0007                  ; page 0, light grey
        int 0x10
        ret
.serial:
        mov ah, al
        mov dx, COM1_STATUS
.busy:
        in al, dx
        test al, TRANSMIT_EMPTY
        jz .busy
        mov dx, COM1_DATA
        mov al, ah
        out dx, al
        ret

; Waits for a key and returns its character in al.
read_key:
        cmp dword [bios_video], 0
        je .serial
        xor ah, ah                      ; wait for a key
        int 0x16
        ret
.serial:
        mov dx, COM1_STATUS
.wait:
        in al, dx
        test al, DATA_READY
        jz .wait
        mov dx, COM1_DATA
        in al, dx
        ret

greeting:       db 'Hello from the boot sector.', 13, 10, 0
prompt:         db 'Press a key, q to quit: ', 0
newline:        db 13, 10, 0
goodbye:        db 'Goodbye.', 13, 10, 0
bios_video:     dd 0
last_key:       db 0

        times 510 - ($ - $$) db 0
        dw 0xaa55                       ; the mark of a boot sector
