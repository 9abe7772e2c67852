#include "power.h"

#include "cpu.h"
#include "layout.h"

#define ACPI_PM1A_CONTROL 0x604
#define ACPI_SLEEP_ENABLE 0x2000 /* with sleep type 0, which stands for S5 here */

_Noreturn void power_off(uint8_t status)
{
    out8(DEBUG_EXIT_PORT, status);
    out16(ACPI_PM1A_CONTROL, ACPI_SLEEP_ENABLE);
    interrupts_off();
    for (;;)
        asm volatile("hlt");
}
