/* Commands about the connection, the node and its peers. */
#include "pair.h"
#include "unit.h"

static int set_up(void **state)
{
    struct pair *p = calloc(1, sizeof *p);
    pair_open(p, 2);
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct pair *p = *state;
    pair_close(p);
    free(p);
    return 0;
}

#define assert_answer(p, line, answer) assert_string_equal(pair_command(p, 0, line), answer)

/* Whether the reply of PEERS at node a holds that text. */
static bool peers_tell(struct pair *p, const char *text)
{
    return strstr(pair_command(p, 0, "PEERS"), text) != NULL;
}

static void command_ping_answers_pong_or_the_text(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "PING", "+PONG");
    assert_answer(p, "PING ", "+PONG");
    assert_answer(p, "PING some  text ", "some  text ");
}

static void command_quit_ends_the_connection(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "QUIT", "+OK");
    assert_true(session_finished(&p->nodes[0].session));
}

/* In the order in which they come. */
static const char INFO_FIELDS[] =
    "redis_version simplekv_version redis_mode os arch_bits process_id run_id "
    "tcp_port server_time_usec uptime_in_seconds uptime_in_days hz configured_hz "
    "executable io_threads_active connected_clients cluster_connections "
    "maxclients blocked_clients tracking_clients clients_in_timeout_table "
    "used_memory used_memory_human used_memory_rss used_memory_rss_human "
    "used_memory_dataset maxmemory maxmemory_human maxmemory_policy loading "
    "async_loading rdb_bgsave_in_progress rdb_last_save_time rdb_saves "
    "aof_enabled aof_rewrite_in_progress aof_rewrite_scheduled "
    "aof_last_write_status total_connections_received total_commands_processed "
    "total_net_input_bytes total_net_output_bytes total_net_repl_input_bytes "
    "total_net_repl_output_bytes rejected_connections expired_keys evicted_keys "
    "keyspace_hits keyspace_misses pubsub_channels pubsub_patterns "
    "latest_fork_usec total_forks total_error_replies role connected_slaves "
    "master_replid used_cpu_sys used_cpu_user cluster_enabled version name "
    "cluster origin uptime_seconds clients keys tombstones tombstone_bytes "
    "tombstones_dropped tombstones_dropped_by_force memory_bytes digest ready "
    "journal_bytes commands loop_turn_max_us members members_forgotten "
    "peers_linked peers_expected lag_ms peer_bytes_sent peer_bytes_received "
    "records_received deltas_received deltas_served comparisons_received scrubs "
    "divergence_repaired data_dir refilling backups_running";

static void command_info_has_every_field_once(void **state)
{
    struct pair *p = *state;
    char found[sizeof INFO_FIELDS + 64] = "";
    size_t lines = 0, size = 0;
    pair_start(p, 0);
    const char *at = pair_command(p, 0, "INFO");
    size_t announced = strtoul(at, NULL, 10);
    while ((at = strchr(at, '\n')) != NULL) {
        size_t name = strcspn(++at, ":\n");
        lines++;
        if (at[name] == ':' && size + name + 2 < sizeof found)
            size += (size_t)snprintf(found + size, sizeof found - size, "%s%.*s",
                                     size == 0 ? "" : " ", (int)name, at);
    }
    assert_int_equal(lines, announced);
    assert_string_equal(found, INFO_FIELDS);
}

static void command_info_gives_the_sections_that_are_asked_for(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "INFO keyspace", "1\n# Keyspace");
    assert_answer(p, "INFO cluster KEYSPACE", "4\n# Cluster\ncluster_enabled:0\n\n# Keyspace");
    assert_answer(p, "INFO nonsense", "0");
    char all[8192];
    snprintf(all, sizeof all, "%.8s", pair_command(p, 0, "INFO"));
    assert_memory_equal(pair_command(p, 0, "INFO everything"), all, 3);
    assert_memory_equal(pair_command(p, 0, "INFO nonsense default"), all, 3);
    pair_command(p, 0, "SET a 1\nSETEX b 100 1\nSETEX c 100 1\nDEL c");
    assert_answer(p, "INFO keyspace", "2\n# Keyspace\ndb0:keys=2,expires=1,avg_ttl=0");
}

