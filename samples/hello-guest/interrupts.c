#include "interrupts.h"

#include <stddef.h>

#include "console.h"
#include "cpu.h"
#include "layout.h"
#include "power.h"
#include "timer.h"

#define VECTORS 48

/* SDM Vol. 3A, "64-Bit Mode IDT". */
struct idt_gate {
    uint16_t offset_low;
    uint16_t selector;
    uint8_t stack_table_index; /* IST: 0 keeps the current stack */
    uint8_t type;
    uint16_t offset_middle;
    uint32_t offset_high;
    uint32_t reserved;
} __attribute__((packed));

#define GATE_INTERRUPT 0x8e /* present, DPL 0, 64-bit interrupt gate */

/* SDM Vol. 3A, "64-Bit TSS". */
struct task_state {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7];
    uint64_t reserved2;
    uint16_t reserved3;
    uint16_t io_map_base;
} __attribute__((packed));

struct table_pointer {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

/* Where to go on after a fault that the code expected: see FIXUP in cpu.h. */
struct fixup {
    uint64_t faulting, resume;
};

extern const uint64_t interrupt_stubs[VECTORS];
extern const struct fixup fixups_start[], fixups_end[];
extern uint64_t gdt[];

static struct idt_gate idt[VECTORS];
static struct task_state task_state;
static uint8_t double_fault_stack[4096] __attribute__((aligned(16)));

struct recovered_faults recovered;

static const char *const exception_names[32] = {
    "divide error", "debug", "non-maskable interrupt", "breakpoint", "overflow", "bound range exceeded",
    "invalid opcode", "device not available", "double fault", "coprocessor segment overrun", "invalid TSS",
    "segment not present", "stack-segment fault", "general protection", "page fault", "vector 15",
    "x87 floating-point error", "alignment check", "machine check", "SIMD floating-point", "virtualization exception",
    "control protection", "vector 22", "vector 23", "vector 24", "vector 25", "vector 26", "vector 27", "vector 28",
    "vector 29", "vector 30", "vector 31",
};

/* ---- The 8259s ---- */

enum pic {
    PIC1_COMMAND = 0x20,
    PIC1_DATA = 0x21,
    PIC2_COMMAND = 0xa0,
    PIC2_DATA = 0xa1,
    PIC_END_OF_INTERRUPT = 0x20,
};

static void pic_init(void)
{
    out8(PIC1_COMMAND, 0x11); /* ICW1: edge triggered, cascaded, ICW4 follows */
    out8(PIC2_COMMAND, 0x11);
    out8(PIC1_DATA, FIRST_IRQ_VECTOR); /* ICW2: first vector */
    out8(PIC2_DATA, FIRST_IRQ_VECTOR + 8);
    out8(PIC1_DATA, 0x04); /* ICW3: the second one is on line 2 */
    out8(PIC2_DATA, 0x02);
    out8(PIC1_DATA, 0x01); /* ICW4: 8086 mode */
    out8(PIC2_DATA, 0x01);
    out8(PIC1_DATA, 0xff); /* all masked */
    out8(PIC2_DATA, 0xff);
}

void irq_unmask(unsigned irq)
{
    out8(PIC1_DATA, in8(PIC1_DATA) & ~(1u << irq));
}

static void irq_acknowledge(unsigned irq)
{
    if (irq >= 8)
        out8(PIC2_COMMAND, PIC_END_OF_INTERRUPT);
    out8(PIC1_COMMAND, PIC_END_OF_INTERRUPT);
}

/* ---- Exceptions ---- */

static const struct fixup *find_fixup(uint64_t rip)
{
    for (const struct fixup *fixup = fixups_start; fixup < fixups_end; fixup++) {
        if (fixup->faulting == rip)
            return fixup;
    }
    return NULL;
}

static void print_registers(const struct interrupt_frame *frame)
{
    print("  rax %016lx  rbx %016lx  rcx %016lx  rdx %016lx\n", frame->rax, frame->rbx, frame->rcx, frame->rdx);
    print("  rsi %016lx  rdi %016lx  rbp %016lx  rsp %016lx\n", frame->rsi, frame->rdi, frame->rbp, frame->rsp);
    print("  r8  %016lx  r9  %016lx  r10 %016lx  r11 %016lx\n", frame->r8, frame->r9, frame->r10, frame->r11);
    print("  r12 %016lx  r13 %016lx  r14 %016lx  r15 %016lx\n", frame->r12, frame->r13, frame->r14, frame->r15);
    print("  rip %016lx  rflags %08lx  cs %04lx  ss %04lx\n", frame->rip, frame->rflags, frame->cs, frame->ss);
    print("  cr0 %016lx  cr2 %016lx  cr3 %016lx\n", read_cr0(), read_cr2(), read_cr3());
}

static void handle_exception(struct interrupt_frame *frame)
{
    const struct fixup *fixup = find_fixup(frame->rip);
    if (fixup) {
        recovered.count++;
        recovered.last_vector = frame->vector;
        recovered.last_address = frame->vector == EXCEPTION_PAGE_FAULT ? read_cr2() : 0;
        frame->rax = -frame->vector;
        frame->rip = fixup->resume;
        return;
    }

    print("\nhello-guest: exception %lu (%s), error code 0x%lx\n", frame->vector, exception_names[frame->vector],
          frame->error_code);
    print_registers(frame);
    power_off((uint8_t)(frame->vector + 1));
}

/* Called by interrupt_common for every vector. */
void handle_interrupt(struct interrupt_frame *frame)
{
    if (frame->vector < FIRST_IRQ_VECTOR) {
        handle_exception(frame);
        return;
    }

    unsigned irq = (unsigned)(frame->vector - FIRST_IRQ_VECTOR);
    if (irq == TIMER_IRQ)
        timer_tick();
    irq_acknowledge(irq);
}

/* ---- Setting it all up ---- */

static void set_gate(unsigned vector, uint64_t handler, uint8_t stack_table_index)
{
    idt[vector] = (struct idt_gate){
        .offset_low = (uint16_t)handler,
        .selector = KERNEL_CODE,
        .stack_table_index = stack_table_index,
        .type = GATE_INTERRUPT,
        .offset_middle = (uint16_t)(handler >> 16),
        .offset_high = (uint32_t)(handler >> 32),
    };
}

/* The task-state segment gives double faults a stack of their own, so that even a broken rsp is reported. */
static void task_state_init(void)
{
    uint64_t base = (uintptr_t)&task_state;
    uint64_t limit = sizeof task_state - 1;
    task_state.ist[0] = (uintptr_t)(double_fault_stack + sizeof double_fault_stack);
    task_state.io_map_base = sizeof task_state;

    uint64_t *descriptor = &gdt[TASK_STATE / 8];
    descriptor[0] = limit | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56; /* available TSS */
    descriptor[1] = base >> 32;
    asm volatile("ltr %0" : : "r"((uint16_t)TASK_STATE));
}

void interrupts_init(void)
{
    for (unsigned vector = 0; vector < VECTORS; vector++)
        set_gate(vector, interrupt_stubs[vector], vector == EXCEPTION_DOUBLE_FAULT ? 1 : 0);

    struct table_pointer pointer = { .limit = sizeof idt - 1, .base = (uintptr_t)idt };
    asm volatile("lidt %0" : : "m"(pointer));

    task_state_init();
    pic_init();
}
