/* Collects the options from their sources, lowest first, and says what is wrong with them. */
#include "options.h"

#include "escape.h"
#include "options_file.h"
#include "options_table.h"
#include "value.h"

#include "kv/check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>

#define REASON_BYTES 1024 /* an error line before it is escaped and cut */

/* Where a value came from, the lowest first. */
enum source_kind { SOURCE_DEFAULT, SOURCE_FILE, SOURCE_ENVIRONMENT, SOURCE_COMMAND_LINE };
struct source {
    enum source_kind kind;
    int line; /* of a file */
};

struct parser {
    struct options *o;
    const char *path; /* of the configuration file, NULL = none; borrowed */
    struct source path_source;
    struct source sources[OPTION_COUNT]; /* of the values in o */
    const struct option *above; /* in the file, the option of the setting before */
    char reason[REASON_BYTES];
};

/* What the parser makes of one command-line argument. */
struct flag {
    const struct option *option;
    const char *value; /* NULL for a switch; borrowed */
};

/* Room for a value in a message: enough to recognise it by. */
#define SHOWN "%.100s"

__attribute__((format(printf, 2, 3))) static int fail(struct parser *p, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(p->reason, sizeof p->reason, format, arguments);
    va_end(arguments);
    return -EINVAL;
}

static void describe_source(const struct parser *p, const struct option *option,
                            struct source source, char out[OPTIONS_TEXT_MAX])
{
    char variable[OPTIONS_VARIABLE];
    switch (source.kind) {
    case SOURCE_DEFAULT:
        snprintf(out, OPTIONS_TEXT_MAX, "default");
        break;
    case SOURCE_FILE:
        snprintf(out, OPTIONS_TEXT_MAX, SHOWN ":%d", p->path, source.line);
        break;
    case SOURCE_ENVIRONMENT:
        option_variable(option, variable);
        snprintf(out, OPTIONS_TEXT_MAX, "environment variable %s", variable);
        break;
    case SOURCE_COMMAND_LINE:
        snprintf(out, OPTIONS_TEXT_MAX, "command line");
        break;
    }
}

/* bad: the part of text that is wrong, NULL if it is the whole. */
static int fail_part(struct parser *p, const struct option *option, struct source source,
                     const char *text, const char *bad)
{
    char from[OPTIONS_TEXT_MAX], expected[OPTIONS_EXPECTED_BYTES];
    describe_source(p, option, source, from);
    option_describe_expected(option, expected);
    if (bad == NULL)
        return fail(p, "--%s \"" SHOWN "\" (%s): expected %s", option->name, text, from, expected);
    return fail(p, "--%s \"" SHOWN "\" (%s): expected %s; wrong from \"" SHOWN "\" on",
                option->name, text, from, expected, bad);
}

static int fail_value(struct parser *p, const struct option *option, struct source source,
                      const char *text)
{
    return fail_part(p, option, source, text, NULL);
}

/* Adds to the peers, which begin anew unless text continues a list. */
static int set_peers(struct parser *p, struct source source, const char *text, bool continues)
{
    if (!continues)
        p->o->peer_count = 0;
    const char *bad = option_add_peers(p->o, text);
    if (bad != NULL)
        return fail_part(p, &OPTION_TABLE[OPTION_PEERS_ID], source, text, bad);
    return 0;
}

static int set(struct parser *p, const struct option *option, struct source source,
               const char *text)
{
    if (option->kind == OPTION_PEERS)
        return set_peers(p, source, text, false);
    if (option_store(p->o, option, text) != 0)
        return fail_value(p, option, source, text);
    p->sources[option - OPTION_TABLE] = source;
    return 0;
}

static int set_defaults(struct parser *p)
{
    int result = 0;
    for (size_t i = 0; i < OPTION_COUNT && result == 0; i++) {
        if (OPTION_TABLE[i].default_text != NULL)
            result = set(p, &OPTION_TABLE[i], (struct source){SOURCE_DEFAULT, 0},
                         OPTION_TABLE[i].default_text);
    }
    return result;
}

