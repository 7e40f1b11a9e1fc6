/* Backups to JSON lines and back, from one stream to another, a record at a time. */
#define _GNU_SOURCE /* getline */
#include "exchange.h"

#include "base64.h"
#include "escape.h"
#include "kv/segment.h"
#include "kv/stamp.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#define READ_BYTES (256u << 10)

struct exchange {
    FILE *in, *out, *messages;
    struct heap heap;
    struct buffer buffer; /* export: read, and not used yet; import: what is to be written */
    struct buffer text; /* a key or value in base64, or out of it */
    uint64_t offset; /* export: in the file, of what comes next */
    uint64_t line; /* import: the one at hand */
    uint64_t records;
    uint64_t now_ms;
};

static uint64_t wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void begin(struct exchange *x, FILE *in, FILE *out, FILE *messages)
{
    *x = (struct exchange){.in = in, .out = out, .messages = messages};
    x->heap = heap_of_c_library();
    x->now_ms = wall_ms();
    buffer_init(&x->buffer, &x->heap);
    buffer_init(&x->text, &x->heap);
}

static int end(struct exchange *x, int result)
{
    if (result == 0 && (fflush(x->out) != 0 || ferror(x->out))) {
        fprintf(x->messages, "simple-kv: cannot write: %s\n", strerror(errno));
        result = -EIO;
    }
    buffer_close(&x->buffer);
    buffer_close(&x->text);
    return result == 0 ? 0 : 1;
}

/* --- export -------------------------------------------------------------------------------- */

static int damaged(struct exchange *x, const char *what)
{
    fprintf(x->messages, "simple-kv: the backup %s at offset %" PRIu64 "\n", what, x->offset);
    return -EBADMSG;
}

static int out_of_memory(struct exchange *x)
{
    fprintf(x->messages, "simple-kv: out of memory\n");
    return -ENOMEM;
}

/* Reads on. 1, or 0 at the end of the file, or an error. */
static int fetch(struct exchange *x)
{
    uint8_t *at = buffer_reserve(&x->buffer, READ_BYTES);
    if (at == NULL)
        return out_of_memory(x);
    size_t got = fread(at, 1, READ_BYTES, x->in);
    buffer_added(&x->buffer, got);
    if (got == 0 && ferror(x->in)) {
        fprintf(x->messages, "simple-kv: cannot read: %s\n", strerror(errno));
        return -EIO;
    }
    return got > 0;
}

/* Adds "NAME" or "NAME_base64" to the object. */
static bool add_bytes(struct exchange *x, json_t *object, const char *name, struct bytes bytes)
{
    char name_base64[32];
    const char *data = bytes.size == 0 ? "" : (const char *)bytes.data;
    json_t *string = json_stringn(data, bytes.size); /* NULL for what is no UTF-8 */
    if (string == NULL) {
        buffer_truncate(&x->text, 0);
        base64_encode(bytes, &x->text);
        if (buffer_failed(&x->text))
            return false;
        string = json_stringn((const char *)x->text.data + x->text.start, buffer_size(&x->text));
        snprintf(name_base64, sizeof name_base64, "%s_base64", name);
        name = name_base64;
    }
    return json_object_set_new(object, name, string) == 0;
}

static int export_record(struct exchange *x, const struct record *rec)
{
    x->records++;
    if (rec->tombstone || record_expired(rec, x->now_ms))
        return 0;
    if (rec->expires_ms > INT64_MAX)
        return damaged(x, "has an expiry beyond all time");
    json_t *object = json_object();
    bool made =
        object != NULL && add_bytes(x, object, "key", rec->key) &&
        add_bytes(x, object, "value", rec->value) &&
        (rec->expires_ms == 0 ||
         json_object_set_new(object, "expires_ms", json_integer((json_int_t)rec->expires_ms)) == 0);
    int result = made ? 0 : out_of_memory(x);
    if (made && (json_dumpf(object, x->out, JSON_COMPACT) != 0 || fputc('\n', x->out) == EOF)) {
        fprintf(x->messages, "simple-kv: cannot write: %s\n", strerror(errno));
        result = -EIO;
    }
    json_decref(object);
    return result;
}

/* 1 go on, 0 the end mark. */
static int export_entry(struct exchange *x, const struct segment_entry *e)
{
    if (e->kind == ENTRY_RECORD) {
        int error = export_record(x, &e->record);
        return error == 0 ? 1 : error;
    }
    if (e->kind == ENTRY_ZEROS)
        return damaged(x, "is damaged");
    if (e->mark.position != x->offset || e->mark.records != x->records)
        return damaged(x, "is damaged: something is missing before what is");
    return e->mark.type == MARK_END ? 0 : 1;
}

