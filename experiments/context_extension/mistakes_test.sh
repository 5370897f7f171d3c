#!/usr/bin/env bash
# A user's mistakes: one line that says what was wrong and what would be right, exit code 2.
set -uo pipefail

study="$1"
failed=0
expect() {  # EXIT_CODE TEXT FLAGS...
  local code="$2" text="$3" output
  output="$("${study}" "--out=${TEST_TMPDIR}/out" "${@:4}" 2>&1)"
  local got=$?
  if [[ "${got}" -ne "${code}" || "${output}" != *"${text}"* || "$(wc -l <<< "${output}")" -ne 1 ]]; then
    echo "$1: expected exit code ${code} and one line with '${text}', got ${got}: ${output}"
    failed=1
  fi
}

expect "wrong flag" 2 "--preset" --presett=full
expect "stray argument" 2 "argument" stray
expect "flag's value" 2 "threads" --threads=many
expect "unknown preset" 2 "known: smoke, full" --preset=ful
expect "unknown arm" 2 "unknown arm 'pi'; known:" --arms=pi
expect "unknown field" 2 "batch" --set base.bath=3
expect "field's value" 2 "steps" --set base.steps=x
expect "missing corpus" 2 "nowhere" --corpus=./nowhere
expect "unknown plugin" 2 "Nothing" --set 'task=[type.googleapis.com/longrange.NothingConfig] {}'
expect "small vocabulary" 2 "model.vocabulary: 100" --corpus="${BASH_SOURCE[0]}" --set model.vocabulary=100
expect "no tokens" 2 "base.batch: 0" --set base.batch=0
expect "no checks" 2 "base.check_every: 0" --set base.check_every=0
expect "empty bucket" 2 "evaluation.position_bucket: 0" --set evaluation.position_bucket=0
expect "tuning rate" 2 "tuning.optimizer schedule.learning_rate: -1" --set tuning.optimizer.schedule.learning_rate=-1
expect "negative width" 2 "feed_forward.width: -5" --set model.backbone.feed_forward.width=-5
expect "short corpus" 2 "corpus" --corpus="${BASH_SOURCE[0]}"
expect "threads" 2 "threads=100000" --threads=100000
expect "heads" 2 "heads: 5" --set model.backbone.mixer.heads=5

# An arm that breaks the control.
folder="${TEST_TMPDIR}/study"
mkdir -p "${folder}/arms"
cp "$(dirname "${BASH_SOURCE[0]}")/protocol.textproto" "${folder}/"
printf 'settings { base { batch: 64 } }\n' > "${folder}/arms/unfair.textproto"
expect "control" 2 "arm 'unfair' breaks the control: it sets base.batch to 64 where the protocol has 32" --study="${folder}"
printf 'settings { base { batch: 64 }\n' > "${folder}/arms/unfair.textproto"
expect "syntax" 2 "unfair.textproto:" --study="${folder}"
printf 'settings { tuning { steps: 500 } }\n' > "${folder}/arms/unfair.textproto"
expect "budget" 2 "tuning.steps to 500 where the protocol has 100" --study="${folder}"
rm "${folder}/arms/unfair.textproto"
expect "no arms" 2 "no arms" --study="${folder}"
expect "no study" 2 "missing" --study="${TEST_TMPDIR}/missing"
exit "${failed}"
