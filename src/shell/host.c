/* Questions of the core that only the system can answer. */
#include "host.h"

#include "conn.h"
#include "kv/check.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

/* --- the process ---------------------------------------------------------------------------- */

/* 0 when it cannot be read. */
static uint64_t resident_bytes(void)
{
    unsigned long long all = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%llu %llu", &all, &resident) != 2)
        resident = 0;
    fclose(file);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t microseconds(struct timeval time)
{
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_usec;
}

static void tell_process(void *owner, struct node_process *process)
{
    struct host *h = owner;
    struct rusage usage;
    uv_utsname_t system;
    size_t size = sizeof process->executable;
    *process = (struct node_process){.pid = (uint32_t)uv_os_getpid(),
                                     .port = h->port,
                                     .resident_bytes = resident_bytes(),
                                     .loop_turn_max_us = h->longest_ns / 1000};
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        process->cpu_user_us = microseconds(usage.ru_utime);
        process->cpu_system_us = microseconds(usage.ru_stime);
    }
    if (uv_os_uname(&system) == 0)
        snprintf(process->system, sizeof process->system, "%.40s %.40s %.40s", system.sysname,
                 system.release, system.machine);
    if (uv_exepath(process->executable, &size) != 0)
        process->executable[0] = 0;
}

static void reset_statistics(void *owner)
{
    struct host *h = owner;
    h->longest_ns = 0;
}

static uint64_t monotonic_us(void *owner)
{
    (void)owner;
    return uv_hrtime() / 1000;
}

/* --- addresses ------------------------------------------------------------------------------ */

static void write_address(const struct sockaddr_storage *address, char *text, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
        uv_ip6_name(v6, host, sizeof host);
        snprintf(text, size, "[%s]:%u", host, (unsigned)ntohs(v6->sin6_port));
    } else {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
        uv_ip4_name(v4, host, sizeof host);
        snprintf(text, size, "%s:%u", host, (unsigned)ntohs(v4->sin_port));
    }
}

static void tell_addresses(void *owner, const struct session *s, char *theirs, char *ours,
                           size_t size)
{
    const struct conn *c = container_of(s, struct conn, session);
    struct sockaddr_storage address;
    int bytes = sizeof address;
    (void)owner;
    snprintf(theirs, size, "?");
    snprintf(ours, size, "?");
    if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&address, &bytes) == 0)
        write_address(&address, theirs, size);
    bytes = sizeof address;
    if (uv_tcp_getsockname(&c->tcp, (struct sockaddr *)&address, &bytes) == 0)
        write_address(&address, ours, size);
}

/* --- turns ---------------------------------------------------------------------------------- */

void host_begin(struct host *h, uv_loop_t *loop, struct node *n, uint16_t port)
{
    *h = (struct host){.loop = loop, .port = port};
    CHECK(uv_loop_configure(loop, UV_METRICS_IDLE_TIME) == 0);
    n->host = (struct node_host){.owner = h,
                                 .process = tell_process,
                                 .reset_statistics = reset_statistics,
                                 .monotonic_us = monotonic_us,
                                 .addresses = tell_addresses};
}

void host_end_turn(struct host *h)
{
    uint64_t now_ns = uv_hrtime(), idle_ns = uv_metrics_idle_time(h->loop);
    uint64_t took_ns = now_ns - h->turn_end_ns - (idle_ns - h->idle_ns);
    if (h->turn_end_ns != 0 && took_ns > h->longest_ns)
        h->longest_ns = took_ns;
    h->turn_end_ns = now_ns;
    h->idle_ns = idle_ns;
}
