#!/usr/bin/env bash
# A Docker engine for the tests in this directory, on a bare Debian 12 and without a registry.
#
#   tests/docker/engine.sh start    have an engine and a base image; prints what to export
#   tests/docker/engine.sh status   say which engine `start` would use or has started
#   tests/docker/engine.sh stop     end the private engine, if one runs
#   tests/docker/engine.sh clean    stop, and remove everything that was cached
#
# `start` uses the engine that `docker info` reaches, if there is one. Otherwise it starts a private
# one (root only), with its own data, socket and process id, which touches no other engine's images.
# The base image is debian:bookworm-slim if the engine has it or can pull it. Otherwise it is built
# by debootstrap from the mirror that this machine's apt uses (or $DEBIAN_MIRROR).
#
# Progress goes to stderr; stdout holds only lines for the shell:
#   eval "$(tests/docker/engine.sh start)"
#
# Cached under ${XDG_CACHE_HOME:-~/.cache}/simple-kv-tests: the base system and the private engine's
# layers, so that a second run neither downloads nor compiles anything twice.
set -euo pipefail

suite=bookworm
public_image=debian:$suite-slim
cache_dir=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/simple-kv-tests
run_dir=/run/simple-kv-tests
socket=unix://$run_dir/docker.sock
pid_file=$run_dir/docker.pid
engine_log=$cache_dir/engine.log
pull_timeout_s=60
engine_timeout_s=60

say() { printf '%s\n' "engine: $*" >&2; }
fail() {
    say "$*"
    exit 1
}

need_root() {
    [ "$(id -u)" = 0 ] || fail "$1 needs root; or start a Docker engine of your own first"
}

# install PACKAGE... : those whose command is missing, as command=package
install_missing() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    need_root "installing ${missing[*]}"
    say "installing ${missing[*]}"
    DEBIAN_FRONTEND=noninteractive apt-get update -q >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}" >&2
}

# ---------------------------------------------------------------------------------- the engine

private_pid() { # prints the id of the private engine if it lives
    local pid
    pid=$(cat "$pid_file" 2>/dev/null) || return 1
    # a process id may have been given to somebody else since
    tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null |
        grep -qF -- "--data-root $cache_dir/engine" || return 1
    echo "$pid"
}

start_private() {
    need_root "starting a Docker engine"
    install_missing dockerd=docker.io iptables=iptables
    # where the kernel enforces AppArmor, containers start only if its parser is there
    if grep -qs Y /sys/module/apparmor/parameters/enabled; then
        install_missing apparmor_parser=apparmor
    fi
    mkdir -p "$cache_dir/engine" "$run_dir"
    [ -e /sys/class/net/docker0 ] || touch "$run_dir/made-docker0"
    say "starting a private engine (data in $cache_dir/engine, log in $engine_log)"
    setsid dockerd --data-root "$cache_dir/engine" --exec-root "$run_dir/exec" \
        --pidfile "$pid_file" -H "$socket" >"$engine_log" 2>&1 9>&- </dev/null &
    local started=$! deadline=$((SECONDS + engine_timeout_s))
    until docker -H "$socket" info >/dev/null 2>&1; do
        kill -0 "$started" 2>/dev/null || fail "the engine ended: $(tail -n 3 "$engine_log")"
        if [ $SECONDS -ge $deadline ]; then
            kill -TERM "$started"
            fail "the engine is not up after $engine_timeout_s s; see $engine_log"
        fi
        sleep 0.2
    done
    say "the engine is up, process $(private_pid)"
}

stop_private() {
    local pid deadline=$((SECONDS + engine_timeout_s))
    if ! pid=$(private_pid); then
        say "no private engine runs"
        return 0
    fi
    # every build leaves the layers of its compile stage behind; the recent ones are the cache
    docker -H "$socket" image prune -f --filter until=168h >/dev/null 2>&1 || true
    kill -TERM "$pid"
    while kill -0 "$pid" 2>/dev/null; do
        [ $SECONDS -lt $deadline ] ||
            fail "the engine (process $pid) did not end in $engine_timeout_s s"
        sleep 0.1
    done
    # an engine leaves its bridge behind; it goes if it was not there before
    [ ! -e "$run_dir/made-docker0" ] || ip link delete docker0 || true
    rm -f "$run_dir/made-docker0"
    say "the private engine has ended"
}

# ---------------------------------------------------------------------------------- the base image

# Lines "URI SUITE" of the Debian archives that apt on this machine uses. Asking apt itself spares us
# its two file formats.
debian_sources() {
    if [ -n "${DEBIAN_MIRROR:-}" ]; then
        echo "$DEBIAN_MIRROR $suite"
        return
    fi
    # shellcheck disable=SC2016  # the $(NAMES) are apt's
    apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(REPO_URI) $(RELEASE)' \
        'Identifier: Packages' |
        awk -v suite="$suite" '$1 == "Debian" && $2 == "main" && index($4, suite) == 1 \
            && $4 ~ /^[a-z]+(-updates|-security)?$/ { print $3, $4 }' | sort -u
}

