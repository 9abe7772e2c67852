/* The page tables: what entry.S began with, refined. */
#ifndef PAGING_H
#define PAGING_H

#include <stdint.h>

/* A page that is mapped twice: writable at its own address, and read-only here, in the upper half. */
#define NOTICE_ALIAS 0xffff800000000000ull
extern char notice_page[];

/*
 * Splits the first 2 MiB into 4 KiB pages with the permissions of the sections in them, page 0 not present; makes all
 * other memory non-executable; maps notice_page at NOTICE_ALIAS; turns on EFER.NXE and CR0.WP so that this counts.
 */
void paging_init(void);

#endif