static int set_from_file(void *user, int line, const char *key, const char *value, bool continues)
{
    struct parser *p = user;
    const struct source source = {SOURCE_FILE, line};
    const struct option *option = continues ? p->above : option_find(key, strlen(key));
    if (option == NULL || option->kind == OPTION_SWITCH || option->kind == OPTION_CONFIG) {
        const struct option *nearest = option == NULL ? option_nearest(key, strlen(key)) : NULL;
        char advice[OPTIONS_EXPECTED_BYTES] = "--help lists those that take a value";
        if (nearest != NULL)
            snprintf(advice, sizeof advice, "did you mean %s?", nearest->name);
        return fail(p, SHOWN ":%d: \"" SHOWN "\" = \"" SHOWN "\" is no option here: %s", p->path,
                    line, key, value, advice);
    }
    p->above = option;
    if (!continues)
        return set(p, option, source, value);
    if (option->kind == OPTION_PEERS)
        return set_peers(p, source, value, true);
    return fail(p,
                "--%s \"" SHOWN "\" (" SHOWN
                ":%d): expected no indent, since only peers go on on a second line",
                option->name, value, p->path, line);
}

static int read_file(struct parser *p)
{
    if (p->path == NULL)
        return 0;
    int result = options_file_read(p->path, set_from_file, p, p->reason, sizeof p->reason);
    if (result == 0 || result == -EBADMSG || result == -ECANCELED)
        return result == 0 ? 0 : -EINVAL;
    const struct option *option = &OPTION_TABLE[OPTION_CONFIG_ID];
    char from[OPTIONS_TEXT_MAX], expected[OPTIONS_EXPECTED_BYTES];
    describe_source(p, option, p->path_source, from);
    option_describe_expected(option, expected);
    return fail(p, "--%s \"" SHOWN "\" (%s): %s; expected %s", option->name, p->path, from,
                strerror(-result), expected);
}

/* The value of a variable, NULL if it is not set or empty. */
static const char *find_variable(char **env, const char *name)
{
    const size_t bytes = strlen(name);
    for (; *env != NULL; env++) {
        if (strncmp(*env, name, bytes) == 0 && (*env)[bytes] == '=')
            return (*env)[bytes + 1] != '\0' ? *env + bytes + 1 : NULL;
    }
    return NULL;
}

static int read_environment(struct parser *p, char **env)
{
    int result = 0;
    for (size_t i = 0; i < OPTION_COUNT && result == 0; i++) {
        const struct option *option = &OPTION_TABLE[i];
        char name[OPTIONS_VARIABLE];
        option_variable(option, name);
        const char *value = option->kind == OPTION_SWITCH ? NULL : find_variable(env, name);
        if (value != NULL)
            result = set(p, option, (struct source){SOURCE_ENVIRONMENT, 0}, value);
    }
    return result;
}

static int fail_unknown_flag(struct parser *p, const char *argument)
{
    const char *name = argument + strspn(argument, "-");
    const int bytes = (int)strcspn(argument, "=");
    const struct option *nearest = option_nearest(name, strcspn(name, "="));
    if (argument[0] != '-')
        return fail(p, "\"" SHOWN "\" is no option: expected --option value, such as --port 8080",
                    argument);
    if (nearest == NULL)
        return fail(p, "%.*s is no option: --help lists them", bytes < 100 ? bytes : 100, argument);
    return fail(p, "%.*s is no option: did you mean --%s?", bytes < 100 ? bytes : 100, argument,
                nearest->name);
}

/* Takes the flag at argv[*i], and its value, which may be the next argument; *i moves on. */
static int next_flag(struct parser *p, char **argv, int *i, struct flag *flag)
{
    const char *argument = argv[(*i)++];
    const size_t bytes = strcspn(argument, "=");
    const char *joined = argument[bytes] == '=' ? argument + bytes + 1 : NULL;
    char expected[OPTIONS_EXPECTED_BYTES];
    flag->option = NULL;
    flag->value = joined;
    if (strncmp(argument, "--", 2) == 0)
        flag->option = option_find(argument + 2, bytes - 2);
    if (flag->option == NULL)
        return fail_unknown_flag(p, argument);
    if (flag->option->kind == OPTION_SWITCH) {
        if (joined == NULL)
            return 0;
        return fail_value(p, flag->option, (struct source){SOURCE_COMMAND_LINE, 0}, joined);
    }
    if (joined != NULL)
        return 0;
    flag->value = argv[*i];
    if (flag->value != NULL && strncmp(flag->value, "--", 2) != 0) {
        (*i)++;
        return 0;
    }
    option_describe_expected(flag->option, expected);
    return fail(p, "--%s has no value: expected %s", flag->option->name, expected);
}

/* The first look at the command line: are all flags known, and which ones come before the rest? */
static int scan_flags(struct parser *p, char **argv, int argc)
{
    for (int i = 1; i < argc;) {
        struct flag flag;
        int result = next_flag(p, argv, &i, &flag);
        if (result != 0)
            return result;
        if (flag.option->kind == OPTION_SWITCH)
            memcpy((char *)p->o + flag.option->offset, &(bool){true}, sizeof(bool));
        if (flag.option->kind == OPTION_CONFIG) {
            p->path = flag.value;
            p->path_source = (struct source){SOURCE_COMMAND_LINE, 0};
        }
    }
    return 0;
}

