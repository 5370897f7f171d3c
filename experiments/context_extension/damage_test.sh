#!/usr/bin/env bash
# Damaged files and a full disk: a study says in one line which file is bad, goes on from what is whole, and leaves the
# same rows; where nothing is whole it stops with one line.
set -euo pipefail

study="$1"
source "$(dirname "${BASH_SOURCE[0]}")/small_study.sh"
make_words "${TEST_TMPDIR}/text"
small_study "${TEST_TMPDIR}/text"
out="${TEST_TMPDIR}/out"
errors="${TEST_TMPDIR}/errors"

fail() {
  echo "$*"
  sed 's/^/  | /' "${errors}"
  exit 1
}
run() { "${study}" "${flags[@]}" --quiet "--out=${out}" > /dev/null 2> "${errors}"; }

# expect LINES TEXT...: a further run says LINES lines, which hold the texts, and its rows are the same.
expect() {
  local lines="$1" text
  shift
  run || fail "the study does not go on: $*"
  [[ "$(wc -l < "${errors}")" -eq "${lines}" ]] || fail "expected ${lines} lines: $*"
  for text in "$@"; do
    grep -qF -- "${text}" "${errors}" || fail "expected '${text}'"
  done
  cmp "${TEST_TMPDIR}/rows.jsonl" "${out}/rows.jsonl" || fail "rows differ: $*"
  run && [[ ! -s "${errors}" ]] || fail "not repaired: $*"
}

# flip FILE BYTE: the lowest bit of one byte, negative: from the end.
flip() {
  local size at value
  size="$(stat -c %s "$1")"
  at=$(($2 < 0 ? size + $2 : $2))
  value="$(od -An -tu1 -j "${at}" -N 1 "$1")"
  printf "$(printf '\\x%02x' $((value ^ 1)))" | dd of="$1" bs=1 seek="${at}" conv=notrunc status=none
}

# A disk that takes no more than 64 kB in one file. Not under ThreadSanitizer: its runtime keeps its own memory in a file, which
# that limit stops too (a save on a full disk is also in //common/train:checkpoint_test).
if grep -q __tsan_init "${study}"; then
  echo "left out under ThreadSanitizer: the full disk"
else
  (
    ulimit -f 64
    trap '' XFSZ  # the write gives an error instead
    run && exit 1 || [[ $? -eq 1 ]]
  ) || fail "a full disk is exit code 1"
  [[ "$(wc -l < "${errors}")" -eq 1 ]] || fail "a full disk is one line"
  grep -q "^error: cannot write ${out}/base/.*/step-00000001.safetensors: File too large" "${errors}" || fail "the full disk"
  [[ -z "$(find "${out}" -name '*.tmp.*')" ]] || fail "temporary files are left"
fi

run || fail "the study does not run"
cp "${out}/rows.jsonl" "${TEST_TMPDIR}/rows.jsonl"
base="$(echo "${out}"/base/*)"
frozen="$(echo "${out}"/runs/direct_frozen-*)"
tuned="$(echo "${out}"/runs/yarn_tuned-1-2-*)"
model="${out}/models/$(basename "${tuned}")"
base_model="${out}/models/base-$(basename "${base}")"

expect 0

# What a killed run was writing is cleared away, wherever in its folder.
for folder in "${out}" "${base}" "${frozen}" "${tuned}" "${tuned}/evaluation"; do
  [[ -d "${folder}" ]] || fail "no folder ${folder}"
  : > "${folder}/events.out.tfevents.0001.tmp.4711.4"
done
run || fail "the study does not run beside what was left"
[[ -z "$(find "${out}" -name '*.tmp.*')" ]] || fail "temporary files are left: $(find "${out}" -name '*.tmp.*')"

flip "${frozen}/rows.jsonl" 300
expect 1 "warning: ${frozen}/rows.jsonl: damaged"
: > "${frozen}/rows.jsonl"
expect 1 "warning: ${frozen}/rows.jsonl: damaged"
truncate -s -1 "${tuned}/rows.jsonl"
expect 1 "warning: ${tuned}/rows.jsonl: damaged"
flip "${tuned}/run.json" 20
expect 1 "warning: ${tuned}/run.json: damaged"
: > "${tuned}/run.json"
expect 1 "warning: ${tuned}/run.json: damaged"
rm "${tuned}/rows.jsonl"
expect 1 "warning: cannot open ${tuned}/rows.jsonl"
: > "${out}/rows.jsonl"  # made anew by every run
expect 0
flip "${base}/manifest.json" 40
expect 1 "warning: ${base}/manifest.json: damaged"

# The newest checkpoint is damaged: the one of before is used, and the step done again.
flip "${base}/step-00000024.safetensors" -5
expect 1 "warning: the checkpoint of step 24 is passed over: ${base}/step-00000024.safetensors: damaged"
flip "${base}/step-00000024.safetensors" 3
expect 1 "warning: the checkpoint of step 24 is passed over"

# A tuned arm is measured again from its model, which needs no checkpoints any more; where that one is damaged, it is
# trained again.
[[ -z "$(find "${tuned}" -name 'step-*' -o -name manifest.json)" ]] || fail "the checkpoints of a measured arm are kept"
rm "${tuned}/run.json"
file="$(stat -c %i "${model}/weights.safetensors")"
expect 0
[[ "$(stat -c %i "${model}/weights.safetensors")" == "${file}" ]] || fail "the arm was trained again"
flip "${model}/weights.safetensors" 900
expect 0  # measured it is
rm "${tuned}/run.json"
expect 1 "warning: ${model}/weights.safetensors: damaged or of another model" "; trained again"
flip "${model}/config.textproto" 400
rm "${tuned}/run.json"
expect 1 "warning: ${model}/config.textproto: damaged" "; trained again"
rm -r "${model}" "${tuned}/run.json"
expect 0
[[ -s "${model}/weights.safetensors" ]] || fail "the model is not kept again"
flip "${base_model}/weights.safetensors" 900
expect 1 "warning: ${base_model}/weights.safetensors: damaged or of another model" "; written again"

# Both are damaged.
for file in "${base}"/step-*; do flip "${file}" -5; done
run && fail "a study without a base model" || [[ $? -eq 1 ]] || fail "not exit code 1"
grep -q "^error: ${base}: no checkpoint is whole (.*step-00000024.*: damaged.*step-00000023.*: damaged.*remove the folder" \
  "${errors}" || fail "nothing is whole"
[[ "$(wc -l < "${errors}")" -eq 1 ]] || fail "more than the one line"
rm -r "${base}"
expect 0

# What is not finite stops the step, names it and keeps the checkpoint.
flags+=(--set base.optimizer.schedule.learning_rate=1e30 --set base.optimizer.schedule.warmup_steps=0)
for attempt in 1 2; do
  run && fail "a model of infinities" || [[ $? -eq 1 ]] || fail "not exit code 1"
  grep -q "^error: base model: step 1: the loss is .*; [A-Z][A-Za-z]* gives .* at \[.*\]" "${errors}" || fail "not named"
  [[ "$(wc -l < "${errors}")" -eq 1 ]] || fail "not one line"
done
echo "damaged files are named and passed over; the rows are the same"
