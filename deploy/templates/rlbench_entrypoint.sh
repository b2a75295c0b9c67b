#!/usr/bin/env bash
# What RLBench's container runs: compiles PyRep where CoppeliaSim was mounted, then takes part in a run, `--connect @FILE` and the like.
set -euo pipefail
test -e "$COPPELIASIM_ROOT/libcoppeliaSim.so" || {
    echo "error: no CoppeliaSim in $COPPELIASIM_ROOT; mount it there, -v FOLDER:$COPPELIASIM_ROOT:ro" >&2
    exit 2
}
# Qt looks for this name, which CoppeliaSim does not come with; what is mounted may not be written to.
mkdir -p "$HOME/lib"
ln -sf "$COPPELIASIM_ROOT/libcoppeliaSim.so" "$HOME/lib/libcoppeliaSim.so.1"
export LD_LIBRARY_PATH=$HOME/lib:$LD_LIBRARY_PATH
python3 -c 'import pyrep' 2>/dev/null || python3 -m pip install --user --no-build-isolation --quiet /opt/pyrep
exec python3 -m outpost "$@"
