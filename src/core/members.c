/* The members and the addresses. */
#include "kv/members.h"

#include "kv/check.h"
#include "kv/mutation.h"

#include <stdio.h>

void members_init(struct members *m, struct heap *heap)
{
    memset(m, 0, sizeof *m);
    m->heap = heap;
}

void members_close(struct members *m)
{
    for (uint32_t i = 0; i < m->count; i++) {
        vector_close(&m->list[i]->confirmed);
        vector_close(&m->list[i]->durable);
        heap_free(m->heap, m->list[i]);
    }
    m->count = 0;
}

struct member *members_find(const struct members *m, struct bytes name)
{
    for (uint32_t i = 0; i < m->count; i++) {
        if (bytes_equal(bytes_text(m->list[i]->name), name))
            return m->list[i];
    }
    return NULL;
}

struct member *members_add(struct members *m, struct bytes name)
{
    CHECK(name.size >= 1 && name.size <= MEMBER_NAME_BYTES);
    struct member *member = members_find(m, name);
    if (member != NULL || m->count == MEMBERS_MAX)
        return member;
    member = heap_zalloc(m->heap, sizeof *member);
    if (member == NULL)
        return NULL;
    memcpy(member->name, name.data, name.size);
    vector_init(&member->confirmed, m->heap);
    vector_init(&member->durable, m->heap);
    m->list[m->count++] = member;
    m->generation++;
    return member;
}

const struct vector *member_kept(const struct member *m)
{
    return m->keeps_disk && !MUTATED(APPLIED_AS_DURABLE) ? &m->durable : &m->confirmed;
}

struct address *members_find_unmet(struct members *m, struct bytes text)
{
    char known[ADDRESS_TEXT_BYTES];
    for (uint32_t i = 0; i < m->address_count; i++) {
        struct address *a = &m->addresses[i];
        address_text(a->host, a->port, known);
        if (a->member == NULL && a->state != ADDRESS_SELF && bytes_equal(bytes_text(known), text))
            return a;
    }
    return NULL;
}

static bool same_address(const char *host, uint16_t port, struct bytes other, uint16_t other_port)
{
    return port == other_port && bytes_equal(bytes_text(host), other);
}

static void set_host(char *host, struct bytes from)
{
    memcpy(host, from.data, from.size);
    host[from.size] = 0;
}

static struct address *find_address(struct members *m, struct bytes host, uint16_t port)
{
    for (uint32_t i = 0; i < m->address_count; i++) {
        if (same_address(m->addresses[i].host, m->addresses[i].port, host, port))
            return &m->addresses[i];
    }
    return NULL;
}

struct address *members_add_address(struct members *m, struct bytes host, uint16_t port,
                                    bool configured)
{
    CHECK(host.size >= 1 && host.size <= ADDRESS_HOST_BYTES);
    struct address *a = find_address(m, host, port);
    if (a != NULL || m->address_count == ADDRESSES_MAX)
        return a;
    a = &m->addresses[m->address_count++];
    memset(a, 0, sizeof *a);
    set_host(a->host, host);
    a->port = port;
    a->configured = configured;
    return a;
}

/* The address that was learned for this very member and may follow it when it moves. */
static struct address *learned_address(struct members *m, const struct member *member)
{
    for (uint32_t i = 0; i < m->address_count; i++) {
        struct address *a = &m->addresses[i];
        if (a->member == member && !a->configured && a->state == ADDRESS_IDLE)
            return a;
    }
    return NULL;
}

void members_set_address(struct members *m, struct member *member, struct bytes host, uint16_t port)
{
    if (host.size == 0 || host.size > ADDRESS_HOST_BYTES || port == 0)
        return;
    if (!same_address(member->host, member->port, host, port)) {
        set_host(member->host, host);
        member->port = port;
        m->generation++;
    }
    struct address *a = find_address(m, host, port);
    if (a != NULL) {
        /* Addresses move: what once led to this node may lead to another now. */
        if (a->state == ADDRESS_SELF)
            a->state = ADDRESS_IDLE;
        if (a->member == NULL)
            a->member = member;
        return;
    }
    a = learned_address(m, member);
    if (a != NULL) {
        set_host(a->host, host);
        a->port = port;
        a->dial_mono_ms = 0;
        a->backoff_ms = 0;
        return;
    }
    a = members_add_address(m, host, port, false);
    if (a != NULL)
        a->member = member;
}

bool address_is_due(const struct address *a, uint64_t mono_ms)
{
    return a->state == ADDRESS_IDLE && a->dial_mono_ms <= mono_ms &&
           (a->member == NULL || a->member->sender == NULL);
}

void address_failed(struct address *a, uint64_t mono_ms, struct random *random, const char *reason)
{
    a->state = ADDRESS_IDLE;
    a->backoff_ms = a->backoff_ms == 0 ? DIAL_BACKOFF_MIN_MS : a->backoff_ms * 2;
    if (a->backoff_ms > DIAL_BACKOFF_MAX_MS && !MUTATED(BACKOFF_UNBOUNDED))
        a->backoff_ms = DIAL_BACKOFF_MAX_MS;
    /* Half fixed, half random: nodes that lost each other together do not all dial together. */
    a->dial_mono_ms = mono_ms + a->backoff_ms / 2 + random_below(random, a->backoff_ms / 2 + 1);
    snprintf(a->reason, sizeof a->reason, "%s", reason);
}

void address_text(const char *host, uint16_t port, char *text)
{
    bool v6 = strchr(host, ':') != NULL;
    snprintf(text, ADDRESS_TEXT_BYTES, v6 ? "[%s]:%u" : "%s:%u", host, (unsigned)port);
}
