#!/usr/bin/env python3
"""Reads a study's TensorBoard events with the package of that name, and compares them with what they were made from.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install tensorboard 'setuptools<81'
    /tmp/venv/bin/python plugins/study/tensorboard_agreement.py OUT

OUT is the --out of a study, also one that was killed and continued, or is still running. Every curve of training must have
the steps of metrics.jsonl, each once and in order, with its values as float32; every curve of an evaluation the means of
rows.jsonl.
"""

import collections
import json
import math
import pathlib
import struct
import sys

from tensorboard.backend.event_processing import event_accumulator

TAGS = ("loss", "gradient_norm", "learning_rate", "tokens_per_second")


def float32(value):
    return struct.unpack("f", struct.pack("f", float(value)))[0]


def curves(folder):
    """Tag -> [(step, value)], as TensorBoard shows them."""
    accumulator = event_accumulator.EventAccumulator(str(folder), size_guidance={event_accumulator.SCALARS: 0, event_accumulator.TENSORS: 0})
    accumulator.Reload()
    return {tag: [(e.step, e.value) for e in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}


def wanted_of_training(path):
    wanted = collections.defaultdict(list)
    for line in path.read_text().splitlines(keepends=True):
        if not line.endswith("\n"):
            break  # being written
        row = json.loads(line)
        if row["kind"] == "step":
            for tag in TAGS:
                wanted[tag].append((row["step"], float32(row[tag])))
        elif row["kind"] == "check":
            wanted["held_out_score"].append((row["step"], float32(row["score"])))
    steps = [step for step, _ in wanted["loss"]]
    assert steps == list(range(1, len(steps) + 1)), f"{path}: steps are missing, doubled or out of order"
    return dict(wanted)


def wanted_of_evaluation(path):
    nll, score, wanted = collections.defaultdict(list), collections.defaultdict(list), collections.defaultdict(list)
    for line in path.read_text().splitlines():
        row = json.loads(line)
        if row["kind"] == "window":
            nll[row["length"]].append(float(row["nll"]))
        elif row["kind"] == "task":
            score[row["length"]].append(row["score"])
        elif row["kind"] == "position":
            wanted["nll_by_position"].append((row["begin"], float(row["nll"])))
    for length in sorted(nll):
        wanted["perplexity_by_length"].append((length, math.exp(sum(nll[length]) / len(nll[length]))))
    for length in sorted(score):
        wanted["score_by_length"].append((length, sum(score[length]) / len(score[length])))
    return dict(wanted)


def differences(got, wanted):
    found = [f"tags {sorted(got)}, expected {sorted(wanted)}"] if sorted(got) != sorted(wanted) else []
    for tag in sorted(set(got) & set(wanted)):
        if [s for s, _ in got[tag]] != [s for s, _ in wanted[tag]]:
            found.append(f"{tag}: {len(got[tag])} steps, expected {len(wanted[tag])}, in their order")
            continue
        for (step, a), (_, b) in zip(got[tag], wanted[tag]):
            if not (a == b or math.isclose(a, b, rel_tol=2e-7) or (math.isnan(a) and math.isnan(b))):
                found.append(f"{tag} at {step}: {a}, expected {b}")
                break
    return found


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = pathlib.Path(sys.argv[1])
    wanted = {path.parent: wanted_of_training(path) for path in out.glob("*/*/metrics.jsonl")}
    for path in out.glob("runs/*/rows.jsonl"):
        wanted[path.parent / "evaluation"] = wanted_of_evaluation(path)
    if not wanted:
        sys.exit(f"{out}: no study was run here")
    failed = points = 0
    for folder in sorted(wanted):
        got = curves(folder)
        points += sum(len(curve) for curve in got.values())
        problems = differences(got, wanted[folder])
        failed += bool(problems)
        files = len(list(folder.glob("events.out.tfevents.*")))
        print("FAILED" if problems else "ok    ", folder.relative_to(out), f"({len(got)} curves, {files} event files)", *problems, sep="  ")
    print(f"{len(wanted)} runs, {points} points, {failed} differ")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
