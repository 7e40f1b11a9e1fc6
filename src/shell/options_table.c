/* The table of options, and what needs nothing else: look-up, suggestions, --help. */
#include "options_table.h"

#include <ctype.h>
#include <string.h>

#define SUGGEST_BYTES_MAX 32 /* a longer name is not a misspelt one */
#define PREFIX_BYTES_MIN  3 /* a shorter beginning suggests nothing */
#define HELP_COLUMN       30

const struct option OPTION_TABLE[OPTION_COUNT] = {
#define OPTION_ROW(id, name, kind, min, max, field, default_text, placeholder, help)               \
    [OPTION_##id##_ID] = {name, OPTION_##kind, min, max, field, default_text, placeholder, help},
    OPTIONS(OPTION_ROW)
#undef OPTION_ROW
};

const struct option *option_find(const char *name, size_t name_bytes)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const char *known = OPTION_TABLE[i].name;
        if (strlen(known) == name_bytes && memcmp(known, name, name_bytes) == 0)
            return &OPTION_TABLE[i];
    }
    return NULL;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Levenshtein's distance: insertions, deletions and replacements of one byte each. */
static size_t distance(const char *a, size_t a_bytes, const char *b)
{
    size_t row[SUGGEST_BYTES_MAX + 1];
    const size_t b_bytes = strlen(b);
    for (size_t j = 0; j <= b_bytes; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_bytes; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_bytes; j++) {
            const bool same = tolower((unsigned char)a[i - 1]) == tolower((unsigned char)b[j - 1]);
            size_t replaced = diagonal + !same;
            diagonal = row[j];
            row[j] = least(replaced, least(row[j - 1], row[j]) + 1);
        }
    }
    return row[b_bytes];
}

const struct option *option_nearest(const char *name, size_t name_bytes)
{
    if (name_bytes > SUGGEST_BYTES_MAX)
        return NULL;
    const struct option *nearest = NULL;
    size_t best = name_bytes / 3 + 2; /* that many wrong bytes are too many */
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option *option = &OPTION_TABLE[i];
        size_t wrong = distance(name, name_bytes, option->name);
        if (name_bytes >= PREFIX_BYTES_MIN && strncmp(option->name, name, name_bytes) == 0)
            wrong = least(wrong, 1);
        if (wrong < best) {
            best = wrong;
            nearest = option;
        }
    }
    return nearest;
}

void option_variable(const struct option *option, char out[OPTIONS_VARIABLE])
{
    size_t used = 3;
    memcpy(out, "KV_", used);
    for (const char *at = option->name; *at != '\0' && used + 1 < OPTIONS_VARIABLE; at++)
        out[used++] = *at == '-' ? '_' : (char)toupper((unsigned char)*at);
    out[used] = '\0';
}

/* The bytes of text that take a column on a terminal: all but those that continue a character. */
static int columns(const char *text)
{
    int count = 0;
    for (; *text != '\0'; text++)
        count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

static void print_option(FILE *out, const struct option *option)
{
    fprintf(out, "  --%s %s", option->name, option->placeholder);
    int width = 5 + columns(option->name) + columns(option->placeholder);
    if (width >= HELP_COLUMN) {
        fputc('\n', out);
        width = 0;
    }
    fprintf(out, "%*s%s", HELP_COLUMN - width, "", option->help);
    if (option->default_text != NULL)
        fprintf(out, " [%s]", option->default_text);
    fputc('\n', out);
}

void options_print_help(FILE *out)
{
    fputs("Usage: simple-kv [OPTION]…\n"
          "\n"
          "A replicated in-memory key-value store: every node takes reads and writes.\n"
          "\n"
          "Options, with their defaults in brackets:\n",
          out);
    for (size_t i = 0; i < OPTION_COUNT; i++)
        print_option(out, &OPTION_TABLE[i]);
    fputs(
        "\n"
        "SIZE is a number of bytes, or one with KiB, MiB or GiB behind it: 64MiB.\n"
        "TIME is a number of milliseconds, or one with ms, s, m, h or d behind it: 5s.\n"
        "An option is written --option value or --option=value; the last one counts.\n"
        "\n"
        "Each option that takes a value may also be set by an environment variable, such as\n"
        "KV_ACK_TIMEOUT for --ack-timeout, or in the file that --config or KV_CONFIG names, as\n"
        "ack-timeout = 5s, without a section or in [simple-kv]. The command line comes before the\n"
        "environment, the environment before the file, the file before the default. An empty\n"
        "variable counts as not set; KV_ variables of other names are ignored.\n",
        out);
}
