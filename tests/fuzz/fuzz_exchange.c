/* JSON lines: what --import takes, --export gives back, in a form that stays the same from then on. */
#include "input.h"

#include "exchange.h"

#include <stdio.h>
#include <stdlib.h>

struct text {
    char *at; /* owned */
    size_t size;
};

static int run(int (*exchange)(FILE *, FILE *, FILE *), struct bytes from, struct text *to)
{
    struct text messages = {.size = 0};
    FILE *in = fmemopen((void *)(uintptr_t)from.data, from.size, "r");
    FILE *out = open_memstream(&to->at, &to->size), *said;
    said = open_memstream(&messages.at, &messages.size);
    CHECK(in != NULL && out != NULL && said != NULL);
    int status = exchange(in, out, said);
    fclose(in);
    fclose(out);
    fclose(said);
    CHECK(status == 0 || status == 1);
    CHECK((status == 0) == (messages.size == 0));
    CHECK(status == 0 || memchr(messages.at, '\n', messages.size) ==
                             messages.at + messages.size - 1); /* one line */
    free(messages.at);
    return status;
}

static struct bytes bytes_of_text(const struct text *text)
{
    return bytes_of(text->at, text->size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in;
    struct text backup = {.size = 0}, lines = {.size = 0}, second = {.size = 0}, same = {.size = 0};
    if (!fuzz_input_begin(&in, data, size) || in.rest.size == 0)
        return 0;
    if (run(exchange_import, in.rest, &backup) == 0) {
        CHECK(run(exchange_export, bytes_of_text(&backup), &lines) == 0);
        if (lines.size > 0) {
            CHECK(run(exchange_import, bytes_of_text(&lines), &second) == 0);
            CHECK(run(exchange_export, bytes_of_text(&second), &same) == 0);
            CHECK(bytes_equal(bytes_of_text(&lines), bytes_of_text(&same)));
        }
    }
    free(backup.at);
    free(lines.at);
    free(second.at);
    free(same.at);
    return 0;
}
