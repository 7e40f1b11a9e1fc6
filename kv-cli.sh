#!/usr/bin/env bash
# kv-cli.sh: talk to a simple-kv cluster, look at it, test it, start it and stop it.
#
# It speaks the line protocol (docs/protocol.md) over bash's /dev/tcp, so that a person needs
# nothing but bash and coreutils to use a cluster. Data goes to stdout, messages to stderr.
# What needs the whole source tree is in src/cli/.
set -u
export LC_ALL=C # keys and values are bytes, not characters of somebody's locale

readonly EXIT_MISSING=1 EXIT_USAGE=2 EXIT_CONNECT=3 EXIT_SERVER=4
readonly COMMANDS=(set get del exists ttl backup restore export import status watch test
    up down restart logs help)
readonly NODES_DEFAULT=node1=localhost:8081,node2=localhost:8082,node3=localhost:8083

ROOT=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
TIMEOUT=${KV_TIMEOUT:-5}
WORK=           # directory for requests and replies, removed at the end
NAMES=()        # the nodes of KV_NODES, in its order
declare -A ADDR # host:port of each
declare -A HOST PORT
NODE=           # the one -n names
ANSWER=()       # lines of the last reply
REASON=         # why the last exchange failed
AT_END=:        # a command's own clean-up

# --- messages -------------------------------------------------------------------------------------

usage() {
    cat <<'TEXT'
Usage: ./kv-cli.sh [-n NODE] COMMAND [ARGUMENT…]

Data (on node1 unless -n names another node):
  set KEY VALUE…      store a value; several words are joined by a space
  set KEY -           store what comes on stdin, without its last newline
  get KEY             print the value
  del KEY…            delete; prints how many there were
  exists KEY…         print how many there are
  ttl KEY             print the seconds until KEY expires, -1 if it never does

All data (from node1 unless -n names another node; of the whole cluster, since all have it):
  backup FILE|-       into a file, verified; packed if its name ends in .zst; - is stdout
  restore FILE|-      write a backup's keys over what the cluster holds; asks first, unless --yes
  export [FILE|-]     as JSON lines, for other programs
  import [FILE|-]     write JSON lines' keys

Cluster:
  status [NODE…]      one line a node: up, down, loading or refilling; keys, peers linked of
                      expected, lag, version
  watch [SECONDS]     status again and again, every 2 seconds unless told
  test                test the running cluster from all sides; removes its keys afterwards

Local nodes, with data, logs and pid files in .run/; or containers, with --docker:
  up [--docker] [NODE…]        install what is missing, build, start, wait until all are linked
  down [--docker] [-v] [NODE…] stop; the data stays, unless -v or --volumes removes it
  restart [--docker] [NODE…]   down, then up
  logs [--docker] [-f] [NODE…] show the logs; -f goes on as they grow

  help                this text
  --version           the version of this tree

Exit status: 0 ok · 1 key missing, node down or test failed · 2 usage ·
             3 cannot connect · 4 the server answered with an error

Environment:
  KV_NODES    the cluster, node1=host:port,node2=host:port… or just host:port,host:port…
              (default: node1 to node3 on localhost:8081 to 8083)
  KV_TIMEOUT  seconds that a node may take to answer (default: 5)
  KV_BINARY   the program simple-kv, where it is not build/simple-kv
  KV_RUN_DIR  where `up` keeps data, logs and pid files (default: .run)
  NO_COLOR    if set, no colours
  Other KV_ variables reach the nodes that `up` starts: KV_MIN_ACKS=1 ./kv-cli.sh up

The protocol has more commands than this script: printf 'KEYS *\n' | nc -N localhost 8081
TEXT
}

say() { printf '%s\n' "$*" >&2; }
step() { say "==> $*"; }

die() { # STATUS MESSAGE…
    local status=$1
    shift
    say "kv-cli.sh: $*"
    exit "$status"
}

misused() { die "$EXIT_USAGE" "$@" "(./kv-cli.sh help)"; }

