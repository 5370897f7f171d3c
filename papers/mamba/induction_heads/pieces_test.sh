#!/usr/bin/env bash
# What a study without text refuses, and that reading in pieces changes no score: STUDY.
set -euo pipefail

study="$1"
folder="$(dirname "${study}")/induction_heads"
out="${TEST_TMPDIR}/out"

# A study of one arm, so that the first refusal is known.
one="${TEST_TMPDIR}/one"
mkdir -p "${one}/arms"
cp -L "${folder}/arms/attention_rope.textproto" "${one}/arms/"
sed -e '/^finding {/,/^}/d' -e '/^arm: /d' "${folder}/protocol.textproto" > "${one}/protocol.textproto"
run() { "${study}" --preset=smoke "--study=${one}" --quiet "$@"; }

refused() {  # TEXT FLAGS...
  local text="$1" said
  shift
  if said="$(run "--out=${out}-refused" "$@" 2>&1)"; then
    echo "$*: was not refused"
    exit 1
  fi
  [[ "${said}" == *"${text}"* ]] || { echo "$*: said '${said}', expected '${text}'"; exit 1; }
  [[ "$(wc -l <<< "${said}")" == 1 ]] || { echo "$*: said more than a line: ${said}"; exit 1; }
}
refused "data.corpus: 'anarchism' (expected none: this study has no text)" --corpus=anarchism
refused "evaluation.length: 128 (expected none where there is no text)" --set evaluation.length=128
refused "tuning.task_share: 0.5 (expected 1 where there is no text)" --set tuning.task_share=0.5
refused "model.vocabulary: 3 does not hold the tokeniser's 16 tokens (16 of tasks)" \
  --set model.vocabulary=3
refused "vocabulary: 2 (expected 3" --set task.vocabulary=2
refused "model.features: 1 (expected 0, as task 'mamba_induction_heads' has in a row)" \
  --set model.features=1
refused "evaluation.task_length 64: 64 rows in pieces of 24: a bidirectional model does not stream" \
  --set model.direction=BIDIRECTIONAL
refused "answers once for all rows" --set model.pooling=MEAN
refused "length: 2 (expected 3 or more" --set evaluation.task_length=2

scores() {  # FLAGS...
  rm -rf "${out}"
  run "--out=${out}" --set evaluation.longest_growing=0 "$@" > /dev/null
  grep '"kind":"task"' "${out}/rows.jsonl" | grep -o '"length":[0-9]*\|"scores":"[^"]*"'
}
whole="$(scores --set evaluation.stream_rows=0)"
pieces="$(scores)"
[[ "$(grep -c scores <<< "${whole}")" == 4 ]] || { echo "expected 4 lengths: ${whole}"; exit 1; }
[[ "${whole}" == "${pieces}" ]] || { echo "in pieces: ${pieces}; at once: ${whole}"; exit 1; }
