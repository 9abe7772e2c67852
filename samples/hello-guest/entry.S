/*
 * The guest's first instructions: from the loader's 32-bit protected mode to 64-bit C.
 *
 * A loader may use either of two protocols; both start in 32-bit protected mode with paging off:
 *   PVH         the ELF note below names pvh_start; ebx = physical address of struct hvm_start_info
 *   multiboot 1 the header below names multiboot_start; eax = 0x2BADB002, ebx = multiboot information
 */
#include "layout.h"

/* ---- What the loaders look for ------------------------------------------------------------------------------- */

        .section .multiboot, "a"
        .balign 4
#define MULTIBOOT_MAGIC 0x1BADB002
#define MULTIBOOT_FLAGS 0x00010000      /* the address fields below are valid (a multiboot 1 loader may refuse ELF64) */
multiboot_header:
        .long MULTIBOOT_MAGIC
        .long MULTIBOOT_FLAGS
        .long -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)
        .long multiboot_header          /* header_addr */
        .long image_start               /* load_addr */
        .long image_data_end            /* load_end_addr */
        .long image_end                 /* bss_end_addr */
        .long multiboot_start           /* entry_addr */

#define XEN_ELFNOTE_PHYS32_ENTRY 18
        .section .note.Xen, "a", @note
        .balign 4
        .long 4                         /* name size */
        .long 4                         /* descriptor size */
        .long XEN_ELFNOTE_PHYS32_ENTRY
        .asciz "Xen"
        .long pvh_start

/* ---- 32-bit protected mode, paging off ------------------------------------------------------------------------ */

        .section .text.entry, "ax"
        .code32

        .globl pvh_start
        .type pvh_start, @function
pvh_start:
        movl $BOOTED_BY_PVH, %ebp       /* ebp carries the protocol, esi the information; cpuid below needs ebx */
        jmp enter_long_mode

        .globl multiboot_start
        .type multiboot_start, @function
multiboot_start:
        movl $BOOTED_BY_MULTIBOOT, %ebp

        .globl enter_long_mode
        .type enter_long_mode, @function
enter_long_mode:
        cli
        cld
        movl %ebx, %esi
        movl $boot_stack_top, %esp

        /* Is there a long mode to enter? */
        movl $0x80000001, %eax
        cpuid
        btl $29, %edx                   /* CPUID.80000001H:EDX.LM */
        jnc no_long_mode

        /*
         * Identity-map the first and the last of the lower four GiB with 2 MiB pages: RAM, and where devices are.
         * pml4[0] -> low_pdpt, low_pdpt[0] -> ram_pd, low_pdpt[3] -> device_pd.
         */
        movl $(low_pdpt + PTE_PRESENT + PTE_WRITABLE), pml4
        movl $(ram_pd + PTE_PRESENT + PTE_WRITABLE), low_pdpt
        movl $(device_pd + PTE_PRESENT + PTE_WRITABLE), low_pdpt + 3 * 8

        movl $(PTE_PRESENT + PTE_WRITABLE + PTE_LARGE), %eax
        xorl %ecx, %ecx
1:      movl %eax, ram_pd(, %ecx, 8)
        addl $LARGE_PAGE_SIZE, %eax
        incl %ecx
        cmpl $512, %ecx
        jb 1b

        movl $(DEVICE_BASE + PTE_PRESENT + PTE_WRITABLE + PTE_LARGE + PTE_UNCACHED), %eax
        xorl %ecx, %ecx
2:      movl %eax, device_pd(, %ecx, 8)
        addl $LARGE_PAGE_SIZE, %eax
        incl %ecx
        cmpl $512, %ecx
        jb 2b

        /* The order that the manual asks for: PAE, CR3, EFER.LME, then paging. */
        movl %cr4, %eax
        orl $CR4_PAE, %eax
        movl %eax, %cr4

        movl $pml4, %eax
        movl %eax, %cr3

        movl $MSR_EFER, %ecx
        rdmsr
        orl $EFER_LME, %eax
        wrmsr

        movl %cr0, %eax
        orl $CR0_PG, %eax
        movl %eax, %cr0                 /* compatibility mode from here on: EFER.LMA is set, cs still 32-bit */

        lgdt gdt_pointer
        ljmp $KERNEL_CODE, $long_mode

no_long_mode:
        movb $0xff, %al
        outb %al, $DEBUG_EXIT_PORT
3:      hlt
        jmp 3b

/* ---- 64-bit mode ----------------------------------------------------------------------------------------------- */

        .code64
        .globl long_mode
        .type long_mode, @function
long_mode:
        movl $KERNEL_DATA, %eax
        movl %eax, %ds
        movl %eax, %es
        movl %eax, %ss
        xorl %eax, %eax
        movl %eax, %fs
        movl %eax, %gs

        movl $boot_stack_top, %esp      /* writing a 32-bit register clears the upper half */
        movl %ebp, %edi                 /* first argument of kernel_main: the boot protocol */
        movl %esi, %esi                 /* second: its information */
        xorl %ebp, %ebp                 /* the frame-pointer chain ends here */
        call kernel_main
4:      cli
        hlt
        jmp 4b

/* ---- Tables ---------------------------------------------------------------------------------------------------- */

        .section .data
        .balign 16
        .globl gdt
gdt:
        .quad 0
        .quad 0x00af9b000000ffff        /* KERNEL_CODE: 64-bit code, DPL 0 */
        .quad 0x00cf93000000ffff        /* KERNEL_DATA: data, DPL 0 */
        .quad 0, 0                      /* TASK_STATE: filled in by interrupts_init() */
gdt_end:

gdt_pointer:
        .word gdt_end - gdt - 1
        .quad gdt

        .section .bss
        .balign PAGE_SIZE
        .globl pml4, low_pdpt, ram_pd, device_pd
pml4:      .skip PAGE_SIZE
low_pdpt:  .skip PAGE_SIZE
ram_pd:    .skip PAGE_SIZE
device_pd: .skip PAGE_SIZE

        .skip 16384
        .globl boot_stack_top
boot_stack_top:

        .section .note.GNU-stack, "", @progbits
