/* Parsing and formatting of option values. */
#include "value.h"

#include "kv/bytes.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define IPV6_BYTES_MAX 64 /* an address with its zone and a NUL */

static const char ALPHANUMERIC[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
static const char HOST_NAME[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_";

struct unit {
    const char *name;
    uint64_t factor;
};

/* Largest first; the last is what a bare number is in, with the name that is printed. */
static const struct unit SIZES[] = {
    {"GiB", UINT64_C(1) << 30},
    {"MiB", UINT64_C(1) << 20},
    {"KiB", UINT64_C(1) << 10},
    {"", 1},
};
static const struct unit TIMES[] = {
    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1},
};
#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

int value_parse_number(const char *text, uint64_t *out)
{
    return bytes_parse_u64(bytes_text(text), out) ? 0 : -EINVAL;
}

static int scaled(struct bytes digits, uint64_t factor, uint64_t *out)
{
    uint64_t number;
    if (!bytes_parse_u64(digits, &number) || number > UINT64_MAX / factor)
        return -EINVAL;
    *out = number * factor;
    return 0;
}

int value_parse_size(const char *text, uint64_t *bytes)
{
    size_t digits = strspn(text, "0123456789");
    for (size_t i = 0; i < COUNT_OF(SIZES); i++) {
        if (bytes_equal_ignoring_case(bytes_text(text + digits), bytes_text(SIZES[i].name)))
            return scaled(bytes_of(text, digits), SIZES[i].factor, bytes);
    }
    return -EINVAL;
}

int value_parse_time(const char *text, uint64_t *ms)
{
    size_t digits = strspn(text, "0123456789");
    if (text[digits] == '\0')
        return scaled(bytes_of(text, digits), 1, ms);
    for (size_t i = 0; i < COUNT_OF(TIMES); i++) {
        if (strcmp(text + digits, TIMES[i].name) == 0)
            return scaled(bytes_of(text, digits), TIMES[i].factor, ms);
    }
    return -EINVAL;
}

int value_parse_choice(const char *text, const char *choices, uint64_t *index)
{
    const size_t text_bytes = strlen(text);
    for (uint64_t i = 0; text_bytes > 0; i++) {
        size_t bytes = strcspn(choices, "|");
        if (bytes == text_bytes && memcmp(choices, text, bytes) == 0) {
            *index = i;
            return 0;
        }
        if (choices[bytes] == '\0')
            break;
        choices += bytes + 1;
    }
    return -EINVAL;
}

/* An IPv6 address, a zone such as %eth0 behind it allowed. */
static bool is_ipv6(const char *text)
{
    char address[IPV6_BYTES_MAX];
    struct in6_addr parsed;
    size_t bytes = strcspn(text, "%");
    if (bytes >= sizeof address)
        return false;
    memcpy(address, text, bytes);
    address[bytes] = '\0';
    if (inet_pton(AF_INET6, address, &parsed) != 1)
        return false;
    const char *zone = text + bytes;
    return zone[0] == '\0' || (zone[1] != '\0' && zone[1 + strspn(zone + 1, HOST_NAME)] == '\0');
}

static bool is_host_name(const char *text)
{
    return text[0] != '\0' && strchr(ALPHANUMERIC, text[0]) != NULL &&
           text[strspn(text, HOST_NAME)] == '\0';
}

/* Copies `bytes` bytes of text. False, and nothing written, if they and a NUL do not fit. */
static bool copy(char *out, size_t out_bytes, const char *text, size_t bytes)
{
    if (bytes >= out_bytes)
        return false;
    memcpy(out, text, bytes);
    out[bytes] = '\0';
    return true;
}

int value_parse_address(const char *text, size_t text_bytes, char *host, size_t host_bytes,
                        uint16_t *port)
{
    char name[256];
    uint64_t number;
    size_t colon = text_bytes;
    while (colon > 0 && text[colon - 1] != ':')
        colon--;
    if (colon == 0)
        return -EINVAL;
    if (!bytes_parse_u64(bytes_of(text + colon, text_bytes - colon), &number) || number == 0 ||
        number > UINT16_MAX)
        return -EINVAL;
    size_t name_bytes = colon - 1;
    const bool bracketed = name_bytes >= 2 && text[0] == '[' && text[name_bytes - 1] == ']';
    if (!copy(name, sizeof name, text + bracketed, name_bytes - 2 * bracketed))
        return -EINVAL;
    if (bracketed ? !is_ipv6(name) : !is_host_name(name))
        return -EINVAL;
    if (!copy(host, host_bytes, name, strlen(name)))
        return -EINVAL;
    *port = (uint16_t)number;
    return 0;
}

int value_parse_bind(const char *text, char *host, size_t host_bytes)
{
    char address[IPV6_BYTES_MAX];
    struct in_addr ipv4;
    size_t bytes = strlen(text);
    const bool bracketed = bytes >= 2 && text[0] == '[' && text[bytes - 1] == ']';
    if (!copy(address, sizeof address, text + bracketed, bytes - 2 * bracketed))
        return -EINVAL;
    if (!is_ipv6(address) && (bracketed || inet_pton(AF_INET, address, &ipv4) != 1))
        return -EINVAL;
    return copy(host, host_bytes, address, strlen(address)) ? 0 : -EINVAL;
}

bool value_is_name(const char *text, size_t bytes_max)
{
    size_t bytes = 0;
    for (; text[bytes] != '\0'; bytes++) {
        if (text[bytes] <= ' ' || text[bytes] > '~' || text[bytes] == '=')
            return false;
    }
    return bytes >= 1 && bytes <= bytes_max;
}

static void format_in(char out[VALUE_TEXT_BYTES_MAX], uint64_t value, const struct unit *unit)
{
    while (unit->factor > 1 && (value == 0 || value % unit->factor != 0))
        unit++;
    snprintf(out, VALUE_TEXT_BYTES_MAX, "%" PRIu64 "%s", value / unit->factor, unit->name);
}

void value_format_size(char out[VALUE_TEXT_BYTES_MAX], uint64_t bytes)
{
    format_in(out, bytes, SIZES);
}

void value_format_time(char out[VALUE_TEXT_BYTES_MAX], uint64_t ms)
{
    format_in(out, ms, TIMES);
}
