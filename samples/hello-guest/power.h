/* Turning the machine off. */
#ifndef POWER_H
#define POWER_H

#include <stdint.h>

/* Ends the machine with `status` through isa-debug-exit or, where there is none, through ACPI. Does not return. */
_Noreturn void power_off(uint8_t status);

#endif
