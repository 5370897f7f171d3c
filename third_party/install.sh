#!/bin/bash
# Installs what the project needs on Debian 12: the packages of packages.txt, the text corpora (corpora.sh) and the setting of
# Bazel's disk cache (disk_cache.sh). Safe to run again; does nothing, and says so, where everything is there.
set -euo pipefail
[[ -z ${LONGRANGE_CORPORA:-} ]] || LONGRANGE_CORPORA=$(realpath -m "$LONGRANGE_CORPORA")
cd "$(dirname "$0")"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

say() { echo "install: $*"; }
fail() {
  echo "install: error: $*" >&2
  exit 1
}

if [[ ${1:-} == --help ]]; then
  sed -n '2,3s/^# //p' install.sh
  exit 0
elif (($# > 0)); then
  echo "install: error: unknown argument '$1'; there is only --help" >&2
  exit 2
fi

# The user whose home gets the corpora and the cache: under sudo, the one who called sudo.
as_user() {
  if ((EUID == 0)) && [[ -n ${SUDO_USER:-} && $SUDO_USER != root ]]; then
    sudo -u "$SUDO_USER" -H env ${LONGRANGE_CORPORA:+LONGRANGE_CORPORA="$LONGRANGE_CORPORA"} "$@"
  else
    "$@"
  fi
}

# Runs a command with its output in the log; on failure prints apt's own reason and stops.
quietly() {
  "$@" >> "$log" 2>&1 && return
  local reason
  reason=$(grep -m1 'Failed to fetch' "$log" ||
    grep -E 'error: |^E: ' "$log" | grep -v -m1 'Can not write log' ||
    tail -n 1 "$log")
  trap - EXIT
  fail "apt-get failed: ${reason:-no output} (all it said: $log)"
}

command -v apt-get > /dev/null || fail "apt-get not found: the packages are those of Debian 12"
missing=()
for package in $(grep -v '^#' packages.txt); do
  [[ $(dpkg-query -W -f '${Status}' "$package" 2> /dev/null) == 'install ok installed' ]] || missing+=("$package")
done

if ((${#missing[@]} > 0)); then
  say "these Debian packages are missing and will be installed: ${missing[*]}"
  if ((EUID == 0)); then
    root=()
  elif command -v sudo > /dev/null; then
    root=(sudo env DEBIAN_FRONTEND=noninteractive LC_ALL=C)
  else
    fail "installing packages needs root: run as root, or install sudo"
  fi
  log=$(mktemp /tmp/longrange_install.XXXXXX)
  trap 'rm -f "$log"' EXIT
  say "fetching the package lists ..."
  quietly "${root[@]}" apt-get -q -o DPkg::Lock::Timeout=300 update
  # Slim images have no folder for manual pages, and without it the Java that Bazel runs on does not configure.
  quietly "${root[@]}" mkdir -p /usr/share/man/man1
  say "installing (some minutes on a fresh machine) ..."
  quietly "${root[@]}" apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "${missing[@]}"
fi

if as_user ./corpora.sh --check; then
  corpora=there
else
  corpora=missing
  as_user ./corpora.sh || exit 1
fi
as_user ./disk_cache.sh || fail "could not write .bazelrc.local"

if ((${#missing[@]} == 0)) && [[ $corpora == there ]]; then
  say "everything is there, nothing to do"
else
  say "done"
fi
