#!/usr/bin/env bash
# Installs Longtask and starts it in this terminal: all processes of the Procfile, or only those that are named, as in
# `./run.sh web worker`. With -v it shows their whole output.
set -euo pipefail
# shellcheck source=scripts/setup.sh
source "$(dirname "$0")/scripts/setup.sh"

use_venv
install_requirements requirements.txt
fetch_nanobar
exec python -m scripts.run "$@"
