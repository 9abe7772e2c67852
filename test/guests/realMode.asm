; A boot sector in real mode, without firmware calls: segments, an interrupt through its own vector, the stack, wrap-around
; at 64 KiB, and unreal mode: real mode with a 4 GiB data segment.

        bits 16
        org 0x7c00

COM1            equ 0x3f8

start:
        jmp 0:main
main:
        cli
        cld
        xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, 0x7c00

        ; A software interrupt through the table at 0.
        mov word [0x60 * 4], handler
        mov word [0x60 * 4 + 2], 0
        mov al, 'I'
        int 0x60

        ; One linear address, two segments: 0x2000:0x0010 is 0x1fff:0x0020.
        mov ax, 0x2000
        mov fs, ax
        mov byte [fs:0x10], 'S'
        mov ax, 0x1fff
        mov gs, ax
        mov al, [gs:0x20]
        call put_char

        ; String instructions stay inside 64 KiB: di goes from 0xffff to 0.
        mov ax, 0x3000
        mov es, ax
        mov di, 0xfffe
        mov al, 'W'
        mov cx, 4
        rep stosb
        mov al, [es:1]
        call put_char
        mov ax, di
        add al, '0'                     ; di is 2
        call put_char

        ; A far call and return.
        call 0:far_routine

        ; Unreal mode: a data segment with a 4 GiB limit, loaded in protected mode, kept in real mode.
        in al, 0x92                     ; address line 20
        or al, 2
        and al, 0xfe
        out 0x92, al
        push ds
        lgdt [gdt_pointer]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        jmp .protected
.protected:
        mov bx, 8
        mov ds, bx
        and al, 0xfe
        mov cr0, eax
        jmp 0:.unreal
.unreal:
        pop ds                          ; base 0 again, the limit stays
        mov ebx, 0x00280000
        mov byte [ebx], 'U'
        xor al, al
        mov al, [dword 0x00280000]
        call put_char
        mov al, 10
        call put_char

        xor al, al
        out 0xf4, al
.stop:
        hlt
        jmp .stop

handler:
        call put_char
        iret

far_routine:
        mov al, 'F'
        call put_char
        retf

; Sends al. Clobbers dx, ah.
put_char:
        mov ah, al
        mov dx, COM1 + 5
.busy:  in al, dx
        test al, 0x20
        jz .busy
        mov dx, COM1
        mov al, ah
        out dx, al
        ret

        align 8
gdt:
        dq 0
        dq 0x00cf92000000ffff           ; data, base 0, 4 GiB
gdt_end:
gdt_pointer:
        dw gdt_end - gdt - 1
        dd gdt

        times 510 - ($ - $$) db 0
        dw 0xaa55
