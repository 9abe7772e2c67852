#include "timer.h"

#include "cpu.h"
#include "interrupts.h"

enum pit {
    PIT_CHANNEL0 = 0x40,
    PIT_COMMAND = 0x43,
    PIT_HERTZ = 1193182,
};

volatile uint64_t ticks;

void timer_start(unsigned hertz)
{
    unsigned divisor = PIT_HERTZ / hertz;
    out8(PIT_COMMAND, 0x34); /* channel 0, low then high byte, mode 2 (rate generator), binary */
    out8(PIT_CHANNEL0, (uint8_t)divisor);
    out8(PIT_CHANNEL0, (uint8_t)(divisor >> 8));
    irq_unmask(TIMER_IRQ);
}

/* In interrupt context. */
void timer_tick(void)
{
    ticks++;
}

void timer_wait(unsigned count)
{
    uint64_t until = ticks + count;
    while (ticks < until)
        wait_for_interrupt();
    interrupts_off();
}
