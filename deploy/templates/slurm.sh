#!/usr/bin/env bash
# One run per seed, each a job of this array. sbatch job.sbatch begins them; the same command goes on with those that have not ended.
# Before time is up the run saves, and the job queues itself again. Whole nodes, because at its end Ray stops all that is Ray's on a node.
@{directives}

set -uo pipefail
source @{environment}
seed=$SLURM_ARRAY_TASK_ID
runs=@{runs}
state=$runs/.slurm/$seed
mkdir -p "$state"
rm -f "$state/pid" "$state/code"

# One token for the nodes of this job, in a file that only its user reads.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$state/token
(umask 077; python -c 'import secrets; print(secrets.token_hex(32), end="")' >"$RAY_AUTH_TOKEN_PATH")

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
ip=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname -I | awk '{print $1}')
export address=$ip:$((20000 + SLURM_JOB_ID % 10000)) state seed

# Signals reach this shell only; they are passed on to the run, which is on this node, the first. USR1: time is nearly up.
ending=""
trap 'ending=yes; kill -TERM "$(cat "$state/pid")" 2>/dev/null' USR1
trap 'kill -TERM "$(cat "$state/pid")" 2>/dev/null' TERM

node() {  # on each node; the first has the head, and runs the command
    local offered='{"simulator": @{cpus}}'
    if [ "$SLURM_NODEID" = 0 ]; then offered='{"learner": 1, "simulator": @{simulators}}'; fi
    ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" --num-cpus @{cpus} --resources "$offered" -- \
        @{command}
}
export -f node
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --wait=120 bash -c node &
step=$!
# A signal ends wait, not what it waits for.
while kill -0 "$step" 2>/dev/null; do wait "$step"; done

# Ray may have failed without an exit code of its own, so the run has left one.
code=$(cat "$state/code" 2>/dev/null || echo 1)
rm -f "$RAY_AUTH_TOKEN_PATH"
if [ "$code" != 0 ] && [ -n "$ending" ]; then
    echo "out of time, saved: queued again"
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
