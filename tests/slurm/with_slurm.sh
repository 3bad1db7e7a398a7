#!/usr/bin/env bash
# Run a command inside a SLURM cluster of one node: this machine. Needs Debian or Ubuntu (apt-get, dpkg), neither root nor
# systemd: the packages are unpacked into a folder, the daemons run as the present user and end with the command.
#
#   tests/slurm/with_slurm.sh COMMAND...          $SLURM_HERE is the folder of packages (.slurm)
set -euo pipefail

here=$(realpath -m "${SLURM_HERE:-.slurm}")
packages=(slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge libmunge2 libhwloc15)
if [[ ! -e $here/ready ]]; then
    mkdir -p "$here"
    (cd "$here" && apt-get download --quiet "${packages[@]}" && for file in *.deb; do dpkg -x "$file" .; done)
    touch "$here/ready"
fi

export PATH="$here/usr/bin:$here/usr/sbin:$PATH"
libraries=("$here"/usr/lib/*-linux-gnu)
export LD_LIBRARY_PATH="${libraries[0]}:${libraries[0]}/slurm-wlm${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
state=$(mktemp -d)
export SLURM_CONF=$state/slurm.conf
munge_socket=$state/munge.socket
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')
host=$(hostname -s)
mkdir "$state/ctld" "$state/spool"

# munge signs what the daemons say to each other; its key and socket are this cluster's own.
head -c 128 /dev/urandom > "$state/munge.key" && chmod 600 "$state/munge.key"
munged --key-file="$state/munge.key" --socket="$munge_socket" --pid-file="$state/munge.pid" \
    --seed-file="$state/munge.seed" --log-file="$state/munge.log" --force

cat > "$SLURM_CONF" << EOF
ClusterName=here
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
AuthType=auth/munge
AuthInfo=socket=$munge_socket
CredType=cred/munge
PluginDir=${libraries[0]}/slurm-wlm
StateSaveLocation=$state/ctld
SlurmdSpoolDir=$state/spool
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
KillWait=5
NodeName=$host NodeAddr=127.0.0.1 Sockets=1 CoresPerSocket=$(nproc) ThreadsPerCore=1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
EOF

slurmctld-wlm -D -c > "$state/slurmctld.log" 2>&1 &
daemons=($!)
slurmd-wlm -D -N "$host" -d "$here/usr/sbin/slurmstepd-wlm" > "$state/slurmd.log" 2>&1 &
daemons+=($!)
finish() {
    scancel --user="$(id -un)" 2> /dev/null || true # a command that failed may have left jobs, which would outlive the daemons
    for _ in $(seq 20); do [[ -z $(squeue --noheader 2> /dev/null) ]] && break; sleep 0.5; done
    kill "${daemons[@]}" "$(cat "$state/munge.pid")" 2> /dev/null || true
    wait "${daemons[@]}" 2> /dev/null || true
    rm -rf "$state"
}
trap finish EXIT

for _ in $(seq 60); do
    [[ $(sinfo --noheader --format=%t 2> /dev/null) == idle ]] && break
    sleep 0.5
done
if [[ $(sinfo --noheader --format=%t 2> /dev/null) != idle ]]; then
    echo "the node did not come up:" >&2
    tail -n 20 "$state"/*.log >&2
    exit 1
fi
PAL_SLURM_TEST=1 "$@"
