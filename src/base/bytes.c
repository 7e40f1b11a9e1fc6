/* Comparing, parsing and matching byte slices. */
#include "kv/bytes.h"

int bytes_compare(struct bytes a, struct bytes b)
{
    size_t shared = a.size < b.size ? a.size : b.size;
    int order = shared == 0 ? 0 : memcmp(a.data, b.data, shared);
    if (order != 0)
        return order;
    return (a.size > b.size) - (a.size < b.size);
}

static uint8_t upper(uint8_t c)
{
    return c >= 'a' && c <= 'z' ? (uint8_t)(c - 'a' + 'A') : c;
}

bool bytes_equal_ignoring_case(struct bytes a, struct bytes b)
{
    if (a.size != b.size)
        return false;
    for (size_t i = 0; i < a.size; i++) {
        if (upper(a.data[i]) != upper(b.data[i]))
            return false;
    }
    return true;
}

bool bytes_are_zero(struct bytes b)
{
    for (size_t i = 0; i < b.size; i++) {
        if (b.data[i] != 0)
            return false;
    }
    return true;
}

bool bytes_parse_u64(struct bytes text, uint64_t *out)
{
    uint64_t value = 0;
    if (text.size == 0)
        return false;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(text.data[i] - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

bool bytes_parse_i64(struct bytes text, int64_t *out)
{
    bool negative = text.size > 0 && text.data[0] == '-';
    uint64_t magnitude;
    if (!bytes_parse_u64(bytes_after(text, negative), &magnitude))
        return false;
    if (magnitude > (uint64_t)INT64_MAX + negative)
        return false;
    *out = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

/* Matches one class such as [a-z] that starts at glob.data[at], an opening bracket. Returns where
 * the class ends (one past its bracket), and says in *matched whether it holds c. */
static size_t match_class(struct bytes glob, size_t at, uint8_t c, bool *matched)
{
    bool found = false;
    size_t i = at + 1;
    bool inverted = i < glob.size && glob.data[i] == '^';
    if (inverted)
        i++;
    for (bool first = true; i < glob.size && (glob.data[i] != ']' || first); first = false) {
        if (glob.data[i] == '\\' && i + 1 < glob.size)
            i++;
        uint8_t low = glob.data[i], high = low;
        if (i + 2 < glob.size && glob.data[i + 1] == '-' && glob.data[i + 2] != ']') {
            high = glob.data[i + 2];
            i += 2;
        }
        if (low > high) {
            uint8_t swap = low;
            low = high;
            high = swap;
        }
        found = found || (c >= low && c <= high);
        i++;
    }
    *matched = found != inverted;
    return i < glob.size ? i + 1 : i;
}

/* Matches the one glob element at `at` against c. Returns where the next element starts. */
static size_t match_one(struct bytes glob, size_t at, uint8_t c, bool *matched)
{
    if (glob.data[at] == '?') {
        *matched = true;
        return at + 1;
    }
    if (glob.data[at] == '[')
        return match_class(glob, at, c, matched);
    if (glob.data[at] == '\\' && at + 1 < glob.size)
        at++;
    *matched = glob.data[at] == c;
    return at + 1;
}

bool bytes_match_glob(struct bytes glob, struct bytes text)
{
    /* Only the last star can need another try: an earlier one that matched less would only leave
     * the later one more to match. So this is quadratic at worst, never exponential. */
    size_t g = 0, t = 0, star_g = SIZE_MAX, star_t = 0;
    while (t < text.size) {
        bool matched = false;
        if (g < glob.size && glob.data[g] == '*') {
            star_g = ++g;
            star_t = t;
            continue;
        }
        if (g < glob.size) {
            size_t next = match_one(glob, g, text.data[t], &matched);
            if (matched) {
                g = next;
                t++;
                continue;
            }
        }
        if (star_g == SIZE_MAX)
            return false;
        g = star_g;
        t = ++star_t;
    }
    while (g < glob.size && glob.data[g] == '*')
        g++;
    return g == glob.size;
}
