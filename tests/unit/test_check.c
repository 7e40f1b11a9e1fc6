/* CHECK: silent when the condition holds; else it says where, and ends the process. */
#include "unit.h"

#include "kv/check.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void check_passes_when_its_condition_holds(void **state)
{
    (void)state;
    int evaluated = 0;
    CHECK(++evaluated == 1);
    assert_int_equal(evaluated, 1);
}

static void check_ends_the_process_and_says_where(void **state)
{
    (void)state;
    int ends[2], status;
    char text[200] = "";
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        check_failed("two == three", "here.c", 42);
    }
    close(ends[1]);
    assert_true(read(ends[0], text, sizeof text - 1) > 0);
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_string_equal(text, "here.c:42: check failed: two == three\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_passes_when_its_condition_holds),
        cmocka_unit_test(check_ends_the_process_and_says_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
