/* One node and one client of it, for tests of what commands answer. */
#ifndef CLIENT_H
#define CLIENT_H

#include "pair.h"
#include "unit.h"

/* *state: a struct pair of one node, which has been configured but not started. */
int client_set_up(void **state);
int client_tear_down(void **state);

/* Sends the words of a text, as an array: what lies between single spaces, "" for an empty word being
 * written as ~. The reply is borrowed until the next call, its last line end left out. The client's
 * replies are RESP from here on. */
const char *client_send(struct pair *p, const char *words);

/* Lets what takes several turns come to its end: FLUSHALL of many keys. Returns the answer. */
const char *client_finish(struct pair *p, uint32_t node);

/* Whether a line is answered with an error of one line that holds `part`. */
bool client_is_refused(struct pair *p, const char *line, const char *part);

#define assert_answer(p, line, answer) assert_string_equal(pair_command(p, 0, line), answer)
#define assert_resp(p, words, answer)  assert_string_equal(client_send(p, words), answer)

#define CLIENT_TEST(name) cmocka_unit_test_setup_teardown(name, client_set_up, client_tear_down)

#endif