static int read_flags(struct parser *p, char **argv, int argc)
{
    int result = 0;
    for (int i = 1; i < argc && result == 0;) {
        struct flag flag;
        result = next_flag(p, argv, &i, &flag);
        if (result == 0 && flag.option->kind != OPTION_SWITCH)
            result = set(p, flag.option, (struct source){SOURCE_COMMAND_LINE, 0}, flag.value);
    }
    return result;
}

/* A way to keep data that is not kept. The check and the health check leave the data alone. */
static int check_disk_options(struct parser *p)
{
    static const enum option_id ids[] = {OPTION_FSYNC_ID, OPTION_SEGMENT_SIZE_ID,
                                         OPTION_SNAPSHOT_SIZE_ID, OPTION_SNAPSHOT_PERCENT_ID};
    const struct options *o = p->o;
    char from[OPTIONS_TEXT_MAX];
    if (o->repair_tail && o->check[0] == '\0')
        return fail(p, "--repair-tail without --check: expected --check with a data directory");
    if (o->data_dir[0] != '\0' || o->check[0] != '\0' || o->healthcheck)
        return 0;
    if (o->salvage)
        return fail(p, "--salvage without --data-dir: expected --data-dir with a damaged one");
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        const struct option *option = &OPTION_TABLE[ids[i]];
        if (p->sources[ids[i]].kind == SOURCE_DEFAULT)
            continue;
        describe_source(p, option, p->sources[ids[i]], from);
        return fail(p,
                    "--%s (%s) without --data-dir: expected a directory for --data-dir, or no --%s "
                    "for a node in memory only",
                    option->name, from, option->name);
    }
    return 0;
}

/* What is right by itself and wrong together. */
static int check_conflicts(struct parser *p)
{
    const struct options *o = p->o;
    const struct source value = p->sources[OPTION_MAX_VALUE_ID];
    const struct source memory = p->sources[OPTION_MAX_MEMORY_ID];
    char value_from[OPTIONS_TEXT_MAX], value_text[VALUE_TEXT_BYTES_MAX];
    char memory_from[OPTIONS_TEXT_MAX], memory_text[VALUE_TEXT_BYTES_MAX];
    if (value.kind != SOURCE_DEFAULT && o->max_memory_bytes != 0 &&
        o->max_value_bytes > o->max_memory_bytes) {
        describe_source(p, &OPTION_TABLE[OPTION_MAX_VALUE_ID], value, value_from);
        describe_source(p, &OPTION_TABLE[OPTION_MAX_MEMORY_ID], memory, memory_from);
        value_format_size(value_text, o->max_value_bytes);
        value_format_size(memory_text, o->max_memory_bytes);
        return fail(p,
                    "--max-value \"%s\" (%s): expected no more than --max-memory, which is "
                    "\"%s\" (%s)",
                    value_text, value_from, memory_text, memory_from);
    }
    if (o->backup_dir[0] != '\0' && strcmp(o->backup_dir, o->data_dir) == 0)
        return fail(p, "--backup-dir \"" SHOWN "\": expected another directory than --data-dir",
                    o->backup_dir);
    if (o->export_json && o->import_json)
        return fail(p, "--export with --import: expected one of them");
    if (o->healthcheck && o->port == 0)
        return fail(p,
                    "--healthcheck with --port \"0\": expected the port that the node listens on");
    return check_disk_options(p);
}

static int parse(struct parser *p, int argc, char **argv, char **env)
{
    int result = set_defaults(p);
    if (result == 0)
        result = scan_flags(p, argv, argc);
    if (result != 0 || p->o->show_help || p->o->show_version)
        return result;
    if (p->path == NULL) {
        p->path = find_variable(env, "KV_CONFIG");
        p->path_source = (struct source){SOURCE_ENVIRONMENT, 0};
    }
    result = read_file(p);
    if (result == 0)
        result = read_environment(p, env);
    if (result == 0)
        result = read_flags(p, argv, argc);
    if (result == 0)
        result = check_conflicts(p);
    return result;
}

int options_parse(struct options *o, int argc, char **argv, char **env, char *error,
                  size_t error_bytes)
{
    struct parser p = {.o = o};
    memset(o, 0, sizeof *o);
    int result = parse(&p, argc, argv, env);
    if (result != 0)
        escape_text(error, error_bytes, p.reason, strlen(p.reason), ESCAPE_TEXT);
    return result;
}
