/* Feeds a file to the INI parser, keeping count of the lines, since the parser does not tell. */
#include "options_file.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <string.h>

#define WHITE_SPACE     " \t\r\f\v"
#define BYTE_ORDER_MARK "\xef\xbb\xbf"

struct reader {
    FILE *file;
    const char *path;
    int line; /* of the text that the parser has now, from 1 */
    bool continues; /* whether that text was handed over as a continuation */
    bool in_setting; /* whether there is a setting above that a line can continue */
    options_file_set *set;
    void *user;
    int result; /* 0, or why reading has stopped */
    char *error;
    size_t error_bytes;
};

static void malformed(struct reader *r, const char *text, const char *expected)
{
    r->result = -EBADMSG;
    snprintf(r->error, r->error_bytes, "%s:%d: \"%.60s\": expected %s", r->path, r->line, text,
             expected);
}

/* Reads one line without its end into text. Returns its bytes, -1 at the end or on an error. */
static int read_line(struct reader *r, char text[OPTIONS_FILE_LINE_BYTES_MAX + 1])
{
    int bytes = 0;
    int byte = fgetc(r->file);
    if (byte == EOF)
        return -1;
    r->line++;
    for (; byte != EOF && byte != '\n'; byte = fgetc(r->file)) {
        text[bytes] = '\0';
        if (byte == '\0') {
            malformed(r, text, "a text file, without NUL bytes");
            return -1;
        }
        if (bytes == OPTIONS_FILE_LINE_BYTES_MAX) {
            malformed(r, text, "a shorter line; an indented line may continue the one above");
            return -1;
        }
        text[bytes++] = (char)byte;
    }
    text[bytes] = '\0';
    return bytes;
}

/* The parser takes comments off the end of first lines only. */
static void cut_comment(char *text)
{
    for (char *at = text; *at != '\0'; at++) {
        if (*at == ';' && (at == text || isspace((unsigned char)at[-1]))) {
            *at = '\0';
            return;
        }
    }
}

/* What the parser calls for each line; `bytes` is more than a line can have here. */
static char *next_line(char *out, int bytes, void *user)
{
    struct reader *r = user;
    char text[OPTIONS_FILE_LINE_BYTES_MAX + 1];
    if (r->result != 0 || read_line(r, text) < 0)
        return NULL;
    cut_comment(text);
    const char *start = text;
    if (r->line == 1 && strncmp(text, BYTE_ORDER_MARK, strlen(BYTE_ORDER_MARK)) == 0)
        start += strlen(BYTE_ORDER_MARK);
    const bool indented = isspace((unsigned char)start[0]) != 0;
    start += strspn(start, WHITE_SPACE);
    const bool blank = start[0] == '\0' || start[0] == '#';
    r->continues = indented && !blank && r->in_setting && strchr(start, '=') == NULL;
    if (!blank && !r->continues && strpbrk(start, start[0] == '[' ? "]" : "=:") == NULL) {
        malformed(r, start, "option = value");
        return NULL;
    }
    if (start[0] == '[' && !r->continues)
        r->in_setting = false;
    /* Without its indent a setting cannot be taken for a continuation. */
    snprintf(out, (size_t)bytes, "%s\n", r->continues ? text : start);
    return out;
}

static int take_setting(void *user, const char *section, const char *key, const char *value)
{
    struct reader *r = user;
    if (r->result != 0)
        return 0;
    r->in_setting = true;
    if (section[0] != '\0' && strcmp(section, OPTIONS_FILE_SECTION) != 0)
        malformed(r, section, "the section [" OPTIONS_FILE_SECTION "] or none");
    else if (r->set(r->user, r->line, key, value, r->continues) != 0)
        r->result = -ECANCELED;
    return r->result == 0;
}

int options_file_read(const char *path, options_file_set *set, void *user, char *error,
                      size_t error_bytes)
{
    struct reader r = {.path = path, .set = set, .user = user};
    r.error = error;
    r.error_bytes = error_bytes;
    r.file = fopen(path, "r");
    if (r.file == NULL)
        return -errno;
    errno = 0;
    int parsed = ini_parse_stream(next_line, &r, take_setting, &r);
    if (r.result == 0 && ferror(r.file))
        r.result = errno != 0 ? -errno : -EIO;
    if (r.result == 0 && parsed != 0) {
        r.line = parsed;
        malformed(&r, "", "option = value");
    }
    fclose(r.file);
    return r.result;
}
