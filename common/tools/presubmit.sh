#!/usr/bin/env bash
# bazel run //common/tools:presubmit [-- --all] [-- --base=REF]: what is to be in order before a change goes in. Prints a line a
# finding, with its cure; exits 1 if there is one. Looks at files that differ from the commit REF (main) and at new ones, or at
# all; lists and layers are checked in full either way.
#
#   format   clang-format, by .clang-format
#   tidy     clang-tidy's short list, by .clang-tidy, with the flags that Bazel compiles the files with
#   tree     lists, forgotten tests, includes across layers (common/tools/tree_check.h)
#   layers   visibility: bazel build --nobuild //...
#
# Needs clang-format and clang-tidy (apt-get install clang-format clang-tidy). What `bazel test //...` says is not repeated here.
set -uo pipefail

tree_check="$(realpath -e "$1")" || exit 1
shift
base="main" all=""
for flag in "$@"; do
  case "${flag}" in
    --all) all=1 ;;
    --base=*) base="${flag#--base=}" ;;
    --help)
      sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    *)
      echo "error: unknown flag ${flag} (expected --all, --base=REF or --help)" >&2
      exit 2
      ;;
  esac
done
cd "${BUILD_WORKSPACE_DIRECTORY:?start it with bazel run //common/tools:presubmit}" || exit 1
for tool in clang-format clang-tidy git; do
  command -v "${tool}" > /dev/null || { echo "error: ${tool} is missing (apt-get install ${tool})" >&2; exit 1; }
done

if [[ -n "${all}" ]]; then
  files="$(git ls-files --cached --others --exclude-standard '*.cc' '*.h' '*.cu')"
else
  from="$(git merge-base HEAD "${base}" 2> /dev/null)" ||
    { echo "error: --base=${base}: no such commit here (expected a branch or a commit, or --all)" >&2; exit 2; }
  files="$({ git diff --name-only --diff-filter=d "${from}"; git ls-files --others --exclude-standard; } |
    grep -E '\.(cc|h|cu)$' | sort -u)"
fi
files="$(for file in ${files}; do [[ -f "${file}" ]] && echo "${file}"; done)"
findings="$(mktemp)"
scratch="$(mktemp -d)"
trap 'rm -rf "${findings}" "${scratch}"' EXIT
say() { echo "presubmit: $*" >&2; }

say "format"
for file in ${files}; do
  clang-format --dry-run -Werror "${file}" 2> /dev/null ||
    echo "${file}: not formatted (clang-format -i ${file})" >> "${findings}"
done

say "tree"
"${tree_check}" "--root=${PWD}" >> "${findings}"
(($? <= 1)) || echo "common/tools/tree_check did not run to its end (see above)" >> "${findings}"

say "layers"
packages=(//common/... //experiments/... //kernels/... //papers/... //plugins/... //third_party/...)
in_order=1
# "ERROR: FILE:LINE: in RULE: target '//a' is not visible from target '//b'. Check the visibility declaration ..."
bazel build --nobuild --keep_going "${packages[@]}" > "${scratch}/layers" 2>&1 || in_order=""
if [[ -z "${in_order}" ]]; then
  { grep -E "^ERROR: .* is not visible from" "${scratch}/layers" || grep -m 1 "^ERROR: " "${scratch}/layers"; } |
    sed -E "s#^ERROR: ##; s#${PWD}/##; s# Check the visibility declaration.*# (common/bazel/layers.bzl has the layers)#" >> "${findings}"
fi

# A changed header is looked at through a file of its folder that includes it.
units="$(for file in ${files}; do
  case "${file}" in
    *.cc) echo "${file}" ;;
    *.h) grep -lF "#include \"${file}\"" "$(dirname "${file}")"/*.cc 2> /dev/null | head -n 1 ;;
  esac
done | sort -u)"
if [[ -n "${units}" && -z "${in_order}" ]]; then
  say "tidy: left out until the BUILD files are mended"
elif [[ -n "${units}" ]]; then
  say "tidy: $(wc -w <<< "${units}") files"
  # Generated headers first; then each file's own compile command.
  bazel build --keep_going --output_groups=compilation_prerequisites_INTERNAL_ "${packages[@]}" > "${scratch}/headers" 2>&1
  bazel aquery "mnemonic(CppCompile, set(${packages[*]}))" --output=text 2> /dev/null |
    awk '/^  Command Line: / { inside = 1; line = "" }
         inside { text = $0; sub(/^  Command Line: \(exec /, "", text); sub(/^ +/, "", text)
                  last = sub(/\)$/, "", text); sub(/\\$/, "", text); line = line text
                  if (last) { print line; inside = 0 } }' > "${scratch}/commands"
  output="$(bazel info execution_root 2> /dev/null)"
  tidy() {  # FILE
    local file="$1" command word flags=()
    command="$(grep -F -- " -c ${file} " "${scratch}/commands" | head -n 1)"
    if [[ -z "${command}" ]]; then
      echo "${file}: compiled by no target (name it in a BUILD file)"
      return
    fi
    # Of gcc's command what names the language, macros and includes; Bazel's outputs are not under this folder.
    eval "set -- ${command}"
    while (($# > 0)); do
      case "$1" in
        -std=* | -march=* | -isystem?*) flags+=("$1") ;;
        -D__* | -D_FORTIFY*) ;;
        -D*) flags+=("$1") ;;
        -iquote | -isystem)
          word="$2"
          [[ "${word}" == bazel-out/* || "${word}" == external/* ]] && word="${output}/${word}"
          flags+=("$1" "${word}")
          shift
          ;;
      esac
      shift
    done
    clang-tidy --quiet "${file}" -- -w "${flags[@]}" 2> /dev/null |
      grep -E "^[^ ].*: (error|warning): " | sed "s#^${PWD}/##; s#\$# (mend it, or // NOLINT(check): why)#"
  }
  export -f tidy
  export scratch output
  xargs -P 2 -I {} bash -c 'tidy {}' <<< "${units}" | sort -u >> "${findings}"
fi

cat "${findings}"
count="$(wc -l < "${findings}")"
say "$(wc -w <<< "${files}") files, ${count} findings"
((count == 0))