# What apt inside the image must know to reach the same archives: sources, proxies, certificates.
write_apt_config() { # DIR
    local uri release
    mkdir -p "$1/apt.conf.d" "$1/certs"
    while read -r uri release; do
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $release main"
    done <<<"$sources" >"$1/sources.list"
    {
        apt-config dump | grep -E '^Acquire::(https?(::|-)|Check-|ForceIPv|Retries)' || true
        [ -z "${http_proxy:-}" ] || echo "Acquire::http::Proxy \"$http_proxy\";"
        [ -z "${https_proxy:-}" ] || echo "Acquire::https::Proxy \"$https_proxy\";"
    } >"$1/apt.conf.d/99host"
    cp /etc/ssl/certs/ca-certificates.crt "$1/certs/" 2>/dev/null ||
        touch "$1/certs/ca-certificates.crt"
}

make_rootfs() { # TARBALL
    local work mirror
    need_root "debootstrap"
    install_missing debootstrap=debootstrap
    mirror=$(awk -v suite="$suite" '$2 == suite { print $1; exit }' <<<"$sources")
    [ -n "$mirror" ] ||
        fail "apt on this machine knows no archive of Debian $suite; set DEBIAN_MIRROR=URL"
    mkdir -p "$cache_dir"
    work=$(mktemp -d "$cache_dir/rootfs.XXXXXX")
    # shellcheck disable=SC2064  # the directory as it is now
    trap "rm -rf '$work'" EXIT
    say "building the base system of $suite by debootstrap (about a minute, once)"
    debootstrap --variant=minbase "$suite" "$work/root" "$mirror" \
        >"$cache_dir/debootstrap.log" 2>&1 ||
        fail "debootstrap failed: $(tail -n 3 "$cache_dir/debootstrap.log")"
    tar --numeric-owner --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' \
        --exclude='./dev/*' -C "$work/root" -cf "$work/rootfs.tar" .
    mv "$work/rootfs.tar" "$1"
    rm -rf "$work"
    trap - EXIT
}

build_base_image() { # NAME
    local arch tarball rootfs_image config
    arch=$(dpkg --print-architecture)
    tarball=$cache_dir/rootfs-$suite-$arch.tar
    rootfs_image=simple-kv-tests/rootfs:$suite
    sources=$(debian_sources)
    # imported once only: every import is a new image, under which no cached layer would be found
    if ! docker image inspect "$rootfs_image" >/dev/null 2>&1; then
        [ -s "$tarball" ] || make_rootfs "$tarball"
        say "importing $tarball"
        docker import "$tarball" "$rootfs_image" >/dev/null
    fi
    config=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf '$config'" EXIT
    write_apt_config "$config"
    printf '%s\n' "FROM $rootfs_image" 'COPY sources.list /etc/apt/' \
        'COPY apt.conf.d /etc/apt/apt.conf.d/' 'COPY certs /etc/ssl/certs/' \
        'CMD ["bash"]' >"$config/Dockerfile"
    DOCKER_BUILDKIT=0 docker build -q -t "$1" "$config" >/dev/null 2>"$cache_dir/base-image.log" ||
        fail "building $1 failed: $(tail -n 3 "$cache_dir/base-image.log")"
    rm -rf "$config"
    trap - EXIT
    say "base image $1 is ready"
}

have_base_image() { # prints the base image's name if the engine has it, or can pull it
    if docker image inspect "$public_image" >/dev/null 2>&1; then
        echo "$public_image"
        return
    fi
    say "pulling $public_image"
    if timeout "$pull_timeout_s" docker pull -q "$public_image" >/dev/null 2>&1; then
        echo "$public_image"
        return
    fi
    say "$public_image cannot be pulled"
    return 1
}

# ---------------------------------------------------------------------------------- commands

start() {
    local base_image engine
    install_missing docker=docker.io
    docker compose version >/dev/null 2>&1 || install_missing docker-compose=docker-compose
    if private_pid >/dev/null; then
        engine=running
        say "the private engine runs already"
    elif docker info >/dev/null 2>&1; then
        engine=shared
        say "using the engine that is there"
    else
        engine=started
        start_private
    fi
    if [ $engine != shared ]; then
        export DOCKER_HOST=$socket
        # nobody else's images live here, so ours may take the public name
        base_image=$public_image
        build_base_image "$base_image"
    elif ! base_image=$(have_base_image); then
        # in an engine that is not ours the public name stays free for the public image
        base_image=simple-kv-tests/base:$suite
        build_base_image "$base_image"
    fi
    [ -z "${DOCKER_HOST:-}" ] || echo "export DOCKER_HOST=$DOCKER_HOST"
    echo "export BASE_IMAGE=$base_image"
    # started: private, by this call. running: private, by an earlier one. shared: not ours.
    echo "export KV_TEST_ENGINE=$engine"
}

status() {
    local pid
    if pid=$(private_pid); then
        say "the private engine runs as process $pid at $socket"
    elif docker info >/dev/null 2>&1; then
        say "an engine of this machine answers; it would be used"
    else
        say "no engine runs; start would begin a private one"
    fi
}

clean() {
    stop_private
    say "removing $cache_dir"
    rm -rf "$cache_dir" "$run_dir"
}

# one at a time: two starts must not make two engines on one directory
lock() {
    mkdir -p "$cache_dir"
    exec 9>"$cache_dir/lock"
    flock -n 9 || {
        say "waiting for another engine.sh"
        flock 9
    }
}

case "${1:-}" in
    start) lock && start ;;
    stop) lock && stop_private ;;
    status) status ;;
    clean) lock && clean ;;
    *)
        sed -n '2,/^set /{s/^# \{0,1\}//;/^set /d;p}' "$0" >&2
        exit 2
        ;;
esac
