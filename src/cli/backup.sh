# shellcheck shell=bash
# `kv-cli.sh backup`, `restore`, `export` and `import`: all data into a file, and back.
#
# Sourced by kv-cli.sh, whose nodes and line protocol it uses. What a file holds is judged by the
# program itself (simple-kv --export), here or in a node's container; without either, only a file's
# beginning and end are looked at.
# shellcheck disable=SC2153,SC2034
set -o pipefail

readonly END_BYTES=65536 # of a file, kept to find its end mark in

# bash cannot close one half of a connection: the server ends it, behind the last byte of a backup.
# shellcheck disable=SC2016
readonly PULL='exec 3<>"/dev/tcp/$0/$1" || exit
printf "BACKUP\n" >&3
exec cat <&3'
# It listens while it sends, so that a server which refuses halfway is heard.
# shellcheck disable=SC2016
readonly PUSH='exec 3<>"/dev/tcp/$0/$1" || exit
cat <&3 &
{ printf "RESTORE\n" && cat; } >&3 2>/dev/null
wait'

parse_file() { # COMMAND [ARGUMENT…]: sets FILE and YES
    local command=$1 argument
    local -a files=()
    YES=''
    shift
    for argument in "$@"; do
        case $command:$argument in
            restore:--yes | restore:-y) YES=yes ;;
            *:-) files+=(-) ;;
            *:-*) misused "$command does not know $argument" ;;
            *) files+=("$argument") ;;
        esac
    done
    case $command:${#files[@]} in
        *:1) FILE=${files[0]} ;;
        export:0 | import:0) FILE=- ;;
        *) misused "$command takes the name of a file, or - for" \
            "$([[ $command == restore ]] && echo stdin || echo stdout)" ;;
    esac
}

# --- programs -------------------------------------------------------------------------------------

