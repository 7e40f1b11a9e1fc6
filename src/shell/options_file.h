/* The configuration file: an INI file read line by line, in front of it nothing but a callback.
 *
 *     [simple-kv]                       optional; no other section is known
 *     name  = node1                     an option without its dashes; # and ; begin comments
 *     peers = kv-node2:8080,
 *             kv-node3:8080             an indented line without '=' continues the one above */
#ifndef SHELL_OPTIONS_FILE_H
#define SHELL_OPTIONS_FILE_H

#include <stdbool.h>
#include <stddef.h>

#define OPTIONS_FILE_SECTION        "simple-kv"
#define OPTIONS_FILE_LINE_BYTES_MAX 190 /* inih's compiled-in limit is a little more */

/* One setting. All text is borrowed for the call.
 *
 * line       counted from 1.
 * continues  the value goes on from the setting before, which had the same key.
 * Returns    0 to go on; negative to stop, the callee keeping the reason. */
typedef int options_file_set(void *user, int line, const char *key, const char *value,
                             bool continues);

/* Reads the file at path and calls set for each setting, in order, until the first error.
 *
 * error     borrowed; written on -EBADMSG only: one line "PATH:LINE: reason", not escaped.
 * Returns   0, -EBADMSG for a line that is no setting, -ECANCELED where set stopped, or another
 *           -errno when the file cannot be read. */
int options_file_read(const char *path, options_file_set *set, void *user, char *error,
                      size_t error_bytes);

#endif
