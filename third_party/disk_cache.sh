#!/bin/bash
# Writes .bazelrc.local: a disk cache for Bazel whose folder is named by what its contents depend on beyond Bazel's own key:
# the CPU (-march=native), the compiler and the versions of the system libraries, whose headers Bazel does not watch.
# With --print: writes nothing, prints what the file would hold.
set -euo pipefail
cd "$(dirname "$0")/.."

system_id() {
  {
    grep -m1 -E '^flags' /proc/cpuinfo
    grep -m1 -E '^model\s' /proc/cpuinfo
    grep -m1 -E '^cpu family' /proc/cpuinfo
    g++ -dumpfullversion
    grep -v '^#' third_party/packages.txt | xargs dpkg-query -W -f '${Package} ${Version}\n' 2>/dev/null || true
  } | sha256sum | cut -c1-12
}

id=$(system_id)
home=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}
content="# Written by third_party/disk_cache.sh for this CPU, compiler and set of libraries; safe to delete.
build --disk_cache=${XDG_CACHE_HOME:-$home/.cache}/longrange/bazel/$id
build --action_env=LONGRANGE_SYSTEM=$id"

if [[ ${1:-} == --print ]]; then
  echo "$content"
elif [[ ! -f .bazelrc.local || $(<.bazelrc.local) != "$content" ]]; then
  echo "$content" > .bazelrc.local
fi