find_program() { # sets PROGRAM to what runs simple-kv; false if nothing does
    local node
    PROGRAM=()
    if [[ -n ${KV_BINARY-} ]]; then
        PROGRAM=("$KV_BINARY")
    elif [[ -x $ROOT/build/simple-kv ]]; then
        PROGRAM=("$ROOT/build/simple-kv")
    elif command -v simple-kv >/dev/null; then
        PROGRAM=(simple-kv)
    elif command -v docker >/dev/null; then
        for node in "${NAMES[@]}"; do
            docker exec "simple-kv-$node" true 2>/dev/null || continue
            PROGRAM=(docker exec -i "simple-kv-$node" simple-kv)
            return
        done
    fi
    ((${#PROGRAM[@]} > 0))
}

require_program() {
    find_program || die 1 "$1 needs the program simple-kv, and there is none: neither" \
        "$ROOT/build/simple-kv (./kv-cli.sh up builds it) nor a running container of a node"
}

require_zstd() {
    local sudo=''
    ! command -v zstd >/dev/null || return 0
    [[ $(id -u) == 0 ]] || sudo=sudo
    if command -v apt-get >/dev/null && command -v ${sudo:-env} >/dev/null; then
        step "Installing zstd"
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq zstd >&2 && return
    fi
    die 1 "zstd is not installed (on Debian: apt-get install zstd)"
}

pack() { # as the name of FILE asks for
    if [[ $FILE == *.zst ]]; then zstd -q -T0; else cat; fi
}

is_packed() { [[ $(head -c 4 "$1" | od -An -tx1) == ' 28 b5 2f fd' ]]; }

# --- what passes through --------------------------------------------------------------------------

meter() { # [BYTES]: copies stdin to stdout, a pipe; says on a terminal how far it is, of so many
    local bytes=0 count of=${1:+ of $((($1 + 1048575) >> 20))}
    [[ -t 2 ]] || { cat; return; }
    exec 5>&1
    while count=$(head -c 1048576 | tee /dev/fd/5 | wc -c) && ((count > 0)); do
        ((bytes += count))
        printf '\r%s%s MiB' $((bytes >> 20)) "$of" >&2
    done
    printf '\n' >&2
}

guard() { # lets a backup pass, and puts anything else aside
    local begin
    begin=$(head -c 8 | tr -d '\0')
    if [[ $begin == SIMPLEKV ]]; then
        printf '%s' "$begin"
        cat
    else
        { printf '%s' "$begin" && cat; } | tr -d '\0' | head -n 1 >"$WORK/refused"
        return 1
    fi
}

pull() { # to stdout, a pipe: a backup of the chosen node; keeps its size and end in WORK
    mkfifo "$WORK/to-end" "$WORK/to-size"
    tail -c "$END_BYTES" <"$WORK/to-end" >"$WORK/end" &
    wc -c <"$WORK/to-size" >"$WORK/size" &
    bash -c "$PULL" "${HOST[$NODE]}" "${PORT[$NODE]}" 2>"$WORK/pull.err" | guard | meter |
        tee "$WORK/to-end" "$WORK/to-size"
    local status=$?
    wait
    return "$status"
}

pull_failed() { # STATUS [REASON]
    (($1 != 141)) || exit 141 # SIGPIPE: whoever read stdout has seen enough
    [[ ! -s $WORK/refused ]] || { REASON=$(<"$WORK/refused"); complain "$NODE" "$EXIT_SERVER"; }
    die "$EXIT_CONNECT" "the backup of $NODE was not complete: ${2:-the connection ended early}"
}

little_endian() { # NUMBER BYTES: sets HEX
    local i
    HEX=''
    for ((i = 0; i < $2; i++)); do
        printf -v HEX '%s%02x' "$HEX" $((($1 >> (8 * i)) & 255))
    done
}

# Looks for the end mark of docs/file-format.md: of 52 bytes, and 16 for each origin.
has_end() { # SIZE FILE, which holds the last bytes: sets RECORDS; false unless it ends with a mark
    local size=$1 hex from start at wanted i
    hex=$(od -An -v -tx1 "$2" | tr -d ' \n')
    from=$((size - ${#hex} / 2))
    for ((start = size - 52; start >= from; start -= 16)); do
        at=$(((start - from) * 2))
        little_endian $((size - start - 12)) 4
        wanted=${HEX}00008002
        little_endian "$start" 8
        [[ ${hex:at+8:32} == "$wanted$HEX" ]] || continue
        RECORDS=0
        for ((i = 7; i >= 0; i--)); do
            RECORDS=$(((RECORDS << 8) | 16#${hex:at+72+2*i:2}))
        done
        return 0
    done
    return 1
}

# --- backup and export ----------------------------------------------------------------------------

discard() { rm -f "$PART"; }

begin_file() { # PART is where it is written to, and goes if it stays unfinished
    [[ ! -d $FILE ]] || misused "$FILE is a directory; expected the name of a file"
    if [[ $FILE == - ]]; then
        PART=/dev/stdout
        return
    fi
    [[ ! -L $FILE ]] || FILE=$(readlink -f "$FILE")
    if [[ -e $FILE && ! -f $FILE ]]; then
        misused "$FILE is no plain file; - as the name is stdout, which goes anywhere"
    fi
    PART=$FILE.part.$$
    AT_END=discard
    : >"$PART" || die 1 "cannot write $PART"
}

finish_file() {
    [[ $FILE != - ]] || return 0
    if ! sync "$PART" || ! mv -f "$PART" "$FILE"; then
        die 1 "cannot write $FILE"
    fi
    AT_END=:
    say "$FILE: $(stat -c %s "$FILE") bytes"
}

verify() { # PART, as far as that can be done here
    if [[ $FILE != - ]] && find_program; then
        if is_packed "$PART"; then zstd -dcq "$PART"; else cat "$PART"; fi |
            "${PROGRAM[@]}" --export 2>"$WORK/verify.err" >/dev/null ||
            pull_failed 1 "$(tail -n 1 "$WORK/verify.err")"
    else
        has_end "$(<"$WORK/size")" "$WORK/end" || pull_failed 1
    fi
}

backup() {
    parse_file backup "$@"
    [[ $FILE != - || ! -t 1 ]] || misused "a backup is no text for a terminal; redirect it"
    [[ $FILE != *.zst ]] || require_zstd
    request PING
    begin_file
    pull | pack >"$PART" || pull_failed $? "$(tail -n 1 "$WORK/pull.err")"
    verify
    finish_file
}

export_lines() {
    parse_file export "$@"
    require_program export
    [[ $FILE != *.zst ]] || require_zstd
    request PING
    begin_file
    pull | "${PROGRAM[@]}" --export 2>"$WORK/export.err" | pack >"$PART" ||
        pull_failed $? "$(tail -n 1 "$WORK/export.err")"
    finish_file
}

# --- restore and import ---------------------------------------------------------------------------

unpack() { # sets SOURCE to a plain file with what FILE holds
    SOURCE=$FILE
    if [[ $FILE == - ]]; then
        SOURCE=$WORK/given
        cat >"$SOURCE" || die 1 "cannot write $SOURCE"
    fi
    [[ -r $SOURCE && ! -d $SOURCE ]] || die 1 "cannot read $FILE"
    if is_packed "$SOURCE"; then
        require_zstd
        zstd -dcq "$SOURCE" >"$WORK/plain" || die 1 "cannot unpack $FILE"
        SOURCE=$WORK/plain
    fi
}

count_keys() { # of SOURCE: sets KEYS; ends the script if it is damaged, before anything is written
    if find_program; then
        KEYS=$("${PROGRAM[@]}" --export <"$SOURCE" 2>"$WORK/count.err" | wc -l) ||
            die 1 "$FILE: $(tail -n 1 "$WORK/count.err"); nothing was written"
        return
    fi
    tail -c "$END_BYTES" "$SOURCE" >"$WORK/end"
    if [[ $(head -c 8 "$SOURCE" | tr -d '\0') != SIMPLEKV ]] ||
        ! has_end "$(stat -c %s "$SOURCE")" "$WORK/end"; then
        die 1 "$FILE is no backup, or is cut off; nothing was written"
    fi
    KEYS="up to $RECORDS"
}

confirm() {
    local answer
    [[ -z $YES ]] || return 0
    [[ $FILE != - && -t 0 ]] ||
        misused "restore writes $KEYS keys over what the cluster holds now; --yes says that it may"
    read -r -p "Write $KEYS keys over what the cluster holds now, by way of $NODE? [y/N] " answer
    [[ ${answer,,} == y || ${answer,,} == yes ]] || die 1 "nothing was written"
}

push() { # SOURCE, to the chosen node
    local size
    size=$(stat -c %s "$SOURCE")
    meter "$size" <"$SOURCE" |
        bash -c "$PUSH" "${HOST[$NODE]}" "${PORT[$NODE]}" >"$WORK/reply" 2>"$WORK/push.err"
    REASON=$(head -c 1000 "$WORK/reply" | tr -d '\0' | head -n 1)
    if [[ $REASON == OK* ]]; then
        printf '%s\n' "$REASON"
    elif [[ -n $REASON ]]; then
        complain "$NODE" "$EXIT_SERVER"
    else
        REASON=$(tail -n 1 "$WORK/push.err")
        REASON=${REASON:-the connection ended early; some keys may have been written}
        complain "$NODE" "$EXIT_CONNECT"
    fi
}

restore() {
    parse_file restore "$@"
    request PING
    unpack
    count_keys
    confirm
    push
}

import_lines() {
    parse_file import "$@"
    require_program import
    request PING
    unpack
    "${PROGRAM[@]}" --import <"$SOURCE" 2>"$WORK/import.err" >"$WORK/backup" ||
        die 1 "$FILE: $(tail -n 1 "$WORK/import.err"); nothing was written"
    SOURCE=$WORK/backup
    push
}
