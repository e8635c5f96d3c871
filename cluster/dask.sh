#!/bin/sh
# Start, use and stop a Dask cluster that runs corpusmill. See docs/cluster.md; `dask.sh help` says what there is.
set -eu

usage() {
    cat <<'HELP'
dask.sh scheduler            start a scheduler here; workers and runs connect to it
dask.sh workers HOST:PORT    start workers here, one process per core; run it on every machine of the cluster
dask.sh submit HOST:PORT RECIPE --out s3://BUCKET/RUN [more of `corpusmill run`]
                             run a recipe on the cluster, and wait for it
dask.sh status               say which of our processes run here
dask.sh stop                 stop the scheduler and the workers that were started here

Settings are environment variables:
  CORPUSMILL_BIN      folder of `dask` and `corpusmill` (default: the path, else .venv/bin beside this folder)
  CORPUSMILL_STATE    folder for process ids, logs and what workers spill (default: /tmp/corpusmill-dask-UID)
  CORPUSMILL_HOST     address that the scheduler listens on (default: 127.0.0.1; set it to one that workers reach)
  CORPUSMILL_PORT     port of the scheduler (default: 8786)
  CORPUSMILL_WORKERS  worker processes to start here (default: one per core)
  CORPUSMILL_MEMORY   memory of each worker, such as 6GB (default: what the machine has, by the number of workers)
  CORPUSMILL_DEATH_SECONDS  how long a worker looks for its scheduler before it ends (default: 60)
  AWS_…               where S3 is and who we are: set the same for workers and for submit
The scheduler and its workers trust whoever reaches them: keep their ports inside a private network.
HELP
}

fail() { echo "dask.sh: $*" >&2; exit 2; }

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
state=${CORPUSMILL_STATE:-/tmp/corpusmill-dask-$(id -u)}

tool() {
    if [ -n "${CORPUSMILL_BIN:-}" ]; then found=$CORPUSMILL_BIN/$1
    elif command -v "$1" >/dev/null 2>&1; then found=$(command -v "$1")
    else found=$here/../.venv/bin/$1; fi
    [ -x "$found" ] || fail "no \`$1\` found; install corpusmill[dask,s3], or set CORPUSMILL_BIN to its bin folder"
    echo "$found"
}

alive() { [ -f "$state/$1.pid" ] && kill -0 "$(cat "$state/$1.pid")" 2>/dev/null; }

# Start "$@" in a session of its own, so that it and all that it starts can be stopped together.
launch() {
    name=$1; shift
    alive "$name" && fail "the $name of $state runs already (process $(cat "$state/$name.pid")); \`dask.sh stop\` ends it"
    mkdir -p "$state" && chmod 700 "$state"
    setsid "$@" >"$state/$name.log" 2>&1 </dev/null &
    echo $! >"$state/$name.pid"
}

# Wait until a log says so, or its process is gone.
await() {
    for _ in $(seq 1 300); do
        grep -q "$2" "$state/$1.log" 2>/dev/null && return
        alive "$1" || { tail -n 5 "$state/$1.log" >&2; rm -f "$state/$1.pid"; fail "the $1 ended; its log is $state/$1.log"; }
        sleep 0.2
    done
    fail "the $1 does not say that it is ready; its log is $state/$1.log"
}

address() {
    case ${1:-} in
        *:*[0-9]) echo "$1" ;;
        *) fail "give the scheduler as HOST:PORT, such as 10.0.0.5:8786; found '${1:-}'" ;;
    esac
}

case ${1:-help} in
scheduler)
    [ $# -eq 1 ] || fail "scheduler takes nothing more; settings are environment variables (dask.sh help)"
    dask=$(tool dask)
    host=${CORPUSMILL_HOST:-127.0.0.1} port=${CORPUSMILL_PORT:-8786}
    launch scheduler "$dask" scheduler --host "$host" --port "$port" --no-dashboard
    await scheduler "Scheduler at:"
    echo "scheduler: $host:$port"
    ;;
workers)
    [ $# -eq 2 ] || fail "give one scheduler: dask.sh workers HOST:PORT"
    scheduler=$(address "$2")
    dask=$(tool dask)
    count=${CORPUSMILL_WORKERS:-$(nproc)}
    mkdir -p "$state/spill"
    # one thread a process: reading, extraction and tokenising hold Python's lock
    launch workers "$dask" worker "tcp://$scheduler" --nworkers "$count" --nthreads 1 --no-dashboard \
        --memory-limit "${CORPUSMILL_MEMORY:-auto}" --local-directory "$state/spill" --death-timeout "${CORPUSMILL_DEATH_SECONDS:-60}"
    await workers "Registered to:"
    echo "workers: $count on $(uname -n), for tcp://$scheduler"
    ;;
submit)
    [ $# -ge 3 ] || fail "give a scheduler, a recipe and --out: dask.sh submit HOST:PORT RECIPE --out s3://BUCKET/RUN"
    scheduler=$(address "$2")
    corpusmill=$(tool corpusmill)
    shift 2
    exec "$corpusmill" run "$@" --engine "dask://$scheduler"
    ;;
status)
    for name in scheduler workers; do
        if alive "$name"; then echo "$name: runs (process $(cat "$state/$name.pid"), log $state/$name.log)"; else echo "$name: none"; fi
    done
    ;;
stop)
    for name in workers scheduler; do
        if alive "$name"; then
            pid=$(cat "$state/$name.pid")
            kill -TERM -"$pid" 2>/dev/null || true
            for _ in $(seq 1 50); do kill -0 -"$pid" 2>/dev/null || break; sleep 0.2; done
            kill -KILL -"$pid" 2>/dev/null || true
            echo "$name: stopped"
        fi
        rm -f "$state/$name.pid"
    done
    rm -rf "$state/spill"
    ;;
help | -h | --help) usage ;;
*) usage >&2; fail "unknown: $1" ;;
esac
