# shellcheck shell=bash
# `kv-cli.sh up`, `down`, `restart` and `logs`: nodes on this machine, or the compose cluster.
#
# Sourced by kv-cli.sh, whose nodes and line protocol it uses.
# shellcheck disable=SC2153

readonly RUN_DIR=${KV_RUN_DIR:-$ROOT/.run}
readonly LINK_SECONDS=20 # what `up` gives the nodes to find each other
readonly STOP_SECONDS=10 # what `down` gives a node to end by itself

parse_place() { # COMMAND [ARGUMENT…]: sets DOCKER, FOLLOW, VOLUMES, CHOSEN (as given), SELECTED
    local command=$1
    DOCKER='' FOLLOW='' VOLUMES='' CHOSEN=(${NODE:+"$NODE"})
    shift
    for argument in "$@"; do
        case $command:$argument in
            *:--docker) DOCKER=yes ;;
            logs:-f | logs:--follow) FOLLOW=-f ;;
            down:-v | down:--volumes) VOLUMES=-v ;;
            *:-*) misused "$command does not know $argument" ;;
            *) CHOSEN+=("$argument") ;;
        esac
    done
    select_nodes "${CHOSEN[@]}"
    [[ -z $DOCKER ]] || find_compose
}

find_compose() {
    if docker compose version >/dev/null 2>&1; then
        COMPOSE=(docker compose)
    elif command -v docker-compose >/dev/null; then
        COMPOSE=(docker-compose)
    else
        die 1 "docker-compose is not installed (on Debian: apt-get install docker-compose)"
    fi
    compose ps >/dev/null 2>"$WORK/compose.err" || # it can take a page to say that no engine runs
        die 1 "${COMPOSE[*]} cannot work here: $(tail -n 1 "$WORK/compose.err")"
}

compose() { (cd "$ROOT" && "${COMPOSE[@]}" "$@"); }

