# shellcheck shell=bash
# `kv-cli.sh test`: tests a running cluster from all sides and leaves no key behind.
#
# Sourced by kv-cli.sh, whose nodes and line protocol it uses. It waits by asking again until a
# deadline, never for a fixed time.

ARRIVAL_SECONDS=15 # what a write is given to arrive

section() { printf '%s%s%s\n' "$BOLD" "$*" "$PLAIN"; }

check() { # WHAT COMMAND…: count and print one check; the command leaves its reason in REASON
    local what=$1
    shift
    if "$@"; then
        ((PASSED += 1))
        printf '  %sok%s    %s\n' "$GREEN" "$PLAIN" "$what"
    else
        ((FAILED += 1))
        printf '  %sFAIL%s  %s\n        %s\n' "$RED" "$PLAIN" "$what" "$REASON"
    fi
}

answers() { # NODE EXPECTED LINE: the reply's first line matches the pattern EXPECTED
    ask "$1" "$3" || { REASON="$1: $REASON"; return 1; }
    REASON="$1 answered \"${ANSWER[0]-}\" to \"$3\" where \"$2\" was due"
    # shellcheck disable=SC2053
    [[ ${ANSWER[0]-} == $2 ]]
}

arrives() { # COMMAND…: eventually; a cluster that was late once is not waited for so long again
    eventually "$ARRIVAL_SECONDS" "$@" && return
    ARRIVAL_SECONDS=1
    return 1
}

everywhere() { # EXPECTED LINE: every node comes to answer so
    local node
    for node in "${NAMES[@]}"; do
        arrives answers "$node" "$@" || return
    done
}

test_key() { # NAME: sets KEY, as it goes over the wire, and notes it for the clean-up
    KEY=$(wire_key "$TEST_PREFIX$1")
    TEST_KEYS+=("$KEY")
}

test_basics() { # NODE
    local node=$1
    test_key "basics-$node"
    check "$node answers PING" answers "$node" +PONG PING
    check "$node: a missing key is NOT_FOUND" answers "$node" NOT_FOUND "GET $KEY"
    check "$node: SET" answers "$node" OK "SET $KEY first"
    check "$node: GET gives the value back" answers "$node" first "GET $KEY"
    check "$node: SET again" answers "$node" OK "SET $KEY  two  words "
    check "$node: the new value is there, with its spaces" answers "$node" ' two  words ' "GET $KEY"
    check "$node: EXISTS" answers "$node" 1 "EXISTS $KEY"
    check "$node: TTL of a key that stays" answers "$node" -1 "TTL $KEY"
    check "$node: DEL" answers "$node" 1 "DEL $KEY"
    check "$node: DEL of a missing key" answers "$node" 0 "DEL $KEY"
    test_key "odd \"key\" \\ $node"
    check "$node: SET of a key with spaces and quotes" answers "$node" OK "SET $KEY odd"
    check "$node: GET of it" answers "$node" odd "GET $KEY"
    check "$node: nonsense is an error" answers "$node" 'ERROR *' NONSENSE
}

test_replication() {
    local from to
    for from in "${NAMES[@]}"; do
        test_key "from-$from"
        check "SET on $from" answers "$from" OK "SET $KEY written on $from"
        for to in "${NAMES[@]}"; do
            [[ $from == "$to" ]] || check "it reaches $to" \
                arrives answers "$to" "written on $from" "GET $KEY"
        done
    done
    from=${NAMES[0]}
    for to in "${NAMES[@]}"; do
        test_key "from-$from"
        check "overwritten on $to" answers "$to" OK "SET $KEY rewritten on $to"
        check "all nodes have the new value" everywhere "rewritten on $to" "GET $KEY"
        check "deleted on $to" answers "$to" 1 "DEL $KEY"
        check "gone from all nodes" everywhere NOT_FOUND "GET $KEY"
        check "written on $from once more" answers "$from" OK "SET $KEY again"
        check "all nodes have it again" everywhere again "GET $KEY"
    done
}

holds_big_value() { # NODE
    exchange "$1" "$WORK/reply" < <(printf 'GET %s\nQUIT\n' "$KEY") || return
    REASON="$1 answers $(wc -c <"$WORK/reply") bytes that are not the value"
    cmp -s "$WORK/reply" "$WORK/value"
}

store_big_value() { # NODE
    exchange "$1" "$WORK/reply" < <(
        printf 'SET %s ' "$KEY" && cat "$WORK/value" && echo QUIT
    ) || return
    REASON="$1 answered $(head -c 200 "$WORK/reply")"
    [[ $(<"$WORK/reply") == OK ]]
}

