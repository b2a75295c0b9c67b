#!/usr/bin/env bash
# Builds the images. From a checkout of manyhands, or with its folder as the first argument: ./build.sh [CHECKOUT] [options of docker build]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
checkout=$PWD
if [ $# -gt 0 ] && [ -d "$1" ]; then checkout=$1; shift; fi
test -f "$checkout/constraints.txt" || { echo "error: $checkout is no checkout of manyhands" >&2; exit 2; }
export DOCKER_BUILDKIT=1
@{lines}
