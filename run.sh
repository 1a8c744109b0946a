#!/usr/bin/env bash
# Starts Longtask in this terminal, from nothing: everything of the Procfile, or `./run.sh web worker` those.
# With -v it shows all that they print.
set -euo pipefail
# shellcheck source=scripts/setup.sh
source "$(dirname "$0")/scripts/setup.sh"

use_venv
install_requirements requirements.txt
fetch_nanobar
exec python -m scripts.run "$@"
