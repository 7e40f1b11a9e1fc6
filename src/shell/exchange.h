/* --export and --import: a backup as JSON lines, for other tools, and back.
 *
 * A line is an object: {"key": text, "value": text}, with "key_base64" or "value_base64" instead
 * where the bytes are no UTF-8, and "expires_ms": Unix milliseconds, where it expires. */
#ifndef SHELL_EXCHANGE_H
#define SHELL_EXCHANGE_H

#include <stdio.h>

/* Reads a backup or snapshot, and writes a line for each record that is live and has not expired.
 * Returns the process's exit status: 0, or 1 after saying on `messages` what was wrong and
 * where. */
int exchange_export(FILE *in, FILE *out, FILE *messages);

/* Reads lines, and writes a backup. Likewise; then what was written is no whole backup. */
int exchange_import(FILE *in, FILE *out, FILE *messages);

#endif
