/* From an option's text to the field of its value. */
#include "options_table.h"

#include "value.h"

#include "kv/check.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

void option_describe_expected(const struct option *option, char out[OPTIONS_EXPECTED_BYTES])
{
    char min[VALUE_TEXT_BYTES_MAX], max[VALUE_TEXT_BYTES_MAX];
    switch (option->kind) {
    case OPTION_NUMBER:
        snprintf(out, OPTIONS_EXPECTED_BYTES, "a whole number from %" PRIu64 " to %" PRIu64,
                 option->min, option->max);
        break;
    case OPTION_SIZE:
        value_format_size(min, option->min);
        value_format_size(max, option->max);
        snprintf(out, OPTIONS_EXPECTED_BYTES,
                 "a size from %s to %s: bytes, or a number with KiB, MiB or GiB behind it", min,
                 max);
        break;
    case OPTION_TIME:
        value_format_time(min, option->min);
        value_format_time(max, option->max);
        snprintf(out, OPTIONS_EXPECTED_BYTES,
                 "a time from %s to %s: milliseconds, or a number with ms, s, m, h or d behind it",
                 min, max);
        break;
    case OPTION_CHOICE:
        snprintf(out, OPTIONS_EXPECTED_BYTES, "one of %s", option->placeholder);
        break;
    case OPTION_NAME:
        snprintf(out, OPTIONS_EXPECTED_BYTES,
                 "1 to %d printable ASCII characters without spaces and '='",
                 OPTIONS_NAME_BYTES_MAX);
        break;
    case OPTION_BIND:
        snprintf(out, OPTIONS_EXPECTED_BYTES,
                 "a numeric address such as 127.0.0.1, 0.0.0.0 or ::1");
        break;
    case OPTION_ADDRESS:
        snprintf(out, OPTIONS_EXPECTED_BYTES, "host:port, such as kv-node1:8080 or [::1]:8080");
        break;
    case OPTION_PEERS:
        snprintf(out, OPTIONS_EXPECTED_BYTES,
                 "host:port,… of at most %d peers, such as kv-node2:8080,[::1]:8080",
                 OPTIONS_PEERS_MAX);
        break;
    case OPTION_PATH:
        snprintf(out, OPTIONS_EXPECTED_BYTES, "a path of at most %d bytes", OPTIONS_TEXT_MAX - 1);
        break;
    case OPTION_CONFIG:
        snprintf(out, OPTIONS_EXPECTED_BYTES, "an INI file that can be read");
        break;
    case OPTION_SWITCH:
        snprintf(out, OPTIONS_EXPECTED_BYTES, "no value");
        break;
    }
}

static void store_number(struct options *o, const struct option *option, uint64_t value)
{
    _Static_assert(sizeof(enum log_level) == sizeof(uint32_t), "stored like a number");
    _Static_assert(sizeof(enum log_format) == sizeof(uint32_t), "stored like a number");
    _Static_assert(sizeof(enum options_rmw) == sizeof(uint32_t), "stored like a number");
    _Static_assert(sizeof(enum storage_sync) == sizeof(uint32_t), "stored like a number");
    char *field = (char *)o + option->offset;
    const uint16_t value16 = (uint16_t)value;
    const uint32_t value32 = (uint32_t)value;
    switch (option->size) {
    case sizeof value16:
        memcpy(field, &value16, sizeof value16);
        break;
    case sizeof value32:
        memcpy(field, &value32, sizeof value32);
        break;
    default:
        CHECK(option->size == sizeof value);
        memcpy(field, &value, sizeof value);
        break;
    }
}

/* A number, a size, a time or a choice. */
static int store_measure(struct options *o, const struct option *option, const char *text)
{
    uint64_t value = 0;
    int result = 0;
    if (option->kind == OPTION_CHOICE)
        result = value_parse_choice(text, option->placeholder, &value);
    else if (option->kind == OPTION_SIZE)
        result = value_parse_size(text, &value);
    else if (option->kind == OPTION_TIME)
        result = value_parse_time(text, &value);
    else
        result = value_parse_number(text, &value);
    if (result != 0)
        return result;
    if (option->kind != OPTION_CHOICE && (value < option->min || value > option->max))
        return -EINVAL;
    store_number(o, option, value);
    return 0;
}

static int store_name(struct options *o, const struct option *option, const char *text)
{
    if (!value_is_name(text, OPTIONS_NAME_BYTES_MAX))
        return -EINVAL;
    memcpy((char *)o + option->offset, text, strlen(text) + 1);
    return 0;
}

static int store_address(struct options *o, const struct option *option, const char *text)
{
    struct options_address address = {.port = 0};
    if (text[0] != '\0' && value_parse_address(text, strlen(text), address.host,
                                               sizeof address.host, &address.port) != 0)
        return -EINVAL;
    memcpy((char *)o + option->offset, &address, sizeof address);
    return 0;
}

static int store_path(struct options *o, const struct option *option, const char *text)
{
    size_t bytes = strlen(text);
    if (bytes < option->min || bytes >= option->size)
        return -EINVAL;
    memcpy((char *)o + option->offset, text, bytes + 1);
    return 0;
}

static int add_peer(struct options *o, const char *text, size_t text_bytes)
{
    struct options_address peer;
    if (value_parse_address(text, text_bytes, peer.host, sizeof peer.host, &peer.port) != 0)
        return -EINVAL;
    for (size_t i = 0; i < o->peer_count; i++) {
        if (o->peers[i].port == peer.port && strcasecmp(o->peers[i].host, peer.host) == 0)
            return 0;
    }
    if (o->peer_count == OPTIONS_PEERS_MAX)
        return -EINVAL;
    o->peers[o->peer_count++] = peer;
    return 0;
}

const char *option_add_peers(struct options *o, const char *text)
{
    static const char SPACES[] = " \t";
    for (text += strspn(text, SPACES); *text != '\0'; text += strspn(text, SPACES)) {
        size_t bytes = strcspn(text, ", \t");
        if (add_peer(o, text, bytes) != 0)
            return text;
        text += bytes;
        text += strspn(text, SPACES);
        if (*text == ',')
            text++;
        else if (*text != '\0')
            return text;
    }
    return NULL;
}

int option_store(struct options *o, const struct option *option, const char *text)
{
    switch (option->kind) {
    case OPTION_NUMBER:
    case OPTION_SIZE:
    case OPTION_TIME:
    case OPTION_CHOICE:
        return store_measure(o, option, text);
    case OPTION_NAME:
        return store_name(o, option, text);
    case OPTION_BIND:
        return value_parse_bind(text, (char *)o + option->offset, option->size);
    case OPTION_ADDRESS:
        return store_address(o, option, text);
    case OPTION_PATH:
        return store_path(o, option, text);
    case OPTION_PEERS: /* option_add_peers does */
    case OPTION_CONFIG: /* not a field */
    case OPTION_SWITCH:
        break;
    }
    return 0;
}
