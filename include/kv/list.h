/* An intrusive doubly linked ring: the head and every member hold a struct list. */
#ifndef KV_LIST_H
#define KV_LIST_H

#include <stdbool.h>

struct list {
    struct list *next, *prev;
};

/* An empty head, or a member that is in no list. */
static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}
static inline bool list_is_empty(const struct list *l)
{
    return l->next == l;
}
static inline void list_push_back(struct list *head, struct list *item)
{
    item->prev = head->prev;
    item->next = head;
    head->prev->next = item;
    head->prev = item;
}
/* Takes the item out of whatever list it is in; harmless when in none. */
static inline void list_remove(struct list *item)
{
    item->prev->next = item->next;
    item->next->prev = item->prev;
    list_init(item);
}

/* Moves all items of `from` into the empty list `into`. */
static inline void list_take_all(struct list *into, struct list *from)
{
    if (list_is_empty(from))
        return;
    *into = *from;
    into->next->prev = into->prev->next = into;
    list_init(from);
}

/* Visits every item; the visited one may be removed. */
#define list_for_each(item, head)                                                                  \
    for (struct list *item = (head)->next, *item##_next = item->next; item != (head);              \
         item = item##_next, item##_next = item->next)

#endif