static int export_header(struct exchange *x)
{
    struct segment_header header;
    int got = 1, size = 0;
    while (got > 0 && (size = segment_header_decode(&header, buffer_bytes(&x->buffer))) == 0)
        got = fetch(x);
    if (got < 0)
        return got;
    if (size == -EPROTONOSUPPORT)
        return damaged(x, "is of another format version");
    if (size <= 0 || header.kind == SEGMENT_JOURNAL) {
        fprintf(x->messages, "simple-kv: this is no backup, or its beginning is damaged\n");
        return -EBADMSG;
    }
    buffer_consume(&x->buffer, SEGMENT_HEADER_BYTES);
    x->offset = SEGMENT_HEADER_BYTES;
    return 0;
}

static int export_entries(struct exchange *x)
{
    int result = 1;
    while (result > 0) {
        struct segment_entry entry;
        int64_t size = segment_entry_decode(&entry, buffer_bytes(&x->buffer));
        if (size < 0)
            return damaged(x, "is damaged");
        if (size == 0) {
            int got = fetch(x);
            if (got <= 0)
                return got < 0 ? got : damaged(x, "is cut off");
            continue;
        }
        result = export_entry(x, &entry);
        buffer_consume(&x->buffer, (size_t)size);
        x->offset += (uint64_t)size;
    }
    return result;
}

int exchange_export(FILE *in, FILE *out, FILE *messages)
{
    struct exchange x;
    begin(&x, in, out, messages);
    int result = export_header(&x);
    if (result == 0)
        result = export_entries(&x);
    return end(&x, result);
}

/* --- import -------------------------------------------------------------------------------- */

static int wrong(struct exchange *x, const char *what)
{
    fprintf(x->messages, "simple-kv: line %" PRIu64 ": %s\n", x->line, what);
    return -EINVAL;
}

static int write_buffer(struct exchange *x)
{
    struct bytes bytes = buffer_bytes(&x->buffer);
    if (buffer_failed(&x->buffer))
        return out_of_memory(x);
    if (fwrite(bytes.data, 1, bytes.size, x->out) != bytes.size) {
        fprintf(x->messages, "simple-kv: cannot write: %s\n", strerror(errno));
        return -EIO;
    }
    x->offset += bytes.size;
    buffer_consume(&x->buffer, bytes.size);
    return 0;
}

static void put_mark(struct exchange *x, enum mark_type type)
{
    struct vector none;
    struct mark mark = {
        .type = type, .position = x->offset + buffer_size(&x->buffer), .records = x->records};
    vector_init(&none, &x->heap);
    mark_encode(&mark, &none, &none, &x->buffer);
}

/* Finds one of "key" and "key_base64" (likewise value); what is base64 is decoded behind x->text,
 * since a record may have two. *in_text: whether it was. */
static int find_bytes(struct exchange *x, const json_t *object, const char *const names[2],
                      struct bytes *out, bool *in_text)
{
    const json_t *plain = json_object_get(object, names[0]);
    const json_t *encoded = json_object_get(object, names[1]);
    const json_t *given = plain != NULL ? plain : encoded;
    char reason[80];
    if ((plain == NULL) == (encoded == NULL) || !json_is_string(given)) {
        snprintf(reason, sizeof reason, "expected one text, \"%s\" or \"%s\"", names[0], names[1]);
        return wrong(x, reason);
    }
    struct bytes text = bytes_of(json_string_value(given), json_string_length(given));
    size_t before = buffer_size(&x->text);
    *in_text = encoded != NULL;
    *out = text;
    if (!*in_text)
        return 0;
    if (base64_decode(text, &x->text) != 0) {
        snprintf(reason, sizeof reason, "\"%s\" is no base64", names[1]);
        return wrong(x, reason);
    }
    *out = bytes_of(NULL, buffer_size(&x->text) - before);
    return buffer_failed(&x->text) ? out_of_memory(x) : 0;
}

static int find_expiry(struct exchange *x, const json_t *object, uint64_t *expires_ms)
{
    const json_t *given = json_object_get(object, "expires_ms");
    *expires_ms = 0;
    if (given == NULL)
        return 0;
    if (!json_is_integer(given) || json_integer_value(given) <= 0)
        return wrong(x, "expected \"expires_ms\" to be Unix milliseconds, a whole number over 0");
    *expires_ms = (uint64_t)json_integer_value(given);
    return 0;
}

