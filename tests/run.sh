#!/usr/bin/env bash
# The one test command: installs what is missing, builds, and tests everything.
#
#   tests/run.sh            everything, about 20 minutes
#   tests/run.sh unit       only some parts; any of: lint unit sim fuzz cluster bench docker
#   tests/run.sh --long     everything, with an hour of the simulator, an hour of chaos, a minute
#                           of each fuzz target, and the whole benchmark instead of a smoke run of it
#
# What needs the processor (lint unit sim fuzz) runs beside what mostly waits (docker cluster); its output is
# shown when both have ended. The benchmark comes last, alone.
#
# Needs Debian 12, and root (or sudo) where something has to be installed. Each part's output is shown
# and kept in build-test/logs. The last line counts what passed and failed; the exit status is 1 if
# anything failed.
set -u
cd "$(dirname "$0")/.." || exit 1

python=/usr/bin/python3 # Debian's: it is the one that has python3-pytest
all_parts=(lint unit sim fuzz cluster bench docker)
out="build-test"
logs=$out/logs
unit_timeout_s=300 # one program that hangs fails; it does not hold up the rest
passed=0
failed=0
skipped=0
failures=()

say() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

install_packages() {
    local wanted missing=()
    mapfile -t wanted < <(cat docker/packages-*.txt tests/packages.txt | sort -u)
    for package in "${wanted[@]}"; do
        # A Node.js that is not Debian's brings npm with it, and cannot be installed beside Debian's.
        case $package in
        nodejs | npm) ! command -v npm >/dev/null || continue ;;
        esac
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' ||
            missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing ${missing[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
            "${missing[@]}"
}

# Counts one check that either passes or fails as a whole.
count_one() { # NAME STATUS
    if [ "$2" = 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        failures+=("$1")
    fi
}

check() { # NAME COMMAND...
    local name=$1 status
    shift
    say "$name"
    "$@" 2>&1 | tee "$logs/${name// /-}.log"
    status=${PIPESTATUS[0]}
    count_one "$name" "$status"
    return "$status"
}

# The number before a word in the summary line of a test runner.
number_of() { # WORD FILE
    grep -oE "[0-9]+ $1" "$2" | tail -n 1 | grep -oE '^[0-9]+' || echo 0
}

# Runs pytest, and counts its tests. A run that ends without a summary counts as one failure.
pytest_counted() { # NAME ARGUMENTS...
    local name=$1 log=$logs/${1// /-}.log status bad
    shift
    say "$name"
    "$python" -m pytest -p no:cacheprovider -q --color=no --durations=5 "$@" 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    passed=$((passed + $(number_of passed "$log")))
    skipped=$((skipped + $(number_of skipped "$log")))
    bad=$(($(number_of failed "$log") + $(number_of errors? "$log")))
    [ "$status" = 0 ] || [ "$bad" -gt 0 ] || bad=1
    failed=$((failed + bad))
    [ "$bad" = 0 ] || failures+=("$name")
}

# Runs the unit tests of one build, each program once; under a wrapper if one is given.
unit_counted() { # NAME BUILD WRAPPER...
    local name=$1 build=$2 log=$logs/${1// /-}.log program status
    shift 2
    say "$name"
    : >"$log"
    for program in "$build"/tests/unit/test_*; do
        { [ -x "$program" ] && [ -f "$program" ]; } || continue
        timeout "$unit_timeout_s" "$@" "$program" >"$log.one" 2>&1
        status=$?
        cat "$log.one" >>"$log"
        passed=$((passed + $(grep -c '^\[       OK \]' "$log.one")))
        if [ "$status" != 0 ]; then
            cat "$log.one"
            failed=$((failed + $(grep -c '^\[  FAILED  \] [a-z_0-9]*$' "$log.one")))
            grep -q '^\[  FAILED  \] [a-z_0-9]*$' "$log.one" || failed=$((failed + 1))
            failures+=("$name: ${program##*/}")
        fi
    done
    grep -c '^\[       OK \]' "$log" | sed 's/$/ tests passed/'
}

build() { # DIRECTORY COMPILER CMAKE_OPTIONS...
    local directory=$1 compiler=$2
    shift 2
    cmake -S . -B "$directory" -G Ninja -DCMAKE_C_COMPILER="$compiler" -DBUILD_TESTS=ON "$@" &&
        cmake --build "$directory"
}

build_all() {
    check "build gcc" build "$out/gcc" gcc &&
        check "build gcc sanitized" build "$out/gcc-asan" gcc -DSANITIZE=ON &&
        check "build clang sanitized" build "$out/clang-asan" clang -DSANITIZE=ON
}

# --- the parts -------------------------------------------------------------------------------

formatted() {
    git ls-files '*.c' '*.h' | xargs clang-format --dry-run -Werror
}

shells_checked() {
    git ls-files '*.sh' .ci/run tests/fuzz/run | xargs shellcheck -x
}

run_lint() {
    check "lint clang-format" formatted
    check "lint shellcheck" shells_checked
    pytest_counted "lint floors" tests/unit
}

run_unit() {
    unit_counted "unit gcc sanitized" "$out/gcc-asan"
    unit_counted "unit clang sanitized" "$out/clang-asan"
    unit_counted "unit valgrind" "$out/gcc" \
        valgrind -q --error-exitcode=1 --leak-check=full --errors-for-leak-kinds=definite
}

# The stories that once went wrong, each with the line that says what it caught.
sim_regressions() {
    local line
    while IFS= read -r line; do
        line=${line%%#*}
        [ -n "${line// /}" ] || continue
        # shellcheck disable=SC2086 # the line is a list of options
        "$out/gcc/tests/sim/simple-kv-sim" $line || return 1
    done <tests/sim/regressions
}

# A seed tells one story, whichever compiler built the simulator: a found one can be replayed by any.
sim_compilers() {
    local build traces=()
    for build in gcc clang-asan; do
        traces+=("$("$out/$build/tests/sim/simple-kv-sim" --seed 1 --seeds 16 | grep -o 'trace [0-9a-f]*')")
        echo "$build: ${traces[-1]}"
    done
    [ -n "${traces[0]}" ] && [ "${traces[0]}" = "${traces[1]}" ]
}

# New seeds every time. Sanitized ones are slower, and find what only they can.
run_sim() {
    local seconds=150 sanitized_seconds=30
    [ "$long" = 0 ] || seconds=3600
    check "sim regressions" sim_regressions
    check "sim" "$out/gcc/tests/sim/simple-kv-sim" --seconds "$seconds"
    check "sim sanitized" "$out/clang-asan/tests/sim/simple-kv-sim" --seconds "$sanitized_seconds"
    check "sim compilers" sim_compilers
    check "sim mutations" "$python" tests/sim/mutations.py "$out/gcc/tests/sim/simple-kv-sim-mutants"
}

# Each target for a while, from the inputs that are kept in tests/fuzz/corpus.
run_fuzz() {
    [ "$long" = 0 ] || export FUZZ_SECONDS=${FUZZ_SECONDS:-60}
    check "build fuzz" cmake -S . -B "$out/fuzz" -G Ninja -DCMAKE_C_COMPILER=clang -DFUZZ=ON &&
        check "build fuzz targets" cmake --build "$out/fuzz" &&
        check "fuzz" tests/fuzz/run "$out/fuzz"
}

run_cluster() {
    [ "$long" = 0 ] || export KV_CHAOS_SECONDS=3600 KV_JOIN_KEYS=5000000 KV_CRASH_ROUNDS=500 \
        KV_DAMAGE_ROUNDS=300 KV_CONFORMANCE_ROUNDS=300
    KV_BINARY=$PWD/$out/clang-asan/simple-kv KV_SANITIZED=1 pytest_counted "cluster sanitized" \
        tests/cluster
    # What a sanitizer's own memory would hide.
    KV_BINARY=$PWD/$out/gcc/simple-kv pytest_counted "cluster memory" tests/cluster -k "memory or idle"
}

run_bench() {
    if [ "$long" = 1 ]; then
        check "bench" "$python" tests/bench/run --build "$out/gcc"
        check "bench pauses" "$python" tests/bench/pauses --build "$out/gcc" --keys 10000000
        check "bench disk" "$python" tests/bench/disk --build "$out/gcc"
    else
        check "bench smoke" "$python" tests/bench/run --quick --build "$out/gcc"
        check "bench disk smoke" "$python" tests/bench/disk --quick --build "$out/gcc"
    fi
}

run_docker() {
    pytest_counted "docker" tests/docker
}

# Runs those of the parts that are wanted, and leaves what they counted for add_counts.
lane() { # NAME PARTS...
    local name=$1 part
    shift
    passed=0 failed=0 skipped=0 failures=()
    for part in "$@"; do
        [[ " ${parts[*]} " != *" $part "* ]] || "run_$part"
    done
    printf '%s\n' "$passed $failed $skipped" "${failures[@]}" >"$logs/$name.counts"
}

add_counts() { # NAME
    local counts lane_passed lane_failed lane_skipped
    if ! mapfile -t counts <"$logs/$1.counts" || [ ${#counts[@]} = 0 ]; then
        failed=$((failed + 1))
        failures+=("$1: it did not come to its end")
        return
    fi
    read -r lane_passed lane_failed lane_skipped <<<"${counts[0]}"
    passed=$((passed + lane_passed))
    failed=$((failed + lane_failed))
    skipped=$((skipped + lane_skipped))
    failures+=("${counts[@]:1}")
}

# The end of each failed check's output once more, where a reader looks first.
show_failures() {
    local failure name log
    for failure in "${failures[@]}"; do
        name=${failure%%:*}
        log=$logs/${name// /-}.log
        [ -f "$log" ] || continue
        printf -- '\n-- %s, the end of %s:\n' "$failure" "$log"
        tail -n 40 "$log"
    done
    printf 'failed: %s\n' "${failures[@]}"
}

run_lanes() {
    rm -f "$logs"/lane-*
    (lane lane-busy lint unit sim fuzz) >"$logs/lane-busy.log" 2>&1 &
    (lane lane-waiting docker cluster)
    wait
    cat "$logs/lane-busy.log"
    (lane lane-bench bench)
    add_counts lane-busy
    add_counts lane-waiting
    add_counts lane-bench
}

main() {
    local argument
    parts=()
    long=0
    for argument in "$@"; do
        case $argument in
        --long) long=1 ;;
        lint | unit | sim | fuzz | cluster | bench | docker) parts+=("$argument") ;;
        *)
            echo "tests/run.sh: unknown argument '$argument'; known: --long ${all_parts[*]}" >&2
            exit 2
            ;;
        esac
    done
    [ ${#parts[@]} -gt 0 ] || parts=("${all_parts[@]}")
    mkdir -p "$logs"
    install_packages || {
        echo "tests/run.sh: the packages could not be installed" >&2
        exit 1
    }
    if build_all; then
        run_lanes
    fi
    say "done"
    [ ${#failures[@]} = 0 ] || show_failures
    printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
    [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
}

main "$@"