static void command_info_counts_clients_commands_errors_and_expired_keys(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    pair_command(p, 0, "SETEX a 1 1\nFROB\nSET b 1\nGET b\nGET c");
    assert_int_equal(pair_info(p, 0, "total_connections_received"), 1);
    assert_int_equal(pair_info(p, 0, "total_commands_processed"), 7);
    assert_int_equal(pair_info(p, 0, "total_error_replies"), 1);
    assert_int_equal(pair_info(p, 0, "keyspace_hits"), 1);
    assert_int_equal(pair_info(p, 0, "keyspace_misses"), 1);
    assert_true(pair_info(p, 0, "total_net_input_bytes") > 38);
    assert_int_equal(pair_info(p, 0, "expired_keys"), 0);
    pair_run(p, 3000);
    assert_int_equal(pair_info(p, 0, "expired_keys"), 1);
    assert_answer(p, "CONFIG RESETSTAT", "OK");
    assert_int_equal(pair_info(p, 0, "expired_keys"), 0);
    assert_int_equal(pair_info(p, 0, "total_commands_processed"), 2);
}

static void command_time_is_the_nodes_clock(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    p->now.wall_ms = 1700000000123;
    assert_answer(p, "TIME", "2\n1700000000\n123000");
}

static void command_select_knows_one_database(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "SELECT 0", "OK");
    assert_answer(p, "SELECT 1", "ERROR DB index is out of range");
    assert_answer(p, "SELECT -1", "ERROR DB index is out of range");
    assert_answer(p, "SELECT 2147483648",
                  "ERROR value is out of range, value must between -2147483648 and 2147483647");
    assert_answer(p, "SELECT x", "ERROR value is not an integer or out of range");
}

static void command_info_tells_the_truth(void **state)
{
    struct pair *p = *state;
    struct session second;
    pair_start_all(p);
    pair_run(p, 5000);
    session_init(&second, p->nodes[0].node);
    uint64_t clients = pair_info(p, 0, "clients");
    session_close(&second);
    pair_command(p, 0, "SET a 1\nSET b 1\nDEL a");
    assert_int_equal(clients, 2);
    assert_int_equal(pair_info(p, 0, "uptime_seconds"), 5);
    assert_int_equal(pair_info(p, 0, "keys"), 1);
    assert_int_equal(pair_info(p, 0, "tombstones"), 1);
    assert_int_equal(pair_info(p, 0, "members"), 1);
    assert_int_equal(pair_info(p, 0, "peers_linked"), 1);
    assert_int_equal(pair_info(p, 0, "peers_expected"), 1);
    assert_int_equal(pair_info(p, 0, "memory_bytes"), store_memory_bytes(p->nodes[0].node->store));
    assert_int_equal(pair_info(p, 0, "journal_bytes"), 30 + 30 + 29);
    pair_settle(p);
    assert_int_equal(pair_info(p, 1, "records_received"), 3);
    assert_true(pair_info(p, 0, "digest") == pair_info(p, 1, "digest"));
    assert_true(pair_info(p, 0, "digest") == store_digest(p->nodes[0].node->store));
}

/* --- PEERS --------------------------------------------------------------------------------- */

static void command_peers_of_a_node_alone_is_empty(void **state)
{
    struct pair *p = *state;
    p->nodes[0].peers = 0;
    pair_start(p, 0);
    assert_answer(p, "PEERS", "0");
}

static void command_peers_shows_an_address_nobody_answers_at(void **state)
{
    struct pair *p = *state;
    pair_start(p, 0);
    assert_answer(p, "PEERS", "1\nname=? address=10.0.0.2:8080 state=connecting reason=-");
    pair_run(p, 200);
    assert_answer(p, "PEERS",
                  "1\nname=? address=10.0.0.2:8080 state=down reason=connection refused");
}

