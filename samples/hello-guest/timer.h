/* A periodic interrupt from channel 0 of the 8254 timer. */
#ifndef TIMER_H
#define TIMER_H

#include <stdint.h>

#define TIMER_IRQ 0

/* Interrupts since timer_start(). Changes behind the code's back: try a data breakpoint on it. */
extern volatile uint64_t ticks;

void timer_start(unsigned hertz);
void timer_tick(void);

/* Sleeps with HLT until `count` more ticks have passed. */
void timer_wait(unsigned count);

#endif
