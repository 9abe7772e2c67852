/* The serial port COM1, and printing on it. */
#ifndef CONSOLE_H
#define CONSOLE_H

void console_init(void);

/* %s %c %d %u %x %p %%; a width, a leading 0 to pad with zeros, a leading - to pad on the right; l for 64-bit values. */
__attribute__((format(printf, 1, 2))) void print(const char *format, ...);

#endif
