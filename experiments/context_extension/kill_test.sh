#!/usr/bin/env bash
# Nothing is lost: kill -9 at random moments of a study's base training, tuning and evaluation. After each kill the same
# command goes on, from no older a step than the last one that a manifest had acknowledged before the kill; in the end
# rows.jsonl has the bytes of a run that was never killed, and no temporary file is left.
#
#   kill_test.sh STUDY [--kills=20] [--seed=1]
#   bazel run //experiments/context_extension:kill_test -- --kills=100 --seed=7
#
# Moments are drawn from the seed, as a time after a phase has begun; where that is in the work depends on the machine.
set -euo pipefail

study="$1"
kills=20 seed=1
for argument in "${@:2}"; do
  case "${argument}" in
    --kills=*) kills="${argument#*=}" ;;
    --seed=*) seed="${argument#*=}" ;;
    *) echo "unknown argument ${argument}; known: --kills=N, --seed=N"; exit 2 ;;
  esac
done
RANDOM="${seed}"
work="$(mktemp -d "${TEST_TMPDIR:-${TMPDIR:-/tmp}}/kill_test.XXXXXX")"
pid=""
trap '[[ -z "${pid}" ]] || kill -9 "${pid}" 2> /dev/null || true; rm -rf "${work}"' EXIT
source "$(dirname "${BASH_SOURCE[0]}")/small_study.sh"
make_words "${work}/text"
small_study "${work}/text"

fail() {
  echo "FAILED: $*"
  [[ ! -e "${work}/log" ]] || sed 's/^/  | /' "${work}/log"
  exit 1
}

