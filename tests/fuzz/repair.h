/* Checksums made right, so that what a fuzzer has changed gets past them. */
#ifndef FUZZ_REPAIR_H
#define FUZZ_REPAIR_H

#include "kv/buffer.h"

/* Of records that follow each other, as far as they look like some. In place. */
void repair_records(uint8_t *at, size_t size);

/* Of a file's header and entries (segment.h). positions: what marks say of their place, too. In
 * place. */
void repair_file(uint8_t *at, size_t size, bool positions);

/* Appends the frames (frame.h) that `from` looks like, and what is left of it as it is. */
void repair_frames(struct bytes from, struct buffer *out);

#endif
