#!/bin/bash
# Writes the text corpora, from two Debian packages, as plain text into ${LONGRANGE_CORPORA:-~/.cache/longrange/corpora}:
#   anarchism.txt  "An Anarchist FAQ" (package anarchism), 11.7 MB of book-length English, its markdown files in sorted order
#   bible_kjv.txt  the King James Bible (package bible-kjv), 4.4 MB, a verse a line
# Slim images install packages without /usr/share/doc, so the first is unpacked from the package file where it is missing.
# With --check: writes nothing, succeeds if both are there.
set -euo pipefail
export LC_ALL=C

home=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}
corpora=$(realpath -m "${LONGRANGE_CORPORA:-$home/.cache/longrange/corpora}")

fail() {
  echo "corpora: error: $*" >&2
  exit 1
}

size() { stat -c %s "$1" 2> /dev/null || echo 0; }

# A new package version may differ by a little; a truncated or empty text must not pass.
is_there() {
  case $1 in
    anarchism) (($(size "$corpora/anarchism.txt") > 11000000)) ;;
    bible_kjv) (($(size "$corpora/bible_kjv.txt") > 4300000)) ;;
  esac
}

# Unpacks the package anarchism into the folder $1. Where this machine has no package lists, or old ones, it fetches lists of
# its own: those of the system are root's.
download_anarchism() (
  mkdir -p "$1/lists/partial" "$1/archives/partial"
  cd "$1"
  local apt=(apt-get -q -o APT::Sandbox::User=root)
  local own=(-o Dir::State::Lists="$1/lists" -o Dir::Cache="$1")
  "${apt[@]}" download anarchism > log 2>&1 ||
    { "${apt[@]}" "${own[@]}" update && "${apt[@]}" "${own[@]}" download anarchism; } > log 2>&1 ||
    fail "cannot download the Debian package anarchism: $(grep -E -m1 'Temporary failure|^E:' log || tail -n 1 log)"
  dpkg-deb -x anarchism_*.deb .
)

# Prints the text of anarchism, from the installed package or from one downloaded into $scratch.
anarchism() {
  local markdown=/usr/share/doc/anarchism/markdown
  if [[ ! -e $markdown/index.md ]]; then
    download_anarchism "$scratch/anarchism" || return 1
    markdown=$scratch/anarchism$markdown
  fi
  find "$markdown" \( -name '*.md' -o -name '*.md.gz' \) -print0 | sort -z | xargs -0 gzip -cdf
}

bible_kjv() {
  command -v bible > /dev/null || fail "the program bible is missing (Debian package bible-kjv): run third_party/install.sh"
  bible -f Gen1:1-Rev22:21 < /dev/null
}

if [[ ${1:-} == --check ]]; then
  is_there anarchism && is_there bible_kjv
  exit
fi

mkdir -p "$corpora" 2> /dev/null || fail "cannot create $corpora"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for name in anarchism bible_kjv; do
  is_there "$name" && continue
  echo "corpora: writing $corpora/$name.txt"
  "$name" > "$scratch/$name.txt" || exit 1
  { cp "$scratch/$name.txt" "$corpora/$name.txt.new" && mv "$corpora/$name.txt.new" "$corpora/$name.txt"; } ||
    fail "cannot write $corpora/$name.txt"
  is_there "$name" || fail "$corpora/$name.txt has only $(size "$corpora/$name.txt") bytes"
done
