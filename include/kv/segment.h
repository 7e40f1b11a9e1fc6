/* The one format of all files: segments of the journal, snapshots, backups.
 *
 * A file is a header and then entries, one after another. An entry is a record (record.h) or a mark,
 * told apart by the byte at offset 10: a record's flags are at most 2, a mark's are 0x80.
 *
 * Header, 64 bytes:
 *
 *     offset  bytes
 *          0      8  "SIMPLEKV"
 *          8      4  format version, SEGMENT_VERSION
 *         12      4  kind: 1 segment, 2 snapshot, 3 backup
 *         16      8  number: of the segment; of the first segment that a snapshot does not cover
 *         24      8  position: of the segment's first byte; from which on a snapshot needs the journal
 *         32      8  created, Unix milliseconds
 *         40      8  origin of the run that wrote it
 *         48     12  0
 *         60      4  checksum: hash_checksum of the 60 bytes before it
 *
 * Mark:
 *
 *     offset  bytes
 *          0      4  checksum: hash_checksum of all that follows
 *          4      4  payload_bytes: how many follow the first 12 bytes
 *          8      2  0
 *         10      1  0x80
 *         11      1  type: 1 vector, 2 end
 *         12      8  position of the mark's first byte
 *         20      8  synced: every byte before this position was on the disk when it was written
 *         28      8  forced_stamp: the greatest stamp of a tombstone dropped by force
 *         36      8  records in this file before the mark
 *         44      …  vector (vector.h): in a segment what changed since the last mark, in a snapshot all
 *          …      …  dropped vector, likewise
 *
 * A *position* counts the bytes of the journal since the data directory began: it goes on from one
 * segment to the next, headers included. In a snapshot or backup it is the offset in the file.
 *
 * A vector mark says: with all that stands before it, the node had merged what this vector covers.
 * Recovery believes marks, and never guesses from records. An end mark is the last entry of a file
 * that is complete; what follows it in the file does not count.
 *
 * A segment is preallocated, with --fsync always filled with zeros: 12 zero bytes where an entry
 * should begin are its end so far. */
#ifndef KV_SEGMENT_H
#define KV_SEGMENT_H

#include "kv/record.h"
#include "kv/vector.h"

#define SEGMENT_VERSION      1u
#define SEGMENT_MAGIC        "SIMPLEKV"
#define SEGMENT_MAGIC_BYTES  8u
#define SEGMENT_HEADER_BYTES 64u

/* The bytes by which an entry's kind is known. */
#define SEGMENT_PREFIX_BYTES 12u

enum segment_kind { SEGMENT_JOURNAL = 1, SEGMENT_SNAPSHOT = 2, SEGMENT_BACKUP = 3 };

struct segment_header {
    enum segment_kind kind;
    uint64_t number;
    uint64_t position;
    uint64_t created_ms;
    uint64_t origin;
};

enum mark_type { MARK_VECTOR = 1, MARK_END = 2 };

struct mark {
    enum mark_type type;
    uint64_t position;
    uint64_t synced;
    uint64_t forced_stamp;
    uint64_t records;
    struct bytes vectors; /* borrowed: both, encoded; see mark_vectors */
};

enum entry_kind { ENTRY_RECORD, ENTRY_MARK, ENTRY_ZEROS };

struct segment_entry {
    enum entry_kind kind;
    struct record record; /* borrowed from the bytes it was decoded from */
    struct mark mark;
};

void segment_header_encode(const struct segment_header *h, uint8_t at[SEGMENT_HEADER_BYTES]);

/* SEGMENT_HEADER_BYTES when it is one, 0 when `from` is shorter than that, -EBADMSG when it is none or is
 * damaged, -EPROTONOSUPPORT when it is of another format version. */
int segment_header_decode(struct segment_header *h, struct bytes from);

/* Appends a mark. m->vectors is not used; the vectors are encoded as given. A failure sticks in
 * `out`. */
void mark_encode(const struct mark *m, const struct vector *vector, const struct vector *dropped,
                 struct buffer *out);

/* Reads the vectors of a mark into both (initialised before; replaced). 0, -EBADMSG or -ENOMEM. */
int mark_vectors(const struct mark *m, struct vector *vector, struct vector *dropped);

/* Reads the entry at the front of `from`. Returns > 0 the bytes it takes, 0 when `from` does not hold all
 * of it, -EBADMSG when it is damaged. Zeros: kind ENTRY_ZEROS, and SEGMENT_PREFIX_BYTES. */
int64_t segment_entry_decode(struct segment_entry *e, struct bytes from);

/* The bytes that the entry at the front of `from` claims to take, for a reader that has to fetch them;
 * 0 when `from` is too short to tell (RECORD_HEADER_BYTES always suffice), -EBADMSG when it can be no
 * entry. */
int64_t segment_entry_claims(struct bytes from);

/* The keys of the records among the entries at the front of `from`, as they claim to be: for a look ahead
 * that may be wrong. Returns how many there are in `keys`, at most `max`. Borrowed. */
size_t segment_keys(struct bytes from, struct bytes *keys, size_t max);

#endif
