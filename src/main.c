/* simple-kv: reads the options and does what they ask for. */
#include "shell/check.h"
#include "shell/exchange.h"
#include "shell/healthcheck.h"
#include "shell/options.h"
#include "shell/server.h"
#include "version.h"

#include <stdio.h>

extern char **environ;

int main(int argc, char **argv)
{
    struct options options;
    char error[OPTIONS_ERROR_BYTES];
    if (options_parse(&options, argc, argv, environ, error, sizeof error) != 0) {
        fprintf(stderr, "simple-kv: %s\n", error);
        return 2;
    }
    if (options.show_help) {
        options_print_help(stdout);
        return 0;
    }
    if (options.show_version) {
        printf("simple-kv %s\n", VERSION_TEXT);
        return 0;
    }
    if (options.check[0] != '\0')
        return check_run(&options);
    if (options.export_json)
        return exchange_export(stdin, stdout, stderr);
    if (options.import_json)
        return exchange_import(stdin, stdout, stderr);
    if (options.healthcheck)
        return healthcheck_run(&options);
    return server_run(&options);
}