# The newest step that a checkpoint folder's manifest acknowledges, 0 without one; left in `newest`.
newest_step() {
  newest=0
  local text rest
  if [[ -e "$1/run.json" ]]; then
    newest="${tuning_steps}"  # measured: its checkpoints are removed, its model is in models/
    return 0
  fi
  # The study that runs may write it, or measure the arm and remove it, between two looks.
  for _ in 1 2 3; do
    text="$(cat "$1/manifest.json" 2> /dev/null)" || true
    [[ -z "${text}" && -e "$1/manifest.json" ]] || break
  done
  if [[ -z "${text}" && ! -e "$1/manifest.json" ]]; then
    [[ ! -e "$1/run.json" ]] || newest="${tuning_steps}"
    return 0
  fi
  rest="${text}"
  while [[ "${rest}" =~ \"step\":\ ([0-9]+)(.*) ]]; do
    (( BASH_REMATCH[1] <= newest )) || newest="${BASH_REMATCH[1]}"
    rest="${BASH_REMATCH[2]}"
  done
  (( newest > 0 )) || fail "$1/manifest.json names no step: ${text}"
}

# "base", "tuning" or "evaluation": what is under way in ${out}; "start" and "end" around them. Left in `phase`.
find_phase() {
  local folder
  phase=start
  for folder in "${out}"/base/*/; do
    newest_step "${folder}"
    (( newest == 0 )) || phase=base
    (( newest < base_steps )) || phase=evaluation
  done
  [[ "${phase}" == evaluation ]] || return 0
  for folder in "${out}"/runs/*/; do
    [[ ! -e "${folder}/run.json" ]] || continue
    newest_step "${folder}"
    [[ "${folder}" != */yarn_tuned-* ]] || (( newest == tuning_steps )) || phase=tuning
    return 0
  done
  [[ ! -e "${out}/rows.jsonl" ]] || phase=end
}

# What the study calls the training of a checkpoint folder.
title_of() {
  case "$1" in
    */base/*) title="base model" ;;
    *) [[ "$1" =~ yarn_tuned-1-([0-9]+)- ]] && title="yarn_tuned, seed ${BASH_REMATCH[1]}" ;;
  esac
}

# The newest acknowledged step of every checkpoint folder, into the array named $1.
read_manifests() {
  local -n into="$1"
  local folder
  into=()
  for folder in "${out}"/base/*/ "${out}"/runs/yarn_tuned-*/; do
    newest_step "${folder}"
    (( newest == 0 )) || into["${folder}"]="${newest}"
  done
}
declare -A at_start=()  # of the last run of the study: what was acknowledged when it began,
declare -A at_kill=()   # right before it was killed,
declare -A at_end=()    # and after

check_acknowledged() {
  local folder from
  for folder in "${!at_kill[@]}"; do
    (( ${at_end["${folder}"]:-0} >= at_kill["${folder}"] )) ||
      fail "${folder} acknowledges step ${at_end["${folder}"]:-0} after step ${at_kill["${folder}"]}"
  done
  for folder in "${!at_start[@]}"; do
    title_of "${folder}"
    from="$(sed -n "s/^${title}: goes on from step \([0-9]*\) of .*/\1/p" "${work}/log")"
    if [[ -n "${from}" ]]; then
      resumed=$((resumed + 1))
      (( from >= at_start["${folder}"] )) ||
        fail "${title} goes on from step ${from}; step ${at_start["${folder}"]} had been acknowledged"
    elif (( at_end["${folder}"] > at_start["${folder}"] )); then
      fail "${title} did not go on from step ${at_start["${folder}"]}"
    fi
  done
}

check_finished() {
  cmp "${work}/straight/rows.jsonl" "${out}/rows.jsonl" || fail "rows.jsonl differs"
  local left
  left="$(find "${out}" -name '*.tmp.*')"
  [[ -z "${left}" ]] || fail "temporary files are left: ${left}"
}

"${study}" "${flags[@]}" "--out=${work}/straight" > /dev/null 2> "${work}/log" || fail "the study does not run"
[[ -s "${work}/straight/rows.jsonl" ]] || fail "no rows.jsonl"

# Kills aim at each phase in turn: the study runs until the phase has begun, then for a random time, which is drawn from half
# the range after a miss. A study that comes to its end first is compared, and another one begun; so is the last one, left
# alone. After the last kill there are more, up to five times as many, while a phase was never hit.
targets=(start base tuning evaluation)
declare -A range_ms=([start]=200 [base]=200 [tuning]=200 [evaluation]=200)
declare -A hit=([start]=0 [base]=0 [tuning]=0 [evaluation]=0 [end]=0)
folders=1 finished=0 resumed=0 writing=0 killed=0
out="${work}/out1"
more_kills() {
  (( killed < kills )) ||
    { (( killed < 5 * kills )) && (( hit[base] == 0 || hit[tuning] == 0 || hit[evaluation] == 0 )); }
}
while more_kills || (( finished < folders )); do
  read_manifests at_start
  at_kill=()
  "${study}" "${flags[@]}" "--out=${out}" > /dev/null 2> "${work}/log" &  # itself: no function, no subshell
  pid=$!
  if more_kills; then
    target="${targets[killed % 4]}"
    while find_phase; [[ "${phase}" != "${target}" ]] && kill -0 "${pid}" 2> /dev/null; do sleep 0.002; done
    wait_ms=$((RANDOM % range_ms[${target}]))
    sleep "$(printf '0.%03d' "${wait_ms}")"
    read_manifests at_kill
    kill -9 "${pid}" 2> /dev/null || true
  fi
  code=0
  wait "${pid}" 2> /dev/null || code=$?
  pid=""
  read_manifests at_end
  check_acknowledged
  case "${code}" in
    0)
      check_finished
      finished=$((finished + 1))
      if more_kills; then
        folders=$((folders + 1))
        out="${work}/out${folders}"
      fi
      ;;
    137)
      killed=$((killed + 1))
      find_phase
      hit[${phase}]=$((hit[${phase}] + 1))
      [[ "${phase}" == "${target}" || "${range_ms[${target}]}" == 1 ]] || range_ms[${target}]=$((range_ms[${target}] / 2))
      unfinished=""  # the first kills may come before there is a folder
      [[ ! -d "${out}" ]] || unfinished="$(find "${out}" -name '*.tmp.*' -printf '%f ')"
      [[ -z "${unfinished}" ]] || writing=$((writing + 1))
      echo "kill ${killed}: aimed ${wait_ms} ms into ${target}, hit ${phase}${unfinished:+ while writing ${unfinished% }}"
      ;;
    *) fail "exit code ${code}" ;;
  esac
done

echo "seed ${seed}: ${killed} kills (${hit[start]} before the first save, ${hit[base]} in base training, ${hit[tuning]} in" \
  "tuning, ${hit[evaluation]} in evaluation, ${hit[end]} at the end; ${writing} while a file was written)," \
  "${resumed} trainings resumed, ${finished} studies finished with the same $(wc -l < "${work}/straight/rows.jsonl") rows"
for wanted in base tuning evaluation; do
  (( hit[${wanted}] > 0 )) || fail "no kill hit ${wanted}"
done
(( resumed > 0 )) || fail "no training was resumed"
