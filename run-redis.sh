#!/usr/bin/env bash
# Runs Redis in the foreground, on loopback, with its data in instance/. run.sh runs this, too.
set -euo pipefail
# shellcheck source=scripts/setup.sh
source "$(dirname "$0")/scripts/setup.sh"

port=${REDIS_PORT:-$(sed -n 's/^REDIS_PORT=//p' .env 2>/dev/null || true)}
port=${port:-6379}
[[ $port =~ ^[0-9]{1,5}$ ]] || die "REDIS_PORT must be a whole number, not '$port'."

# Uses bash's /dev/tcp, since redis-cli may not be installed.
if (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    answer=$(
        exec 3<>"/dev/tcp/127.0.0.1/$port"
        printf 'PING\r\n' >&3
        read -r -t 2 line <&3 || true
        echo "$line"
    )
    case $answer in
    +PONG* | -NOAUTH* | -LOADING* | -DENIED*)
        echo "Redis already runs on port $port: nothing to start."
        exit 0
        ;;
    *) die "Port $port is taken by something that is not Redis. Choose another: REDIS_PORT=6380 $0" ;;
    esac
fi

server=$(find_redis)
data="instance/redis-$port"
umask 077
mkdir -p "$data"
chmod 700 instance
chmod -R go= "$data"
# The append-only file keeps every write, so snapshots (--save) are not needed. A full Redis must refuse new tasks and
# must never remove accepted ones.
exec "$server" --port "$port" --bind 127.0.0.1 --dir "$data" --appendonly yes --save "" --maxmemory-policy noeviction
