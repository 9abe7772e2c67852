/* The IDT, the task-state segment, exceptions and the two 8259 interrupt controllers. */
#ifndef INTERRUPTS_H
#define INTERRUPTS_H

#include <stdint.h>

/* What interrupt_stubs.S leaves on the stack: its own pushes, last one first, then the processor's. */
struct interrupt_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
    uint64_t rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector, error_code;
    uint64_t rip, cs, rflags, rsp, ss;
};

enum exception {
    EXCEPTION_DIVIDE_ERROR = 0,
    EXCEPTION_INVALID_OPCODE = 6,
    EXCEPTION_DOUBLE_FAULT = 8,
    EXCEPTION_GENERAL_PROTECTION = 13,
    EXCEPTION_PAGE_FAULT = 14,
    FIRST_IRQ_VECTOR = 32,
};

/* Loads IDT and task register, moves the interrupt controllers to vectors 32 to 47, all lines masked. */
void interrupts_init(void);

/* Lets interrupt line 0 to 7 through. */
void irq_unmask(unsigned irq);

/* Number of exceptions that were expected and recovered from, and the vector and address of the last one. */
struct recovered_faults {
    unsigned count;
    uint64_t last_vector;
    uint64_t last_address;
};
extern struct recovered_faults recovered;

#endif
