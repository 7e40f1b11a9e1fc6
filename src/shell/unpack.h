/* A backup packed by zstd, put alone into a data directory: it is unpacked in its place, and the
 * storage starts from it as from any backup. */
#ifndef SHELL_UNPACK_H
#define SHELL_UNPACK_H

#include "file_disk.h"

/* Where it is unpacked to; then it takes the packed one's name. */
#define UNPACK_NAME ".unpacking"

/* Waits until it is done, if there is something to do: before a node serves.
 *
 * name     out: of the file that was unpacked; "" = there was none
 * Returns  0, or a negative errno with all as it was, and `reason` saying why in one line. */
int unpack_backup(struct file_disk *d, char name[DISK_NAME_BYTES],
                  char reason[FILE_DISK_REASON_BYTES]);

#endif
