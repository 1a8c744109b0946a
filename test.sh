#!/usr/bin/env bash
# Every check there is. Arguments go to pytest: `./test.sh -k cancel`.
set -euo pipefail
# shellcheck source=scripts/setup.sh
source "$(dirname "$0")/scripts/setup.sh"

use_venv
install_requirements requirements-dev.txt
fetch_nanobar
# The tests start Redis servers of their own.
redis=$(find_redis)
PATH="$PATH:$(dirname "$redis")"

ruff check
ruff format --check
mypy
# Two at a time, since most of a test is waiting; what belongs to one file shares its servers.
pytest -n 2 --dist loadfile "$@"