static void command_peers_shows_a_live_member(void **state)
{
    struct pair *p = *state;
    char expected[64];
    p->nodes[1].clock_ahead_ms = 20;
    pair_start_all(p);
    pair_run(p, 3000);
    assert_true(peers_tell(p, "1\nname=b address=10.0.0.2:8080 state=live origin="));
    snprintf(expected, sizeof expected, "origin=%016llx ",
             (unsigned long long)p->nodes[1].config.origin);
    assert_true(peers_tell(p, expected));
    assert_true(peers_tell(p, " lag_ms=0 lag_records=0 queued_bytes=0 clock_ms="));
    assert_true(peers_tell(p, " contact_ms="));
    assert_true(peers_tell(p, " reason=-"));
}

static void command_peers_shows_a_member_that_is_down_and_why(void **state)
{
    struct pair *p = *state;
    pair_start_all(p);
    pair_run(p, 3000);
    pair_stop(p, 1);
    pair_run(p, 2000);
    assert_true(peers_tell(p, "name=b address=10.0.0.2:8080 state=down origin="));
    assert_true(peers_tell(p, "reason=connection refused"));
}

/* Until the ring is too short to tell. */
static void command_peers_shows_how_far_a_member_is_behind(void **state)
{
    struct pair *p = *state;
    static char line[20000];
    pair_start_all(p);
    pair_run(p, 3000);
    assert_true(peers_tell(p, " lag_ms=0 lag_records=0 "));
    pair_stop(p, 1);
    pair_run(p, 1000);
    pair_command(p, 0, "SET a 1\nSET b 1\nDEL a");
    p->now.wall_ms += 700;
    assert_true(peers_tell(p, " lag_records=3 queued_bytes=0 "));
    assert_in_range(pair_info(p, 0, "lag_ms"), 1700, 4700);
    snprintf(line, sizeof line, "SET k %0*d", 19000, 1);
    for (uint32_t i = 0; i < 2 * JOURNAL_BYTES_MIN / 19000; i++)
        pair_command(p, 0, line);
    const char *peers = pair_command(p, 0, "PEERS");
    const char *field = strstr(peers, " lag_records=");
    assert_non_null(field);
    char *after;
    assert_in_range(strtoul(field + strlen(" lag_records="), &after, 10), 20, 60);
    assert_int_equal(*after, '+');
    pair_start(p, 1);
    pair_run(p, 8000);
    assert_true(peers_tell(p, " lag_ms=0 lag_records=0 "));
}

static void command_peers_shows_how_far_a_clock_is_off_and_when_it_was_heard(void **state)
{
    struct pair *p = *state;
    p->nodes[1].clock_ahead_ms = -400;
    pair_start_all(p);
    pair_run(p, 3000);
    assert_true(peers_tell(p, " clock_ms=-400 "));
    pair_stop(p, 1);
    p->now.mono_ms += 5000;
    const char *field = strstr(pair_command(p, 0, "PEERS"), " contact_ms=");
    assert_non_null(field);
    assert_in_range(strtoul(field + strlen(" contact_ms="), NULL, 10), 5000, 6100);
}

static void command_peers_shows_who_refuses_and_why(void **state)
{
    struct pair *p = *state;
    p->nodes[1].config.cluster = "other";
    pair_start_all(p);
    pair_run(p, 1000);
    assert_true(peers_tell(p, "name=? address=10.0.0.2:8080 state=refused reason="));
    assert_true(peers_tell(p, "this node is of cluster '"));
}

static void command_peers_shows_a_link_in_its_handshake(void **state)
{
    struct pair *p = *state;
    pair_start_all(p);
    p->stalled[1][0] = true;
    pair_settle(p);
    assert_true(peers_tell(p, "state=hello"));
    p->stalled[1][0] = false;
    pair_settle(p);
    assert_true(peers_tell(p, "state=live"));
}

