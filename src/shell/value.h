/* What option values look like: text into numbers, sizes, times and addresses, and back.
 *
 * Text is borrowed and NUL-terminated unless a length is given. Parsers return 0, or -EINVAL for
 * anything but exactly the form described (no sign, no space, nothing behind it, no overflow), and
 * then leave their results untouched. */
#ifndef SHELL_VALUE_H
#define SHELL_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VALUE_TEXT_BYTES_MAX 32 /* a formatted size or time, with its NUL */

/* Decimal digits. */
int value_parse_number(const char *text, uint64_t *out);

/* A number of bytes, or a number with KiB, MiB or GiB (in any case) right behind it. */
int value_parse_size(const char *text, uint64_t *bytes);

/* A number of milliseconds, or a number with ms, s, m, h or d right behind it. */
int value_parse_time(const char *text, uint64_t *ms);

/* One of the words of `choices`, which are separated by bars: "text|json". *index counts from 0. */
int value_parse_choice(const char *text, const char *choices, uint64_t *index);

/* host:port of text_bytes bytes. The host is a name or an IPv4 address, or an IPv6 address in
 * brackets, which are taken off; the port is 1..65535.
 *
 * host   where the host goes, NUL-terminated; -EINVAL if it has no room in host_bytes. */
int value_parse_address(const char *text, size_t text_bytes, char *host, size_t host_bytes,
                        uint16_t *port);

/* A numeric IPv4 or IPv6 address to listen on, the latter with or without brackets, which are
 * taken off. host as above. */
int value_parse_bind(const char *text, char *host, size_t host_bytes);

/* Whether text is 1..bytes_max printable ASCII characters without spaces and '='. */
bool value_is_name(const char *text, size_t bytes_max);

/* Write the value in the largest unit that divides it: 64MiB, 1500ms. Parsed back it is the same. */
void value_format_size(char out[VALUE_TEXT_BYTES_MAX], uint64_t bytes);
void value_format_time(char out[VALUE_TEXT_BYTES_MAX], uint64_t ms);

#endif
