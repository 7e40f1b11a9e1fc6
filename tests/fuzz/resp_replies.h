/* What a client that speaks RESP makes of the bytes it gets. */
#ifndef RESP_REPLIES_H
#define RESP_REPLIES_H

#include "kv/bytes.h"

/* Aborts unless the bytes are whole, well-formed replies. Returns how many. */
size_t resp_replies_check(struct bytes bytes);

#endif
