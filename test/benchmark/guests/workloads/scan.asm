; Branchy code: a scanner takes numbers and names out of a text and calls a routine for each.
%include "harness.inc"

TEXT            equ BUFFER
LENGTH          equ 65536

prepare:                                ; pseudo-random characters from space to underscore, then 0
        mov edi, TEXT
        mov ecx, LENGTH
        mov eax, 1
.fill:  RANDOM
        mov edx, eax
        shr edx, 16
        and edx, 0x3f
        add edx, ' '
        mov [xdi], dl
        inc xdi
        dec ecx
        jnz .fill
        mov byte [xdi], 0
        ret

work:
        mov esi, TEXT
        xor ebx, ebx
.next:  movzx eax, byte [xsi]
        inc xsi
        cmp eax, '0'
        jb .blank
        cmp eax, '9'
        jbe .number
        cmp eax, 'A'
        jb .punctuation
        cmp eax, 'Z'
        jbe .name
        xor ebx, eax
        jmp .next
.punctuation:
        rol ebx, 1
        jmp .next
.blank: test eax, eax
        jz .end
        inc ebx
        jmp .next
.number:
        xor ecx, ecx
.digit: lea ecx, [xcx + xcx * 4]
        lea ecx, [xax + xcx * 2 - '0']
        movzx eax, byte [xsi]
        inc xsi
        cmp eax, '0'
        jb .token
        cmp eax, '9'
        jbe .digit
        jmp .token
.name:  mov ecx, 5381
.letter:
        imul ecx, ecx, 33
        add ecx, eax
        movzx eax, byte [xsi]
        inc xsi
        cmp eax, 'A'
        jb .token
        cmp eax, 'Z'
        jbe .letter
.token: dec xsi
        call token
        jmp .next
.end:   mov eax, ebx
        ret

token:
        test ecx, 1
        jz .even
        add ebx, ecx
        ret
.even:  xor ebx, ecx
        ret
