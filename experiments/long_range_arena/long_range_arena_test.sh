#!/usr/bin/env bash
# The smoke preset from end to end: on texts of the test's own, on real files, stopped and gone on with, on one thread; choosing
# tasks and mixers; mistakes.
set -uo pipefail

arena="$1"
out="${TEST_TMPDIR}/out"
fail() { echo "$1"; exit 1; }

# Two texts that take the place of the installed ones, and reviews.
mkdir -p "${TEST_TMPDIR}/corpora" "${TEST_TMPDIR}/reviews"
words() { awk -v seed="$1" -v letters="$2" 'BEGIN { srand(seed); for (i = 0; i < 4000; i++) { for (l = 0; l < 5; l++) printf "%s", substr(letters, 1 + int(rand() * length(letters)), 1); printf "%s", (i % 12 == 11 ? ".\n" : " ") } }'; }
words 1 abcdefghijklm > "${TEST_TMPDIR}/corpora/anarchism.txt"
words 2 nopqrstuvwxyz > "${TEST_TMPDIR}/corpora/bible_kjv.txt"
export LONGRANGE_CORPORA="${TEST_TMPDIR}/corpora"
for i in $(seq 0 39); do printf '%d\t%s\n' $((i % 2)) "$(words "${i}" abcdef | head -c $((20 + i)) | tr '\n' ' ')"; done > "${TEST_TMPDIR}/reviews/train.tsv"
head -n 12 "${TEST_TMPDIR}/reviews/train.tsv" > "${TEST_TMPDIR}/reviews/test.tsv"

run() { "${arena}" --preset=smoke "$@" > "${TEST_TMPDIR}/text" 2> "${TEST_TMPDIR}/log"; }

run --out="${out}" || fail "it ended with $?: $(cat "${TEST_TMPDIR}/log")"
tasks=(listops text retrieval image pathfinder)
for task in "${tasks[@]}"; do
  for mixer in transformer linformer longformer mamba retnet s4 s5; do
    grep -q "\"kind\":\"score\",\"task\":\"${task}\",\"mixer\":\"${mixer}\"" "${out}/rows.jsonl" || fail "no score of ${mixer} on ${task}"
  done
  [[ -s "${out}/${task}/report.html" ]] || fail "${task} has no report of its own"
done
# What stands in says so, in log, text, rows and report.
for what in "passages of anarchism and bible_kjv" "generated shapes"; do
  for where in "${TEST_TMPDIR}/log" "${TEST_TMPDIR}/text" "${out}/rows.jsonl" "${out}/report.html"; do
    grep -q "${what}" "${where}" || fail "${where} does not say: ${what}"
  done
done
[[ "$(grep -c '"stand_in":true' "${out}/rows.jsonl")" -eq 3 ]] || fail "stand-ins: text, retrieval, image"
grep -q '"kind":"left","title":"Path-X"' "${out}/rows.jsonl" || fail "Path-X is not said to be left out"
[[ "$(grep -c '"kind":"speed"' "${out}/runs.jsonl")" -ge 14 ]] || fail "speed of seven mixers at two lengths"
grep -q '</html>' "${out}/report.html" || fail "report.html is cut short"

# Again: nothing is trained or measured anew. On one thread, in another folder: the same rows.
cp "${out}/rows.jsonl" "${TEST_TMPDIR}/first"
cp "${out}/speed.jsonl" "${TEST_TMPDIR}/first_speed"
run --out="${out}" || fail "again: it ended with $?"
cmp "${out}/rows.jsonl" "${TEST_TMPDIR}/first" || fail "another rows.jsonl the second time"
cmp "${out}/speed.jsonl" "${TEST_TMPDIR}/first_speed" || fail "speed was measured anew"
some=(--tasks=listops,retrieval --mixers=s5,mamba --nospeed --quiet)
run --out="${TEST_TMPDIR}/two" "${some[@]}" --threads=2 || fail "two tasks, two mixers: it ended with $?"
run --out="${TEST_TMPDIR}/one" "${some[@]}" --threads=1 || fail "one thread: it ended with $?"
cmp "${TEST_TMPDIR}/two/rows.jsonl" "${TEST_TMPDIR}/one/rows.jsonl" || fail "rows.jsonl is not the same on one thread"
[[ "$(grep -c '"kind":"score"' "${TEST_TMPDIR}/one/rows.jsonl")" -eq 4 ]] || fail "not two tasks by two mixers"

# Killed in the middle of the second task, and gone on with.
"${arena}" --preset=smoke --out="${TEST_TMPDIR}/killed" "${some[@]}" --set tuning.steps=40 --set tuning.checkpoint_every=1 \
  > /dev/null 2>&1 &
pid=$!
until compgen -G "${TEST_TMPDIR}/killed/retrieval/runs/mamba-*/manifest.json" > /dev/null; do
  kill -0 "${pid}" 2> /dev/null || break
  sleep 0.001
done
kill -9 "${pid}" || fail "it had ended before it could be killed"
wait "${pid}" 2> /dev/null
[[ ! -e "${TEST_TMPDIR}/killed/rows.jsonl" ]] || fail "the kill came too late to test anything"
run --out="${TEST_TMPDIR}/killed" "${some[@]}" --set tuning.steps=40 --set tuning.checkpoint_every=1 || fail "gone on with: $?"
run --out="${TEST_TMPDIR}/straight" "${some[@]}" --set tuning.steps=40 --set tuning.checkpoint_every=1 || fail "straight: $?"
cmp "${TEST_TMPDIR}/killed/rows.jsonl" "${TEST_TMPDIR}/straight/rows.jsonl" || fail "a killed run ends with other rows"

# Real files, which the report names.
run --out="${TEST_TMPDIR}/real" --tasks=text --mixers=s5 --nospeed --data="text=${TEST_TMPDIR}/reviews" || fail "real files: $(cat "${TEST_TMPDIR}/log")"
grep -q '"data":"36 reviews to train on, 4 to validate on and 12 to test on, from .*","stand_in":false' "${TEST_TMPDIR}/real/rows.jsonl" ||
  fail "real files: $(head -n 2 "${TEST_TMPDIR}/real/rows.jsonl")"

mistake() {
  local expected="$1"
  shift
  said="$("${arena}" --out="${TEST_TMPDIR}/mistake" "$@" 2>&1)"
  [[ $? -eq 2 && "$(wc -l <<< "${said}")" -eq 1 && "${said}" == *"${expected}"* ]] || fail "$*: expected '${expected}', got: ${said}"
}
mistake "--mixers: 'retnot'; did you mean 'retnet'" --preset=smoke --mixers=retnot
mistake "--tasks: 'texts'; did you mean 'text'" --preset=smoke --tasks=texts
mistake "expected --preset=paper with it" --preset=smoke --tasks=path_x
mistake "expected TASK=FOLDER" --preset=smoke --data=reviews
mistake "expected a task that reads files" --preset=smoke --data=listops=reviews
mistake "cifar-10-binary.tar.gz" --preset=smoke --tasks=image --mixers=s5 "--data=image=${TEST_TMPDIR}/reviews"
mistake "expected --data=text=FOLDER, or --stand_ins" --preset=paper --tasks=text --dry_run
exit 0
