#!/usr/bin/env bash
# Every check there is. Arguments go to pytest: `./test.sh -k cancel`.
# `./test.sh --matrix` tests the core with other versions instead (noxfile.py). Arguments go to nox: `--session oldest`.
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
    # So that each Python that pyenv has is found by its name.
    if command -v pyenv >/dev/null; then
        PYENV_VERSION=$(pyenv versions --bare | paste -sd:)
        export PYENV_VERSION
    fi
    exec nox "$@"
fi

ruff check
ruff format --check
mypy
# Two at a time, since most of a test is waiting; what belongs to one file shares its servers.
pytest -n 2 --dist loadfile "$@"
