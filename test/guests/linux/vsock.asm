; A Linux program, x86-64: streams of AF_VSOCK. Flat code, which initramfs.ts' program() makes an executable of.
;   vsock PORT          listens on PORT, one connection after the other, and sends back what it gets
;   vsock PORT TEXT     connects to PORT of CID 2, sends TEXT and writes to standard output what comes; the exit status is 0 at the
;                       end of the stream, else the error's number
; Numbers: Linux, arch/x86/entry/syscalls/syscall_64.tbl; struct sockaddr_vm: include/uapi/linux/vm_sockets.h.
bits 64
default rel

%macro system 1
        mov     eax, %1
        syscall
%endmacro
READ equ 0
WRITE equ 1
CLOSE equ 3
SOCKET equ 41
CONNECT equ 42
ACCEPT equ 43
BIND equ 49
LISTEN equ 50
EXIT equ 60
AF_VSOCK equ 40
SOCK_STREAM equ 1
CID_ANY equ -1
CID_HOST equ 2
BUFFER equ 4096

        mov     r12, [rsp]                      ; argc
        mov     rsi, [rsp + 16]                 ; argv[1]
        mov     r13, [rsp + 24]                 ; argv[2]
        sub     rsp, BUFFER + 16
        lea     r14, [rsp + 16]                 ; the buffer, behind the address
        xor     ebx, ebx
        xor     eax, eax
.digit: lodsb
        sub     al, '0'
        jb      .port
        imul    ebx, ebx, 10
        add     ebx, eax
        jmp     .digit
.port:  mov     qword [rsp + 8], 0
        mov     dword [rsp], AF_VSOCK
        mov     [rsp + 4], ebx
        mov     edi, AF_VSOCK
        mov     esi, SOCK_STREAM
        xor     edx, edx
        system  SOCKET
        test    eax, eax
        js      .end
        mov     ebp, eax
        mov     edi, ebp
        mov     rsi, rsp
        mov     edx, 16
        cmp     r12, 3
        je      .connect

        mov     dword [rsp + 8], CID_ANY
        system  BIND
        test    eax, eax
        js      .end
        mov     edi, ebp
        mov     esi, 8
        system  LISTEN
.next:  mov     edi, ebp
        xor     esi, esi
        xor     edx, edx
        system  ACCEPT
        test    eax, eax
        js      .end
        mov     r15d, eax
        mov     ebx, eax
        call    copy
        mov     edi, r15d
        system  CLOSE
        jmp     .next

.connect:
        mov     dword [rsp + 8], CID_HOST
        system  CONNECT
        test    eax, eax
        js      .end
        mov     rsi, r13
        mov     rdx, r13
.count: inc     rdx
        cmp     byte [rdx], 0
        jne     .count
        sub     rdx, rsi
        mov     edi, ebp
        system  WRITE
        mov     r15d, ebp
        mov     ebx, 1
        call    copy

.end:   neg     eax
        mov     edi, eax
        system  EXIT

; From r15d to ebx until the end of the stream (eax = 0) or an error (eax < 0).
copy:   mov     edi, r15d
        mov     rsi, r14
        mov     edx, BUFFER
        system  READ
        test    eax, eax
        jle     .done
        mov     edi, ebx
        mov     rsi, r14
        mov     edx, eax
        system  WRITE
        test    eax, eax
        jns     copy
.done:  ret