test_big_value() {
    local node
    test_key big
    { base64 -w0 /dev/urandom | head -c 1000000 && echo; } >"$WORK/value"
    check "SET of 1 MB on ${NAMES[0]}" store_big_value "${NAMES[0]}"
    for node in "${NAMES[@]}"; do
        check "$node holds it, byte for byte" arrives holds_big_value "$node"
    done
}

test_expiry() {
    local node
    test_key expiring
    check "SETEX for 600 s on ${NAMES[0]}" answers "${NAMES[0]}" OK "SETEX $KEY 600 stays"
    check "all nodes have it" everywhere stays "GET $KEY"
    for node in "${NAMES[@]}"; do
        check "$node knows how long" answers "$node" '[56]??' "TTL $KEY"
    done
    check "SETEX for 1 s on ${NAMES[0]}" answers "${NAMES[0]}" OK "SETEX $KEY 1 goes"
    check "it expires on all nodes" everywhere NOT_FOUND "GET $KEY"
}

agree() { # LINE…: all nodes give the same answers, each of them from a writer's last round
    local node first=''
    for node in "${NAMES[@]}"; do
        ask "$node" "$@" || { REASON="$node: $REASON"; return 1; }
        first=${first:-${ANSWER[*]}}
        REASON="$node has \"${ANSWER[*]}\", ${NAMES[0]} has \"$first\""
        [[ ${ANSWER[*]} == "$first" && ${ANSWER[*]} =~ ^[^\ ]+:last(\ [^\ ]+:last){9}$ ]] || return
    done
}

test_concurrent_writes() {
    local node round i
    local -a keys=() writers=()
    for i in {0..9}; do
        test_key "race-$i"
        keys+=("$KEY")
    done
    for node in "${NAMES[@]}"; do
        for round in {1..49} last; do
            printf "SET %s $node:$round\n" "${keys[@]}"
        done >"$WORK/race.$node"
        echo QUIT >>"$WORK/race.$node"
    done
    for node in "${NAMES[@]}"; do
        exchange "$node" "$WORK/raced.$node" <"$WORK/race.$node" &
        writers+=("$!")
    done
    wait "${writers[@]}"
    for node in "${NAMES[@]}"; do
        REASON="$(grep -c '^OK$' "$WORK/raced.$node") of 500 writes answered OK"
        check "500 writes of 10 keys on $node while the others write them too" \
            [ "${REASON%% *}" = 500 ]
    done
    check "all nodes come to hold the same values" \
        arrives agree "${keys[@]/#/GET }"
}

summary() {
    printf '%s%s passed, %s failed%s\n' "$BOLD" "$PASSED" "$FAILED" "$PLAIN"
    ((FAILED == 0))
}

remove_test_keys() {
    local node
    ((${#TEST_KEYS[@]} > 0)) || return 0
    wait # for writers still at it, which would write the keys again
    # On every node, since the test may be here because they do not replicate.
    for node in "${NAMES[@]}"; do
        ask "$node" "DEL ${TEST_KEYS[*]}" || say "$node keeps keys $TEST_PREFIX*: $REASON"
    done
    TEST_KEYS=()
}

test_cluster() {
    local node keys
    [[ $# == 0 && -z $NODE ]] || misused "test takes no argument: it tests all nodes at once"
    PASSED=0 FAILED=0 TEST_PREFIX="kv-cli-test-$$-$RANDOM-" TEST_KEYS=()
    printf 'Testing %s with keys %s*\n' "${NAMES[*]}" "$TEST_PREFIX"
    section "Nodes"
    for node in "${NAMES[@]}"; do
        check "$node at ${ADDR[$node]} is up" node_info "$node"
    done
    if ((FAILED > 0)); then
        say "The other tests need all nodes (./kv-cli.sh up starts them)."
        summary
        return
    fi
    # shellcheck disable=SC2034
    AT_END=remove_test_keys
    trap 'say Interrupted, removing the keys.; exit 130' INT
    trap 'exit 143' TERM
    for node in "${NAMES[@]}"; do
        section "Basics on $node"
        test_basics "$node"
    done
    section "Replication" && test_replication
    section "A value of 1 MB" && test_big_value
    section "Expiry" && test_expiry
    section "Concurrent writes" && test_concurrent_writes
    section "Clean-up"
    keys="${TEST_KEYS[*]}"
    remove_test_keys
    check "the test's keys are gone from all nodes" everywhere 0 "EXISTS $keys"
    summary
}