install_packages() {
    local package sudo=''
    local -a wanted missing=()
    mapfile -t wanted < <(cat "$ROOT"/docker/packages-{build,run}.txt)
    if ! command -v apt-get >/dev/null; then
        say "This is not a Debian system; the build needs what provides: ${wanted[*]}"
        return
    fi
    for package in "${wanted[@]}"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
            missing+=("$package")
    done
    ((${#missing[@]} > 0)) || return 0
    step "Installing ${missing[*]}"
    if [[ $(id -u) != 0 ]]; then
        command -v sudo >/dev/null ||
            die 1 "that needs root: as root, run  apt-get install -y ${missing[*]}"
        sudo=sudo
    fi
    if ! $sudo apt-get update -qq >&2 || ! $sudo env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2; then
        die 1 "apt-get could not install ${missing[*]}"
    fi
}

build() {
    step "Building"
    [[ -f $ROOT/build/build.ninja ]] || cmake -S "$ROOT" -B "$ROOT/build" -G Ninja >&2 ||
        die 1 "cmake could not configure the build"
    cmake --build "$ROOT/build" --target simple-kv >&2 || die 1 "the build failed"
}

running() { # NODE: sets PID; false unless it is the process that `up` started
    PID=$(cat "$RUN_DIR/$1.pid" 2>/dev/null) && [[ $PID =~ ^[0-9]+$ ]] &&
        [[ $(tr '\0' ' ' 2>/dev/null <"/proc/$PID/cmdline") == *simple-kv\ --name\ "$1"\ * ]]
}

require_run_dir() {
    mkdir -p "$RUN_DIR" 2>/dev/null
    [[ -d $RUN_DIR && -w $RUN_DIR ]] ||
        die 1 "this user may not write to $RUN_DIR (KV_RUN_DIR names another directory)"
}

peer_list() {
    local node list=''
    for node in "${NAMES[@]}"; do list+=,127.0.0.1:${PORT[$node]}; done
    printf '%s' "${list#,}"
}

free_port() { # NODE: ends the script if somebody listens where it should
    local port=${PORT[$1]}
    # shellcheck disable=SC2016
    timeout 2 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$0"' "$port" 2>/dev/null || return 0
    TIMEOUT=2 node_info "$1" || die 1 "$1 cannot start: another program uses port $port" \
        "(ss -ltnp or lsof -i :$port shows which)"
    die 1 "$1 cannot start: on port $port runs a simple-kv that this script did not start" \
        "(the containers? ./kv-cli.sh down --docker)"
}

data_dir() { printf '%s/%s.data' "$RUN_DIR" "$1"; } # NODE

start_node() { # NODE
    local node=$1
    if running "$node"; then
        step "$node runs already (process $PID)"
        return
    fi
    [[ ! -e $RUN_DIR/$node.pid ]] || say "$node left a pid file, but its process is gone"
    setsid "$ROOT/build/simple-kv" --name "$node" --port "${PORT[$node]}" \
        --data-dir "$(data_dir "$node")" --peers "$(peer_list)" \
        >>"$RUN_DIR/$node.log" 2>&1 </dev/null &
    STARTED[$node]=$!
    echo $! >"$RUN_DIR/$node.pid"
    step "Starting $node on port ${PORT[$node]} (process $!, log $RUN_DIR/$node.log)"
}

settled() { # the selected nodes are linked to all that are up, or one that was started has ended
    local node up=0
    local -A links=()
    for node in "${!STARTED[@]}"; do
        kill -0 "${STARTED[$node]}" 2>/dev/null || return 0
    done
    for node in "${NAMES[@]}"; do
        node_info "$node" || continue
        links[$node]=${INFO[peers_linked]}
        ((up += 1))
    done
    for node in "${SELECTED[@]}"; do
        ((${links[$node]:--1} >= up - 1)) || return
    done
}

await_links() {
    local node
    step "Waiting for the nodes to link"
    eventually "$LINK_SECONDS" settled || say "The nodes are not linked after $LINK_SECONDS s."
    for node in "${!STARTED[@]}"; do
        kill -0 "${STARTED[$node]}" 2>/dev/null && continue
        die 1 "$node ended at once; the end of its log: $(tail -n 2 "$RUN_DIR/$node.log")"
    done
}

up() {
    local node
    declare -gA STARTED=()
    parse_place up "$@"
    if [[ -n $DOCKER ]]; then
        for node in "${SELECTED[@]}"; do
            ! running "$node" || die 1 "$node runs without a container (./kv-cli.sh down stops it)"
        done
        compose build >&2 || die 1 "${COMPOSE[*]} could not build the image"
        compose up -d "${CHOSEN[@]/#/kv-}" >&2 || die 1 "${COMPOSE[*]} up failed"
    else
        for node in "${SELECTED[@]}"; do
            [[ ${HOST[$node]} =~ ^(localhost|127\.0\.0\.1)$ ]] ||
                die "$EXIT_USAGE" "up starts nodes on this machine only; $node is ${ADDR[$node]}"
        done
        install_packages
        build
        for node in "${SELECTED[@]}"; do
            running "$node" || { require_run_dir && free_port "$node"; }
        done
        for node in "${SELECTED[@]}"; do start_node "$node"; done
    fi
    await_links
    print_status
}

down() {
    local node
    local -a asked=()
    parse_place down "$@"
    if [[ -n $DOCKER ]]; then
        [[ -z $VOLUMES || ${#CHOSEN[@]} == 0 ]] ||
            misused "down --docker --volumes removes all data: it takes no node"
        if ((${#CHOSEN[@]} > 0)); then
            compose stop "${CHOSEN[@]/#/kv-}"
        else
            compose down $VOLUMES
        fi >&2
        return
    fi
    for node in "${SELECTED[@]}"; do
        if running "$node"; then
            kill "$PID" 2>/dev/null || ! running "$node" ||
                die 1 "may not stop $node (process $PID) of user $(stat -c %U "/proc/$PID")"
            asked+=("$node")
        else
            say "$node is not running"
            rm -f "$RUN_DIR/$node.pid"
        fi
    done
    for node in "${asked[@]}"; do await_end "$node"; done
    [[ -n $VOLUMES ]] || return 0
    for node in "${SELECTED[@]}"; do remove_data "$node"; done
}

remove_data() { # NODE, which does not run
    local directory
    directory=$(data_dir "$1")
    [[ -e $directory ]] || return 0
    rm -rf -- "$directory" || die 1 "the data of $1 could not be removed"
    step "Removed the data of $1 ($directory)"
}

stopped() { ! running "$1"; }

await_end() { # NODE, which has been asked to stop
    if eventually "$STOP_SECONDS" stopped "$1"; then
        step "Stopped $1"
    else
        kill -KILL "$PID"
        step "Killed $1, which had not stopped within $STOP_SECONDS s"
    fi
    rm -f "$RUN_DIR/$1.pid"
}

restart() {
    parse_place restart "$@" # before anything of it is done
    down "$@"
    up "$@"
}

logs() {
    local node colour=''
    local -a files=()
    parse_place logs "$@"
    if [[ -n $DOCKER ]]; then
        [[ -n $PLAIN ]] || colour=--no-color
        compose logs $colour ${FOLLOW:+-f} "${CHOSEN[@]/#/kv-}"
        return
    fi
    for node in "${SELECTED[@]}"; do
        [[ ! -f $RUN_DIR/$node.log ]] || files+=("$RUN_DIR/$node.log")
    done
    ((${#files[@]} > 0)) || die 1 "no log of ${SELECTED[*]} in $RUN_DIR: \`up\` has not run yet" \
        "(containers: ./kv-cli.sh logs --docker)"
    tail -n 100 ${FOLLOW:+-f} "${files[@]}"
}
