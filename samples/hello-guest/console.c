#include "console.h"

#include <stdarg.h>

#include "cpu.h"

/* Registers of the 16550 UART, as offsets from its first port. */
enum uart {
    COM1 = 0x3f8,
    UART_DATA = 0,
    UART_INTERRUPT_ENABLE = 1,
    UART_FIFO_CONTROL = 2,
    UART_LINE_CONTROL = 3,
    UART_MODEM_CONTROL = 4,
    UART_LINE_STATUS = 5,
};

#define LINE_CONTROL_DIVISOR_ACCESS 0x80
#define LINE_CONTROL_8N1 0x03
#define LINE_STATUS_TRANSMITTER_EMPTY 0x20

void console_init(void)
{
    out8(COM1 + UART_INTERRUPT_ENABLE, 0);
    out8(COM1 + UART_LINE_CONTROL, LINE_CONTROL_DIVISOR_ACCESS);
    out8(COM1 + UART_DATA, 1); /* divisor 1: 115200 baud */
    out8(COM1 + UART_INTERRUPT_ENABLE, 0);
    out8(COM1 + UART_LINE_CONTROL, LINE_CONTROL_8N1);
    out8(COM1 + UART_FIFO_CONTROL, 0x07); /* on, both FIFOs emptied */
    out8(COM1 + UART_MODEM_CONTROL, 0x03); /* DTR, RTS */
}

static void print_char(char character)
{
    if (character == '\n')
        print_char('\r');
    while (!(in8(COM1 + UART_LINE_STATUS) & LINE_STATUS_TRANSMITTER_EMPTY))
        ;
    out8(COM1 + UART_DATA, (uint8_t)character);
}

static void print_padded(const char *text, int length, int width, bool left, char pad)
{
    for (int i = length; i < width && !left; i++)
        print_char(pad);
    for (int i = 0; i < length; i++)
        print_char(text[i]);
    for (int i = length; i < width && left; i++)
        print_char(' ');
}

/* Writes the digits of `value` at the end of `buffer` (at least 20 bytes) and returns their number. */
static int format_number(char *buffer, int size, uint64_t value, unsigned base)
{
    int length = 0;
    do {
        buffer[size - ++length] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    return length;
}

void print(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    for (; *format; format++) {
        if (*format != '%') {
            print_char(*format);
            continue;
        }
        format++;

        bool left = *format == '-';
        if (left)
            format++;
        char pad = ' ';
        if (*format == '0') {
            pad = '0';
            format++;
        }
        int width = 0;
        for (; *format >= '0' && *format <= '9'; format++)
            width = width * 10 + (*format - '0');
        bool wide = *format == 'l';
        if (wide)
            format++;

        char buffer[24];
        char *end = buffer + sizeof buffer;
        int length = 0;
        switch (*format) {
        case 's': {
            const char *text = va_arg(arguments, const char *);
            while (text[length])
                length++;
            print_padded(text, length, width, left, ' ');
            break;
        }
        case 'c':
            print_char((char)va_arg(arguments, int));
            break;
        case 'd': {
            int64_t value = wide ? va_arg(arguments, int64_t) : va_arg(arguments, int);
            length = format_number(buffer, sizeof buffer, value < 0 ? -(uint64_t)value : (uint64_t)value, 10);
            if (value < 0)
                end[-++length] = '-';
            print_padded(end - length, length, width, left, pad);
            break;
        }
        case 'u':
        case 'x': {
            uint64_t value = wide ? va_arg(arguments, uint64_t) : va_arg(arguments, unsigned);
            length = format_number(buffer, sizeof buffer, value, *format == 'x' ? 16 : 10);
            print_padded(end - length, length, width, left, pad);
            break;
        }
        case 'p':
            length = format_number(buffer, sizeof buffer, (uintptr_t)va_arg(arguments, void *), 16);
            print("0x");
            print_padded(end - length, length, width, left, pad);
            break;
        case '%':
            print_char('%');
            break;
        default:
            print("%%%c?", *format);
        }
    }
    va_end(arguments);
}
