#!/bin/sh
# Use a Flink cluster that runs corpusmill. NOT TESTED: written from Beam's documented options; see docs/cluster.md.
# `flink.sh help` says what there is.
set -eu

usage() {
    cat <<'HELP'
Flink itself is started by its own scripts (bin/start-cluster.sh, Kubernetes, YARN). On every machine with a TaskManager:

flink.sh pool                start the pool that starts Python workers when the TaskManager asks for them
flink.sh submit HOST:PORT RECIPE --out s3://BUCKET/RUN [more of `corpusmill run`]
                             run a recipe on the Flink cluster whose REST address is HOST:PORT, and wait for it
flink.sh stop                stop the pool that was started here

Settings are environment variables:
  CORPUSMILL_BIN                    folder of `python` and `corpusmill` (default: the path, else .venv/bin beside this folder)
  CORPUSMILL_STATE                  folder for the pool's process id and log (default: /tmp/corpusmill-flink-UID)
  CORPUSMILL_POOL_PORT              port of the pool, the same on every machine (default: 50000)
  CORPUSMILL_PARALLELISM            how many pieces are worked on at the same time in all (default: 2)
  CORPUSMILL_FLINK_JOB_SERVER_JAR   Beam's job server, such as beam-runners-flink-2.2-job-server-2.77.0.jar; needs `java`
  AWS_…                             where S3 is and who we are: set the same for the pools and for submit
The pool runs what reaches its port: keep it inside a private network.
HELP
}

fail() { echo "flink.sh: $*" >&2; exit 2; }

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
state=${CORPUSMILL_STATE:-/tmp/corpusmill-flink-$(id -u)}
port=${CORPUSMILL_POOL_PORT:-50000}

folder() {
    if [ -n "${CORPUSMILL_BIN:-}" ]; then found=$CORPUSMILL_BIN
    elif command -v corpusmill >/dev/null 2>&1; then found=$(dirname "$(command -v corpusmill)")
    else found=$here/../.venv/bin; fi
    [ -x "$found/corpusmill" ] || fail "no \`corpusmill\` found; install corpusmill[s3], or set CORPUSMILL_BIN to its bin folder"
    echo "$found"
}

case ${1:-help} in
pool)
    bin=$(folder)
    mkdir -p "$state" && chmod 700 "$state"
    [ ! -f "$state/pool.pid" ] || fail "a pool was started here (process $(cat "$state/pool.pid")); \`flink.sh stop\` ends it"
    # the pool starts `python` from the path: ours must come first
    PATH=$bin:$PATH PYTHONSAFEPATH=1 setsid "$bin/python" -m apache_beam.runners.worker.worker_pool_main \
        --service_port="$port" >"$state/pool.log" 2>&1 </dev/null &
    echo $! >"$state/pool.pid"
    echo "pool: port $port on $(uname -n), log $state/pool.log"
    ;;
submit)
    [ $# -ge 3 ] || fail "give Flink's REST address, a recipe and --out: flink.sh submit HOST:PORT RECIPE --out s3://BUCKET/RUN"
    case $2 in *:*[0-9]) ;; *) fail "give Flink's REST address as HOST:PORT, such as 10.0.0.5:8081; found '$2'" ;; esac
    jar=${CORPUSMILL_FLINK_JOB_SERVER_JAR:-}
    [ -n "$jar" ] || fail "set CORPUSMILL_FLINK_JOB_SERVER_JAR to Beam's job-server jar for your Flink"
    [ -r "$jar" ] || fail "$jar: no such file (CORPUSMILL_FLINK_JOB_SERVER_JAR)"
    command -v java >/dev/null 2>&1 || fail "no \`java\` on the path; the job server needs it"
    bin=$(folder) master=$2
    shift 2
    exec "$bin/corpusmill" run "$@" -- --runner=FlinkRunner --flink_master="$master" --flink_job_server_jar="$jar" \
        --environment_type=EXTERNAL --environment_config="localhost:$port" --parallelism="${CORPUSMILL_PARALLELISM:-2}"
    ;;
stop)
    [ -f "$state/pool.pid" ] || fail "no pool was started here"
    kill -TERM -"$(cat "$state/pool.pid")" 2>/dev/null || true
    rm -f "$state/pool.pid"
    echo "pool: stopped"
    ;;
help | -h | --help) usage ;;
*) usage >&2; fail "unknown: $1" ;;
esac
