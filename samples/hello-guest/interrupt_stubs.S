/*
 * One entry stub per vector. The processor has pushed ss, rsp, rflags, cs, rip and, for some exceptions, an error code;
 * the stubs complete this to struct interrupt_frame (interrupts.h) and call the C handler.
 */
#define VECTORS 48

        .section .text
        .code64

        .macro STUB vector
        .balign 16
stub_\vector:
        /* #DF, #TS, #NP, #SS, #GP, #PF, #AC and #CP come with an error code; the others get a zero in its place. */
        .if (\vector == 8) || ((\vector >= 10) && (\vector <= 14)) || (\vector == 17) || (\vector == 21)
        .else
        pushq $0
        .endif
        pushq $\vector
        jmp interrupt_common
        .endm

        .altmacro
        .set vector, 0
        .rept VECTORS
        STUB %vector
        .set vector, vector + 1
        .endr

        .cfi_sections .debug_frame
        .globl interrupt_common
        .type interrupt_common, @function
interrupt_common:
        .cfi_startproc simple
        .cfi_signal_frame
        pushq %rax
        pushq %rbx
        pushq %rcx
        pushq %rdx
        pushq %rsi
        pushq %rdi
        pushq %rbp
        pushq %r8
        pushq %r9
        pushq %r10
        pushq %r11
        pushq %r12
        pushq %r13
        pushq %r14
        pushq %r15
        movq %rsp, %rdi                 /* struct interrupt_frame * */

        /* A stack frame whose return address is the interrupted instruction: backtraces continue through it. */
        pushq 17 * 8(%rsp)              /* frame->rip */
        pushq %rbp
        movq %rsp, %rbp
        /* The same for debuggers that read call frame information: 22 frame members lie above this frame. */
        .cfi_def_cfa %rbp, 24 * 8
        .cfi_offset %rbp, -24 * 8
        .cfi_offset %rip, -5 * 8
        .cfi_offset %rsp, -2 * 8

        cld
        call handle_interrupt

        addq $16, %rsp
        popq %r15
        popq %r14
        popq %r13
        popq %r12
        popq %r11
        popq %r10
        popq %r9
        popq %r8
        popq %rbp
        popq %rdi
        popq %rsi
        popq %rdx
        popq %rcx
        popq %rbx
        popq %rax
        addq $16, %rsp                  /* vector and error code */
        iretq
        .cfi_endproc
        .size interrupt_common, . - interrupt_common

/* Addresses of the stubs, in vector order, for the IDT. */
        .section .rodata
        .balign 8
        .globl interrupt_stubs
        .macro STUB_ADDRESS vector
        .quad stub_\vector
        .endm
interrupt_stubs:
        .set vector, 0
        .rept VECTORS
        STUB_ADDRESS %vector
        .set vector, vector + 1
        .endr

        .section .note.GNU-stack, "", @progbits
