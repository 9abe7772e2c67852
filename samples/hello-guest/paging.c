#include "paging.h"

#include "cpu.h"
#include "layout.h"

#define ENTRIES 512
#define PTE_NO_EXECUTE (1ull << PTE_NO_EXECUTE_BIT)
#define PML4_INDEX(address) ((address) >> 39 & 511)

typedef uint64_t page_table[ENTRIES] __attribute__((aligned(PAGE_SIZE)));

/* From entry.S. */
extern page_table pml4, ram_pd, device_pd;

/* From hello.ld. */
extern char image_start[], rodata_start[], data_start[];

static page_table first_2m_pt;                /* 4 KiB pages instead of ram_pd[0] */
static page_table high_pdpt, high_pd, high_pt; /* the way to NOTICE_ALIAS */

char notice_page[PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));

/* Permissions of the 4 KiB page at `address`. */
static uint64_t page_flags(uint64_t address)
{
    if (address < PAGE_SIZE)
        return 0; /* null pointers fault */
    if (address >= (uintptr_t)image_start && address < (uintptr_t)rodata_start)
        return PTE_PRESENT; /* code: read and execute */
    if (address >= (uintptr_t)rodata_start && address < (uintptr_t)data_start)
        return PTE_PRESENT | PTE_NO_EXECUTE; /* constants: read */
    return PTE_PRESENT | PTE_WRITABLE | PTE_NO_EXECUTE;
}

static uint64_t table_entry(const page_table *table)
{
    return (uintptr_t)table | PTE_PRESENT | PTE_WRITABLE;
}

void paging_init(void)
{
    write_msr(MSR_EFER, read_msr(MSR_EFER) | EFER_NXE);

    for (unsigned index = 0; index < ENTRIES; index++) {
        uint64_t address = (uint64_t)index * PAGE_SIZE;
        uint64_t flags = page_flags(address);
        first_2m_pt[index] = flags ? address | flags : 0;
    }
    for (unsigned index = 1; index < ENTRIES; index++)
        ram_pd[index] |= PTE_NO_EXECUTE;
    for (unsigned index = 0; index < ENTRIES; index++)
        device_pd[index] |= PTE_NO_EXECUTE;
    ram_pd[0] = table_entry(&first_2m_pt);

    high_pt[0] = (uintptr_t)notice_page | PTE_PRESENT | PTE_NO_EXECUTE;
    high_pd[0] = table_entry(&high_pt);
    high_pdpt[0] = table_entry(&high_pd);
    pml4[PML4_INDEX(NOTICE_ALIAS)] = table_entry(&high_pdpt);

    write_cr3((uintptr_t)pml4);
    write_cr0(read_cr0() | CR0_WP);
}
