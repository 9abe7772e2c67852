/* Numbers shared by C and assembly: control bits, page-table bits, segment selectors. */
#ifndef LAYOUT_H
#define LAYOUT_H

#define BOOTED_BY_PVH 1
#define BOOTED_BY_MULTIBOOT 2

#define PAGE_SIZE 4096
#define LARGE_PAGE_SIZE 0x200000

#define PTE_PRESENT 0x001
#define PTE_WRITABLE 0x002
#define PTE_UNCACHED 0x018 /* PWT and PCD */
#define PTE_LARGE 0x080    /* PS: this entry maps a page, not a table */
#define PTE_NO_EXECUTE_BIT 63

#define DEVICE_BASE 0xc0000000 /* the fourth GiB, where the chipset and PCI devices live */

#define CR0_WP 0x00010000
#define CR0_PG 0x80000000
#define CR4_PAE 0x20

#define MSR_EFER 0xc0000080
#define MSR_LSTAR 0xc0000082
#define EFER_LME 0x100
#define EFER_NXE 0x800

#define KERNEL_CODE 0x08
#define KERNEL_DATA 0x10
#define TASK_STATE 0x18

#define DEBUG_EXIT_PORT 0xf4 /* isa-debug-exit: writing a byte ends the machine */

#endif
