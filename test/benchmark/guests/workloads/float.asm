; Floating point: SSE2 on doubles, packed over two arrays, then scalar with square roots, divisions, comparisons and conversions.
%include "harness.inc"

X               equ BUFFER
Y               equ BUFFER + COUNT * 8
COUNT           equ 512
PASSES          equ 16

prepare:
        ret

work:
        xor ecx, ecx                    ; X[i] = i + 1, Y[i] = 1 / (i + 1)
.fill:  mov eax, ecx
        inc eax
        cvtsi2sd xmm0, eax
        movsd [X + xcx * 8], xmm0
        movsd xmm1, [one]
        divsd xmm1, xmm0
        movsd [Y + xcx * 8], xmm1
        mov ecx, eax
        cmp ecx, COUNT
        jb .fill

        movapd xmm6, [half]
        movapd xmm7, [eighth]
        mov edx, PASSES
.pass:  xor ecx, ecx                    ; x = x / 2 + y, y = y - x / 8
.pair:  movapd xmm0, [X + xcx * 8]
        movapd xmm1, [Y + xcx * 8]
        mulpd xmm0, xmm6
        addpd xmm0, xmm1
        movapd [X + xcx * 8], xmm0
        mulpd xmm0, xmm7
        subpd xmm1, xmm0
        movapd [Y + xcx * 8], xmm1
        add ecx, 2
        cmp ecx, COUNT
        jb .pair
        dec edx
        jnz .pass

        movsd xmm2, [one]               ; t = sqrt(t * t + |x|), s = s + x / t, below 100, n = n + s cut to an integer
        xorpd xmm3, xmm3
        movsd xmm5, [hundred]
        movapd xmm6, [magnitude]
        xor ecx, ecx
        xor edx, edx
.scalar:
        movsd xmm0, [X + xcx * 8]
        movapd xmm1, xmm0
        andpd xmm1, xmm6
        mulsd xmm2, xmm2
        addsd xmm2, xmm1
        sqrtsd xmm2, xmm2
        divsd xmm0, xmm2
        addsd xmm3, xmm0
        comisd xmm3, xmm5
        jb .below
        subsd xmm3, xmm5
.below: cvttsd2si eax, xmm3
        add edx, eax
        inc ecx
        cmp ecx, COUNT
        jb .scalar

        movsd [X], xmm2                 ; the checksum: n and the bits of t and s
        movsd [X + 8], xmm3
        mov eax, edx
        add eax, [X]
        add eax, [X + 4]
        add eax, [X + 8]
        add eax, [X + 12]
        ret

        align 16
half:   dq 0.5, 0.5
eighth: dq 0.125, 0.125
magnitude:
        dq 0x7fffffffffffffff, 0x7fffffffffffffff
one:    dq 1.0
hundred:
        dq 100.0