static int find_record(struct exchange *x, const json_t *object, struct record *rec)
{
    static const char *const key_names[] = {"key", "key_base64"};
    static const char *const value_names[] = {"value", "value_base64"};
    bool key_in_text = false, value_in_text = false;
    buffer_truncate(&x->text, 0);
    int result = find_bytes(x, object, key_names, &rec->key, &key_in_text);
    if (result == 0)
        result = find_bytes(x, object, value_names, &rec->value, &value_in_text);
    if (result == 0)
        result = find_expiry(x, object, &rec->expires_ms);
    if (result != 0)
        return result;
    /* Only now does the buffer stay where it is. */
    const uint8_t *decoded = buffer_bytes(&x->text).data;
    if (key_in_text)
        rec->key.data = decoded;
    if (value_in_text && rec->value.size > 0)
        rec->value.data = decoded + (key_in_text ? rec->key.size : 0);
    if (json_object_size(object) != 2u + (rec->expires_ms != 0))
        return wrong(x, "expected nothing but a key, a value and \"expires_ms\"");
    if (rec->key.size == 0 || rec->key.size > RECORD_KEY_BYTES_MAX)
        return wrong(x, "expected a key of 1 to 65535 bytes");
    if (rec->value.size > RECORD_VALUE_BYTES_MAX)
        return wrong(x, "expected a value of at most 512 MiB");
    return 0;
}

static int import_line(struct exchange *x, struct record *rec, const char *text, size_t size)
{
    json_error_t error;
    char reason[JSON_ERROR_TEXT_LENGTH + 40], where[JSON_ERROR_TEXT_LENGTH];
    json_t *object = json_loadb(text, size, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &error);
    if (object == NULL) {
        /* It quotes the line, whatever is in there. */
        escape_text(where, sizeof where, error.text, strlen(error.text), ESCAPE_TEXT);
        snprintf(reason, sizeof reason, "this is no JSON object: %s", where);
        return wrong(x, reason);
    }
    int result = find_record(x, object, rec);
    if (result == 0) {
        uint8_t *at = buffer_reserve(&x->buffer, record_bytes(rec));
        if (at != NULL) {
            record_encode(rec, at);
            buffer_added(&x->buffer, record_bytes(rec));
            x->records++;
        }
        result = buffer_size(&x->buffer) < READ_BYTES ? 0 : write_buffer(x);
    }
    json_decref(object);
    return result;
}

static bool is_blank(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r' && text[i] != '\n')
            return false;
    }
    return true;
}

static int import_lines(struct exchange *x, uint64_t origin)
{
    char *text = NULL;
    size_t room = 0;
    ssize_t size;
    int result = 0;
    struct stamp_clock clock = {0};
    errno = 0;
    while (result == 0 && (size = getline(&text, &room, x->in)) >= 0) {
        struct record rec = {.origin = origin, .stamp = stamp_next(&clock, x->now_ms)};
        x->line++;
        if (!is_blank(text, (size_t)size))
            result = import_line(x, &rec, text, (size_t)size);
    }
    if (result == 0 && !feof(x->in)) {
        fprintf(x->messages, "simple-kv: cannot read: %s\n", strerror(errno));
        result = -EIO;
    }
    free(text);
    return result;
}

int exchange_import(FILE *in, FILE *out, FILE *messages)
{
    struct exchange x;
    uint64_t random;
    begin(&x, in, out, messages);
    if (getrandom(&random, sizeof random, 0) != sizeof random) {
        fprintf(messages, "simple-kv: no randomness: %s\n", strerror(errno));
        return end(&x, -EIO);
    }
    struct segment_header header = {
        .kind = SEGMENT_BACKUP, .created_ms = x.now_ms, .origin = random == 0 ? 1 : random};
    uint8_t *at = buffer_reserve(&x.buffer, SEGMENT_HEADER_BYTES);
    if (at == NULL)
        return end(&x, out_of_memory(&x));
    segment_header_encode(&header, at);
    buffer_added(&x.buffer, SEGMENT_HEADER_BYTES);
    put_mark(&x, MARK_VECTOR);
    int result = import_lines(&x, header.origin);
    if (result == 0) {
        put_mark(&x, MARK_END);
        result = write_buffer(&x);
    }
    return end(&x, result);
}
