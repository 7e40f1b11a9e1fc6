/* Base64: three bytes are four letters. */
#include "base64.h"

#include <errno.h>

static const char LETTERS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(struct bytes bytes, struct buffer *out)
{
    uint8_t *at = buffer_reserve(out, (bytes.size + 2) / 3 * 4);
    if (at == NULL)
        return;
    for (size_t i = 0; i < bytes.size; i += 3) {
        size_t left = bytes.size - i;
        uint32_t group = (uint32_t)bytes.data[i] << 16;
        group |= left > 1 ? (uint32_t)bytes.data[i + 1] << 8 : 0;
        group |= left > 2 ? bytes.data[i + 2] : 0;
        *at++ = (uint8_t)LETTERS[group >> 18];
        *at++ = (uint8_t)LETTERS[group >> 12 & 63];
        *at++ = left > 1 ? (uint8_t)LETTERS[group >> 6 & 63] : '=';
        *at++ = left > 2 ? (uint8_t)LETTERS[group & 63] : '=';
    }
    buffer_added(out, (bytes.size + 2) / 3 * 4);
}

/* 0 … 63, or more for what is no letter. */
static uint32_t value_of(uint8_t letter)
{
    if (letter >= 'A' && letter <= 'Z')
        return letter - (uint32_t)'A';
    if (letter >= 'a' && letter <= 'z')
        return letter - (uint32_t)'a' + 26;
    if (letter >= '0' && letter <= '9')
        return letter - (uint32_t)'0' + 52;
    return letter == '+' ? 62 : letter == '/' ? 63 : 64;
}

/* The bytes that four letters stand for; -EINVAL when they are none. */
static int decode_group(const uint8_t *letters, bool last, uint8_t bytes[3])
{
    int padding = 0;
    if (last && letters[3] == '=')
        padding = letters[2] == '=' ? 2 : 1;
    uint32_t group = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t value = i >= 4 - padding ? 0 : value_of(letters[i]);
        if (value > 63)
            return -EINVAL;
        group = group << 6 | value;
    }
    /* Bits that stand for nothing are 0: each text has one meaning, and each meaning one text. */
    if ((padding == 1 && (group & 0xff) != 0) || (padding == 2 && (group & 0xffff) != 0))
        return -EINVAL;
    bytes[0] = (uint8_t)(group >> 16);
    bytes[1] = (uint8_t)(group >> 8);
    bytes[2] = (uint8_t)group;
    return 3 - padding;
}

int base64_decode(struct bytes text, struct buffer *out)
{
    size_t before = buffer_size(out);
    if (text.size % 4 != 0)
        return -EINVAL;
    for (size_t i = 0; i < text.size; i += 4) {
        uint8_t bytes[3];
        int count = decode_group(text.data + i, i + 4 == text.size, bytes);
        if (count < 0) {
            buffer_truncate(out, before);
            return -EINVAL;
        }
        buffer_append(out, bytes_of(bytes, (size_t)count));
    }
    return 0;
}