static void command_peers_shows_a_delta_being_served(void **state)
{
    struct pair *p = *state;
    char line[32];
    p->nodes[0].peers = p->nodes[1].peers = 0;
    pair_start(p, 0);
    for (uint32_t i = 0; i < 3 * LINK_SCAN_ENTRIES; i++) {
        snprintf(line, sizeof line, "SET k%u v", i);
        pair_command(p, 0, line);
    }
    p->nodes[1].peers = 1;
    pair_start(p, 1);
    while (p->nodes[0].node->scans == 0)
        pair_turn(p);
    assert_true(peers_tell(p, "state=delta"));
    pair_settle(p);
    assert_true(peers_tell(p, "state=live"));
}

static void command_peers_counts_what_waits_for_a_slow_peer(void **state)
{
    struct pair *p = *state;
    pair_start_all(p);
    pair_run(p, 3000);
    pair_link(p, 0, 1, LINK_SENDER)->unsent = LINK_OUTPUT_BYTES;
    pair_command(p, 0, "SET k v");
    assert_true(peers_tell(p, " queued_bytes=2621"));
    pair_link(p, 0, 1, LINK_SENDER)->unsent = 0;
}

/* --- WAIT ---------------------------------------------------------------------------------- */

static void command_wait_refuses_what_is_no_number(void **state)
{
    struct pair *p = *state;
    static const char *const BAD[] = {"WAIT x 1", "WAIT 1 x", "WAIT 1 -1", "WAIT 1 4294967296",
                                      "WAIT 1.5 1"};
    pair_start(p, 0);
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++)
        assert_answer(p, BAD[i],
                      "ERROR WAIT takes a number of peers and milliseconds up to 4294967295");
    static const char *const BAD_OF_DISKS[] = {"WAITAOF 2 0 1", "WAITAOF -1 0 1",
                                               "WAITAOF x 0 1", "WAITAOF 0 -1 1",
                                               "WAITAOF 0 x 1", "WAITAOF 0 0 -1"};
    for (size_t i = 0; i < sizeof BAD_OF_DISKS / sizeof BAD_OF_DISKS[0]; i++)
        assert_answer(
            p, BAD_OF_DISKS[i],
            "ERROR WAITAOF takes 0 or 1, a number of peers, and milliseconds up to 4294967295");
}

static void command_wait_of_a_client_that_has_ended_does_not_wait_for_ever(void **state)
{
    struct pair *p = *state;
    struct session *s = &p->nodes[0].session;
    pair_start(p, 0);
    assert_answer(p, "SET k v\nWAIT 5 0", "OK");
    assert_true(session_deadline(s) == MOMENT_NEVER);
    session_read_end(s, p->now);
    assert_true(session_deadline(s) != MOMENT_NEVER);
    pair_run(p, 60000);
    assert_string_equal(pair_replies(p, 0), "0");
    assert_true(session_finished(s));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(command_ping_answers_pong_or_the_text),
        TEST(command_quit_ends_the_connection),
        TEST(command_info_has_every_field_once),
        TEST(command_info_gives_the_sections_that_are_asked_for),
        TEST(command_info_counts_clients_commands_errors_and_expired_keys),
        TEST(command_info_tells_the_truth),
        TEST(command_time_is_the_nodes_clock),
        TEST(command_select_knows_one_database),
        TEST(command_peers_of_a_node_alone_is_empty),
        TEST(command_peers_shows_an_address_nobody_answers_at),
        TEST(command_peers_shows_a_live_member),
        TEST(command_peers_shows_a_member_that_is_down_and_why),
        TEST(command_peers_shows_how_far_a_member_is_behind),
        TEST(command_peers_shows_how_far_a_clock_is_off_and_when_it_was_heard),
        TEST(command_peers_shows_who_refuses_and_why),
        TEST(command_peers_shows_a_link_in_its_handshake),
        TEST(command_peers_shows_a_delta_being_served),
        TEST(command_peers_counts_what_waits_for_a_slow_peer),
        TEST(command_wait_refuses_what_is_no_number),
        TEST(command_wait_of_a_client_that_has_ended_does_not_wait_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
