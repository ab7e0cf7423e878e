#!/bin/bash
# A search on Slurm: a Ray cluster over the job's nodes, then `bdistil search` with the arguments
# given here. Change the resources below, and activate your environment where it says so.
#
#   launch    sbatch clusters/slurm.sh search_spaces/digits.yaml workers.count=8 --out RUN
#   watch     tail -f bdistil-JOBID.log;  bdistil status RUN     (on the login node)
#   resume    by itself: two minutes before its time is over, or when it is preempted, the job ends
#             the search and is requeued; the same command on the same --out goes on where it was
#   fetch     nothing to do: RUN is a folder of the shared file system
#   end       scancel JOBID                            (accepted rounds are kept)

#SBATCH --job-name=bdistil
#SBATCH --nodes=3
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
##SBATCH --gpus-per-node=1
#SBATCH --time=04:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log

set -euo pipefail
# source /SHARED/venv/bin/activate

port=$((20000 + SLURM_JOB_ID % 20000))  # jobs of others may run on the same nodes
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
address=${nodes[0]}:$port
workers=$((${#nodes[@]} - 1))

RAY_AUTH_TOKEN=$(ray get-auth-token --generate)
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token  # srun hands them to every node

search=
requeue=
interrupt() {  # the search keeps what it has and ends; before it has begun, so does the job
    if [[ -n $search ]]; then kill -TERM "$search" 2>/dev/null || true; else exit 143; fi
}
trap 'requeue=yes; interrupt' USR1     # the time is nearly over
trap interrupt TERM INT                # scancel, or preemption, after which Slurm itself requeues
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT  # Ray ends with its srun

start_ray() {  # NUMBER_OF_NODES SRUN_OPTION RAY_OPTION...
    srun --nodes="$1" --ntasks="$1" "$2" --cpus-per-task="$SLURM_CPUS_PER_TASK" \
        ray start --block --num-cpus="$SLURM_CPUS_PER_TASK" \
        --num-gpus="${SLURM_GPUS_ON_NODE:-0}" --temp-dir="/tmp/ray-$SLURM_JOB_ID" "${@:3}" &
}

start_ray 1 --nodelist="${nodes[0]}" --head --port="$port" --include-dashboard=false
for _ in {1..60}; do
    if ray status --address "$address" >/dev/null 2>&1; then break; fi
    sleep 1
done
if ((workers > 0)); then
    start_ray "$workers" --exclude="${nodes[0]}" --address="$address"
fi

RAY_ADDRESS=$address bdistil search "$@" &
search=$!
status=0
while kill -0 "$search" 2>/dev/null; do  # a signal ends `wait` before the search has ended
    status=0
    wait "$search" || status=$?
done

if [[ -n $requeue && $status -ne 0 ]]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
