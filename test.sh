#!/usr/bin/env bash
# Runs every check. Arguments are passed to pytest: `./test.sh -k cancel`.
# `./test.sh --matrix` runs the core tests with other versions instead (noxfile.py), and passes its arguments to nox:
# `--session oldest`.
set -euo pipefail
# shellcheck source=scripts/setup.sh
source "$(dirname "$0")/scripts/setup.sh"

use_venv
install_requirements requirements-dev.txt
fetch_nanobar
fetch_typescript
# The tests start Redis servers of their own.
redis=$(find_redis)
PATH="$PATH:$(dirname "$redis")"

if [ "${1:-}" = --matrix ]; then
    shift
    # Lets nox find every Python of pyenv by its name.
    if command -v pyenv >/dev/null; then
        PYENV_VERSION=$(pyenv versions --bare | paste -sd:)
        export PYENV_VERSION
    fi
    exec nox "$@"
fi

ruff check
ruff format --check
mypy
# Three processes also where there are two cores, since tests mostly wait. The tests of a file run in one process and
# share their servers.
pytest -n 3 --dist loadfile "$@"
