/* The health check, against a node played by a child process that answers one connection. */
#include "healthcheck.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct options o;
    int listener;
    pid_t node; /* 0 = none */
    char line[512];
};

/* Listens on any free port of the loopback address. */
static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    assert_non_null(f);
    f->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(f->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(f->listener, 8), 0);
    assert_int_equal(getsockname(f->listener, (struct sockaddr *)&address, &size), 0);
    strcpy(f->o.bind, "127.0.0.1");
    f->o.port = ntohs(address.sin_port);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    if (f->node > 0) {
        kill(f->node, SIGKILL);
        waitpid(f->node, NULL, 0);
    }
    if (f->listener >= 0)
        close(f->listener);
    free(f);
    return 0;
}

/* Takes one connection, checks what is asked, and sends the answer in two pieces. */
static void answer(int listener, const char *text)
{
    static const char ASKED[] = "PING\r\n";
    char asked[sizeof ASKED] = "";
    size_t half = strlen(text) / 2;
    int fd = accept(listener, NULL, NULL);
    ssize_t bytes = recv(fd, asked, strlen(ASKED), MSG_WAITALL);
    if (bytes != (ssize_t)strlen(ASKED) || strcmp(asked, ASKED) != 0)
        _exit(1);
    send(fd, text, half, MSG_NOSIGNAL);
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    send(fd, text + half, strlen(text) - half, MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    recv(fd, asked, 1, 0);
    _exit(0);
}

static void play_node(struct fixture *f, const char *text)
{
    f->node = fork();
    assert_true(f->node >= 0);
    if (f->node == 0)
        answer(f->listener, text);
}

/* Runs the check; what it says on standard error is in f->line. */
static int run(struct fixture *f)
{
    FILE *errors = tmpfile();
    assert_non_null(errors);
    int kept = dup(STDERR_FILENO);
    dup2(fileno(errors), STDERR_FILENO);
    int status = healthcheck_run(&f->o);
    dup2(kept, STDERR_FILENO);
    close(kept);
    rewind(errors);
    f->line[fread(f->line, 1, sizeof f->line - 1, errors)] = '\0';
    fclose(errors);
    return status;
}

/* Failed, with one line that holds this text. */
static void assert_unhealthy(struct fixture *f, const char *text)
{
    assert_int_equal(run(f), 1);
    assert_ptr_equal(strchr(f->line, '\n'), f->line + strlen(f->line) - 1);
    if (strstr(f->line, text) == NULL)
        fail_msg("\"%s\" expected in: %s", text, f->line);
}

static void healthcheck_run_succeeds_silently_when_the_node_answers(void **state)
{
    struct fixture *f = *state;
    play_node(f, "+PONG\n");
    assert_int_equal(run(f), 0);
    assert_string_equal(f->line, "");
}

static void healthcheck_run_takes_an_answer_with_a_carriage_return(void **state)
{
    struct fixture *f = *state;
    play_node(f, "+PONG\r\n");
    assert_int_equal(run(f), 0);
}

static void healthcheck_run_reaches_a_node_that_listens_everywhere(void **state)
{
    struct fixture *f = *state;
    strcpy(f->o.bind, "0.0.0.0");
    play_node(f, "+PONG\n");
    assert_int_equal(run(f), 0);
    close(f->listener);
    f->listener = -1;
    strcpy(f->o.bind, "0::0");
    assert_unhealthy(f, "::1 port");
}

static void healthcheck_run_fails_when_nobody_listens(void **state)
{
    struct fixture *f = *state;
    close(f->listener);
    f->listener = -1;
    assert_unhealthy(f, "Connection refused");
}

static void healthcheck_run_shows_an_answer_that_is_not_pong(void **state)
{
    struct fixture *f = *state;
    play_node(f, "ERROR too many clients\x1b\r\n");
    assert_unhealthy(f, "got \"ERROR too many clients\\x1b\"");
}

static void healthcheck_run_takes_no_more_of_an_endless_answer_than_it_shows(void **state)
{
    struct fixture *f = *state;
    char endless[4096];
    memset(endless, 'x', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    play_node(f, endless);
    assert_unhealthy(f, "expected +PONG");
}

static void healthcheck_run_fails_when_the_connection_ends_early(void **state)
{
    struct fixture *f = *state;
    play_node(f, "+PO");
    assert_unhealthy(f, "closed without an answer");
}

static void healthcheck_run_gives_up_on_a_node_that_hangs(void **state)
{
    struct fixture *f = *state; /* the kernel takes the connection, nobody reads */
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    assert_unhealthy(f, "no answer within 3000 ms");
    clock_gettime(CLOCK_MONOTONIC, &end);
    assert_in_range(end.tv_sec - start.tv_sec, 2, 5);
}

static void healthcheck_run_fails_on_an_address_that_is_none(void **state)
{
    struct fixture *f = *state;
    strcpy(f->o.bind, "localhost");
    assert_unhealthy(f, "localhost port");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(healthcheck_run_succeeds_silently_when_the_node_answers,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(healthcheck_run_takes_an_answer_with_a_carriage_return,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(healthcheck_run_reaches_a_node_that_listens_everywhere,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(healthcheck_run_fails_when_nobody_listens, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(healthcheck_run_shows_an_answer_that_is_not_pong, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            healthcheck_run_takes_no_more_of_an_endless_answer_than_it_shows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(healthcheck_run_fails_when_the_connection_ends_early,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(healthcheck_run_gives_up_on_a_node_that_hangs, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(healthcheck_run_fails_on_an_address_that_is_none, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