set_colours() {
    RED='' GREEN='' YELLOW='' BOLD='' PLAIN=''
    [[ -t 1 && -z ${NO_COLOR-} && ${TERM-dumb} != dumb ]] || return 0
    RED=$'\e[31m' GREEN=$'\e[32m' YELLOW=$'\e[33m' BOLD=$'\e[1m' PLAIN=$'\e[0m'
}

# --- nodes ----------------------------------------------------------------------------------------

parse_nodes() {
    local entry name address
    local -a entries
    IFS=', ' read -ra entries <<<"${KV_NODES:-$NODES_DEFAULT}"
    for entry in "${entries[@]}"; do
        [[ -n $entry ]] || continue
        name=node$((${#NAMES[@]} + 1)) address=$entry
        [[ $entry != *=* ]] || name=${entry%%=*} address=${entry#*=}
        [[ $name =~ ^[A-Za-z0-9._-]+$ && $address =~ ^\[?([^]=[]+)\]?:([0-9]{1,5})$ ]] ||
            misused "KV_NODES: \"$entry\" should be name=host:port or host:port"
        [[ -z ${ADDR[$name]-} ]] || misused "KV_NODES names $name twice"
        NAMES+=("$name")
        ADDR[$name]=$address HOST[$name]=${BASH_REMATCH[1]} PORT[$name]=${BASH_REMATCH[2]}
    done
    ((${#NAMES[@]} > 0)) || misused "KV_NODES names no node"
}

require_node() {
    [[ -n ${ADDR[$1]-} ]] || misused "no node \"$1\"; the nodes are ${NAMES[*]}"
}

select_nodes() { # [NODE…]: sets SELECTED to these, or to the one of -n, or to all
    local node
    SELECTED=("$@")
    ((${#SELECTED[@]} > 0)) || SELECTED=(${NODE:+"$NODE"})
    ((${#SELECTED[@]} > 0)) || SELECTED=("${NAMES[@]}")
    for node in "${SELECTED[@]}"; do require_node "$node"; done
}

# --- the line protocol ----------------------------------------------------------------------------

# Run by timeout(1), since neither a connect nor a name look-up of /dev/tcp can be given a limit.
# It listens while it sends, so that a server which refuses a value halfway is heard.
# shellcheck disable=SC2016
readonly TALK='exec 3<>"/dev/tcp/$0/$1" || exit
cat <&3 &
cat >&3 2>/dev/null
wait'

exchange() { # NODE REPLY-FILE; the request, which must end with QUIT, on stdin
    local node=$1 reply=$2 status
    # In the background, so that Ctrl-C need not wait for a node that does not answer.
    timeout "$TIMEOUT" bash -c "$TALK" "${HOST[$node]}" "${PORT[$node]}" \
        <&0 >"$reply" 2>"$reply.err" &
    wait $!
    status=$?
    if tail -c 4 "$reply" | cmp -s - <(printf '+OK\n'); then
        truncate -s -4 "$reply"
        return 0
    fi
    REASON=$(head -c 1000 "$reply" | tr -d '\0' | head -n 1)
    [[ $REASON == ERROR* ]] && return "$EXIT_SERVER"
    REASON=$(head -n 1 "$reply.err")
    REASON=${REASON##*: }
    ((status != 124)) || REASON="no answer within $TIMEOUT s (KV_TIMEOUT changes that)"
    [[ -n $REASON ]] || REASON="the connection ended before the answer was complete"
    return "$EXIT_CONNECT"
}

ask() { # NODE LINE…: sets ANSWER to the lines of the reply
    local node=$1 reply=$WORK/reply.$BASHPID
    shift
    exchange "$node" "$reply" < <(printf '%s\n' "$@" QUIT) || return
    mapfile -t ANSWER <"$reply"
}

complain() { # NODE STATUS: ends the script with what exchange left in REASON
    (($2 == EXIT_CONNECT)) || die "$2" "$1 (${ADDR[$1]}) answered: $REASON"
    die "$2" "cannot talk to $1 at ${ADDR[$1]}: $REASON (./kv-cli.sh status shows who is up)"
}

request() { # LINE…: to the chosen node; ends the script unless every answer is good
    local line
    ask "$NODE" "$@" || complain "$NODE" $?
    for line in "${ANSWER[@]}"; do
        REASON=$line
        [[ $line != ERROR* ]] || complain "$NODE" "$EXIT_SERVER"
    done
}

wire_key() { # KEY: as the protocol wants to see it
    local key=$1 out='' char i
    [[ -n $key ]] || misused "a key cannot be empty"
    [[ $key == *[[:space:][:cntrl:]\"]* ]] || { printf '%s' "$key"; return; }
    for ((i = 0; i < ${#key}; i++)); do
        char=${key:i:1}
        case $char in
            [\"\\]) char=\\$char ;;
            [[:cntrl:]]) printf -v char '\\x%02x' "'$char" ;;
        esac
        out+=$char
    done
    printf '"%s"' "$out"
}

# --- commands on data -----------------------------------------------------------------------------

one_key() { # COMMAND [ARGUMENT…]
    (($# == 2)) || misused "$1 takes one key; quote it if it holds spaces, and put -n first"
}

cmd_set() {
    local key
    (($# > 0)) || misused "set takes a key and a value"
    (($# > 1)) || misused "set takes a value too; '' stores an empty one, - reads it from stdin"
    key=$(wire_key "$1") || exit
    shift
    if (($# == 1)) && [[ $1 == - ]]; then
        [[ ! -t 0 ]] || say "Type the value, then Enter and Ctrl-D."
        cat >"$WORK/value"
        if ends_with 0a; then truncate -s -1 "$WORK/value"; fi
    else
        printf '%s' "$*" >"$WORK/value"
    fi
    refuse_what_a_line_cannot_carry
    exchange "$NODE" "$WORK/reply" < <(
        printf 'SET %s ' "$key" && cat "$WORK/value" && printf '\nQUIT\n'
    ) || complain "$NODE" $?
    REASON=$(<"$WORK/reply")
    [[ $REASON == OK ]] || complain "$NODE" "$EXIT_SERVER"
    echo OK
}

ends_with() { [[ $(tail -c 1 "$WORK/value" | od -An -tx1) == " $1" ]]; }

refuse_what_a_line_cannot_carry() {
    if (($(tr -cd '\n' <"$WORK/value" | head -c 1 | wc -c) > 0)); then
        die "$EXIT_USAGE" "the value holds a newline, which the line protocol cannot carry" \
            "(base64 -w0 makes one line of anything)"
    fi
    if ends_with 0d; then
        die "$EXIT_USAGE" "the value ends with a carriage return, which the line protocol" \
            "takes for a part of the line's end"
    fi
}

cmd_get() {
    local key found
    one_key get "$@"
    key=$(wire_key "$1") || exit
    # EXISTS first: it tells a missing key from a value that reads NOT_FOUND.
    exchange "$NODE" "$WORK/reply" < <(printf 'EXISTS %s\nGET %s\nQUIT\n' "$key" "$key") ||
        complain "$NODE" $?
    read -r found <"$WORK/reply"
    case $found in
        1) tail -n +2 "$WORK/reply" ;;
        0) missing "$key" ;;
        *) REASON=$found && complain "$NODE" "$EXIT_SERVER" ;;
    esac
}

missing() { say "not found: $1"; exit "$EXIT_MISSING"; }

cmd_ttl() {
    local key
    one_key ttl "$@"
    key=$(wire_key "$1") || exit
    request "TTL $key"
    [[ ${ANSWER[0]} != -2 ]] || missing "$key"
    printf '%s\n' "${ANSWER[0]}"
}

cmd_del() { each_key DEL "$@"; }
cmd_exists() { each_key EXISTS "$@"; }

each_key() { # COMMAND KEY…: one request a key, so that each missing one can be named
    local command=$1 key i total=0
    local -a keys=() lines=()
    shift
    (($# > 0)) || misused "${command,,} takes one key or more"
    for key in "$@"; do
        key=$(wire_key "$key") || exit
        keys+=("$key") lines+=("$command $key")
    done
    request "${lines[@]}"
    for i in "${!keys[@]}"; do
        ((total += ANSWER[i]))
        ((ANSWER[i] > 0)) || say "not found: ${keys[i]}"
    done
    ((total == 0)) && [[ $command == DEL ]] || printf '%s\n' "$total"
    ((total == ${#keys[@]})) || exit "$EXIT_MISSING"
}

# --- status ---------------------------------------------------------------------------------------

node_info() { # NODE: sets INFO to the fields of its INFO reply; false if it gives none
    local line
    declare -gA INFO=()
    ask "$1" INFO || return
    for line in "${ANSWER[@]}"; do
        [[ $line != *:* ]] || INFO[${line%%:*}]=${line#*:}
    done
    [[ -z ${INFO[peers_linked]-} ]] || return 0
    REASON="what answers there is not simple-kv"
    return 1
}

status_row() { # NODE: its row, fields parted by tabs
    local state=up
    if node_info "$1"; then
        [[ ${INFO[loading]-} != 1 ]] || state=loading
        [[ ${INFO[refilling]-} != yes ]] || state=refilling
        printf '%s\t' "$1" "${ADDR[$1]}" "$state" "${INFO[keys]}" \
            "${INFO[peers_linked]}/${INFO[peers_expected]}" "${INFO[lag_ms]} ms" "${INFO[version]}"
        printf '%s\n' "${INFO[digest]-}"
    else
        printf '%s\t%s\tdown\t-\t-\t-\t-\t%s\n' "$1" "${ADDR[$1]}" "$REASON"
    fi
}

print_row() { # COLOUR FIELD…
    local colour=$1
    shift
    printf '%-10s %-22s %s%-9s%s %10s %6s %9s  %s\n' "$1" "$2" "$colour" "$3" "$PLAIN" "${@:4}"
}

print_status() { # a table of SELECTED; false if one of them does not serve
    local node colour count=${#SELECTED[@]} down=0 waiting=0 loose=0 fields
    local -A digests=()
    local -a queries=()
    for node in "${SELECTED[@]}"; do
        status_row "$node" >"$WORK/row.$node" & # at once: dead hosts cost one timeout together
        queries+=("$!")
    done
    wait "${queries[@]}"
    print_row "$BOLD" NODE ADDRESS STATE KEYS PEERS LAG VERSION
    for node in "${SELECTED[@]}"; do
        IFS=$'\t' read -ra fields <"$WORK/row.$node"
        if [[ ${fields[2]} == down ]]; then
            colour=$RED fields[6]="-  ${fields[7]}"
            ((down += 1))
        elif [[ ${fields[2]} != up ]]; then # it answers, but with LOADING errors
            colour=$YELLOW
            ((waiting += 1))
        elif [[ ${fields[4]%/*} != "${fields[4]#*/}" ]]; then
            colour=$YELLOW
            ((loose += 1))
        else
            colour=$GREEN
        fi
        [[ ${fields[2]} != up ]] || digests[${fields[7]-}]=1
        print_row "$colour" "${fields[@]:0:7}"
    done
    printf '%s of %s up' $((count - down - waiting)) "$count"
    ((waiting == 0)) || printf ', %s not ready yet' "$waiting"
    ((loose == 0)) || printf ', %s not linked to all peers' "$loose"
    ((${#digests[@]} < 2)) || printf ', data not equal yet'
    echo
    ((down + waiting == 0))
}

cmd_status() {
    select_nodes "$@"
    print_status
}

cmd_watch() {
    local seconds=${1:-2} table
    [[ $# -lt 2 && $seconds =~ ^[1-9][0-9]{0,5}$ ]] ||
        misused "watch takes one whole number, the seconds between two looks"
    select_nodes
    trap 'exit 0' INT
    while :; do
        table=$(print_status)
        [[ ! -t 1 ]] || printf '\e[H\e[2J'
        printf '%(%F %T)T, every %s s\n%s\n' -1 "$seconds" "$table"
        sleep "$seconds"
    done
}

# --- commands that need the whole tree ------------------------------------------------------------

eventually() { # SECONDS COMMAND…: until it succeeds; false if the time runs out first
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < end)) || return 1
        sleep 0.05
    done
}

part() { # FILE: reads it from src/cli/
    [[ -r $ROOT/src/cli/$1 ]] || die 1 "this command needs $ROOT/src/cli/$1, which is not there"
    # shellcheck source=/dev/null
    . "$ROOT/src/cli/$1"
}

cmd_backup() { part backup.sh && backup "$@"; }
cmd_restore() { part backup.sh && restore "$@"; }
cmd_export() { part backup.sh && export_lines "$@"; }
cmd_import() { part backup.sh && import_lines "$@"; }
cmd_test() { part test.sh && test_cluster "$@"; }
cmd_up() { part local.sh && up "$@"; }
cmd_down() { part local.sh && down "$@"; }
cmd_restart() { part local.sh && restart "$@"; }
cmd_logs() { part local.sh && logs "$@"; }

# --- main -----------------------------------------------------------------------------------------

cmd_help() { usage; }

print_version() {
    local version
    version=$(sed -n '/^project(/,/)/ s/.*VERSION *\([0-9.]*\).*/\1/p' \
        "$ROOT/CMakeLists.txt" 2>/dev/null)
    printf 'kv-cli.sh %s\n' "${version:-(version unknown: no CMakeLists.txt beside it)}"
}

distance() { # A B: sets DISTANCE to the Levenshtein distance
    local i j cost best
    local -a above row
    for ((j = 0; j <= ${#2}; j++)); do above[j]=$j; done
    for ((i = 1; i <= ${#1}; i++)); do
        row=("$i")
        for ((j = 1; j <= ${#2}; j++)); do
            [[ ${1:i-1:1} == "${2:j-1:1}" ]] && cost=0 || cost=1
            ((best = above[j - 1] + cost, best = above[j] + 1 < best ? above[j] + 1 : best))
            ((row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best))
        done
        above=("${row[@]}")
    done
    DISTANCE=${above[-1]}
}

nearest_command() { # WORD
    local command nearest='' least=3
    case $1 in
        delete | remove | rm | unset) nearest=del ;;
        put | add | write) nearest='set' ;;
        read | show | cat) nearest='get' ;;
        start | run) nearest=up ;;
        stop | kill) nearest=down ;;
        ps | info | peers | health) nearest=status ;;
        dump | save) nearest=backup ;;
        load) nearest=restore ;;
    esac
    [[ -z $nearest ]] || { printf '%s' "$nearest"; return; }
    for command in "${COMMANDS[@]}"; do
        distance "$1" "$command"
        [[ $command != "$1"* ]] || DISTANCE=1
        ((DISTANCE >= least)) || nearest=$command least=$DISTANCE
    done
    printf '%s' "$nearest"
}

finish() {
    "$AT_END"
    rm -rf "$WORK"
}

main() {
    local command guess
    set_colours
    while (($# > 0)); do
        case $1 in
            -n | --node) (($# > 1)) || misused "$1 takes the name of a node"; NODE=$2; shift ;;
            --node=*) NODE=${1#*=} ;;
            -n?*) NODE=${1#-n} ;;
            -h | --help) set -- help; break ;;
            -V | --version) print_version; return ;;
            -*) misused "unknown option $1" ;;
            *) break ;;
        esac
        shift
    done
    (($# > 0)) || { usage >&2; exit "$EXIT_USAGE"; }
    command=${1,,}
    shift
    if [[ " ${COMMANDS[*]} " != *" $command "* ]]; then
        guess=$(nearest_command "$command")
        misused "unknown command \"$command\"${guess:+; did you mean \"$guess\"?}"
    fi
    case $command:$*: in
        get:* | del:* | exists:* | ttl:*) ;; # a key may have that name
        *:-h: | *:--help:) usage; return ;;
    esac
    [[ $TIMEOUT =~ ^[0-9]+(\.[0-9]+)?$ && $TIMEOUT =~ [1-9] ]] ||
        misused "KV_TIMEOUT=$TIMEOUT should be a number of seconds"
    parse_nodes
    [[ -z $NODE ]] || require_node "$NODE"
    case $command in
        set | get | del | exists | ttl | backup | restore | export | import)
            NODE=${NODE:-${NAMES[0]}}
            ;;
    esac
    WORK=$(mktemp -d) || die 1 "cannot make a temporary directory"
    trap finish EXIT
    "cmd_$command" "$@"
}

main "$@"
