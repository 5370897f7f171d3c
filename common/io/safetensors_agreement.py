"""Do we accept and refuse the same files as the reference implementation of safetensors?

  python3 -m venv /tmp/st && /tmp/st/bin/pip install safetensors==0.8.0
  bazel build //common/io:safetensors_check
  /tmp/st/bin/python common/io/safetensors_agreement.py bazel-bin/common/io/safetensors_check [--files=5000] [--seed=1]

Makes files, damages most of them, and asks both. Prints how often they agree and every kind of difference; exits with 1 where
one is not among those of STRICTER, which are meant.
"""

import argparse
import collections
import json
import os
import random
import re
import struct
import subprocess
import sys
import tempfile

import safetensors

# Where we refuse and the reference accepts: what our message says, and why it stays so.
STRICTER = {
    r"^no safetensors: the header does not start with {": "white space before the header: the format says it begins with {",
    r"^name .* appears twice": "a name twice: the reference keeps the last and misses only data that this leaves uncovered",
    r"^tensor .*: unknown key ": "a field that is not known: what it means for the data is not known either",
    r"^__metadata__: key .* appears twice": "a key twice in the metadata: which value holds depends on the reader",
    r"^\"__metadata__\": expected an object, got null": "null for the metadata: the format says an object",
    r"^\".*\": expected an object, got an array": "a tensor as a list of its fields: only the reference's parser reads that",
    r"^tensor .*: dtype: expected .* got an object": "a dtype as an object: only the reference's parser reads that",
    r"^tensor .*: shape: more than 32 dimensions": "more than 32 dimensions: the bound keeps a header's memory in proportion",
    r"^tensor .*: shape: [0-9]+ is too large": "a dimension above 2^63 beside a 0: not an int64",
    r"^tensor .*: shape .* overflows": "sizes beside a 0 that overflow: multiplied in another order they wrap",
    r"^a (string|number, a word or white space) of more than": "a string of megabytes: the bound on memory",
    r"^its tensors and metadata would take too much memory": "the bound on memory",
}

TYPES = {  # bits of an element
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    **dict.fromkeys(["BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"], 8),
    **dict.fromkeys(["I16", "U16", "F16", "BF16"], 16),
    **dict.fromkeys(["I32", "U32", "F32"], 32),
    **dict.fromkeys(["C64", "F64", "I64", "U64"], 64),
}
ODD_TYPES = ["F33", "f32", "", "I4", "U4", "C128", "F128", "BF8", "F8_E4M3FN"]
ODD_NUMBERS = [-1, 0, 1, 2, 3, 2**31, 2**32, 2**61, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 1.0, 1.5, -0.0, 1e3]
ODD_VALUES = [None, True, "", "x", 7, -7, 0.5, [], {}, [1], {"a": 1}, [[1]], [None], {"F32": None}]
TOKENS = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    '"',
    "\\",
    "\\u0000",
    "\\ud800",
    "\0",
    "\n",
    " ",
    "0",
    "-",
    "1e5",
    "null",
    "true",
    '"a":1,',
    "\x7f",
    "\u00e9",
    "\ufeff",
]


class Ordered(list):
    """An object as a list of pairs, so that a key can appear twice."""


def dump(value):
    if isinstance(value, Ordered):
        return "{" + ",".join(json.dumps(k) + ":" + dump(v) for k, v in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(dump(v) for v in value) + "]"
    return json.dumps(value)


def good_file(draw):
    """Returns (header as Ordered, data)."""
    header, at = Ordered(), 0
    for i in range(draw.choice([0, 1, 1, 2, 3, 5])):
        dtype = draw.choice(list(TYPES))
        shape = [draw.choice([0, 1, 1, 2, 3, 4]) for _ in range(draw.choice([0, 1, 1, 2, 3]))]
        size = TYPES[dtype]
        for d in shape:
            size *= d
        size = (size + 7) // 8
        fields = Ordered([("dtype", dtype), ("shape", shape), ("data_offsets", [at, at + size])])
        draw.shuffle(fields)
        header.append((draw.choice(["a", "weight", "", "\u00e9", "l.%d.w" % i]) + str(i), fields))
        at += size
    if draw.random() < 0.4:
        entries = Ordered(
            (draw.choice("abc") + str(i), draw.choice(["", "pt", "\n\u00e9"])) for i in range(draw.randrange(4))
        )
        header.insert(draw.randrange(len(header) + 1), ("__metadata__", entries))
    draw.shuffle(header)
    return header, bytes(draw.randrange(256) for _ in range(at))


def damage_header(draw, header):
    """One change of the header's structure."""
    if not header:
        header.append((draw.choice(["a", "__metadata__"]), draw.choice(ODD_VALUES)))
        return
    i = draw.randrange(len(header))
    name, value = header[i]
    what = draw.randrange(8)
    if what == 0:
        header.insert(draw.randrange(len(header) + 1), header[i])
    elif what == 1:
        header[i] = (name, draw.choice(ODD_VALUES))
    elif what == 2:
        header[i] = (draw.choice(["__metadata__", name + "x", ""]), value)
    elif isinstance(value, Ordered) and value:
        j = draw.randrange(len(value))
        key, field = value[j]
        if what == 3:
            value.insert(draw.randrange(len(value) + 1), (key, field))
        elif what == 4:
            value.insert(
                draw.randrange(len(value) + 1), (draw.choice(["strides", "Dtype", "x"]), draw.choice(ODD_VALUES))
            )
        elif what == 5:
            value[j] = (key, draw.choice(ODD_VALUES))
        elif what == 6:
            del value[j]
        elif isinstance(field, list) and key == "shape" and draw.random() < 0.5:
            value[j] = (key, field + [draw.choice([1, 1, 0, 2**32, 2**63])] * draw.choice([1, 2, 3, 30, 40]))
        elif isinstance(field, list) and field:
            k = draw.randrange(len(field))
            new = (
                field[k] + draw.choice([-2, -1, 1, 2])
                if isinstance(field[k], int) and draw.random() < 0.5
                else draw.choice(ODD_NUMBERS)
            )
            value[j] = (key, field[:k] + [new] + field[k + 1 :])
        else:
            value[j] = (key, draw.choice(ODD_TYPES + list(TYPES)))
        if draw.random() < 0.1:
            header[i] = (name, [f for _, f in value])
    else:
        header[i] = (name, Ordered([("dtype", "U8"), ("shape", []), ("data_offsets", [0, 1])]))


def damage_bytes(draw, data):
    data = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 4])):
        at = draw.randrange(len(data) + 1)
        what = draw.randrange(6)
        if what == 0:
            data[at:at] = draw.choice(TOKENS).encode()
        elif what == 1:
            data[at : at + 1] = draw.choice(TOKENS).encode()
        elif what == 2:
            data[at : at + 1] = bytes([draw.randrange(256)])
        elif what == 3:
            del data[at : at + draw.randrange(1, 9)]
        elif what == 4:
            data[at:at] = data[at : at + draw.randrange(1, 16)]
        else:
            data[at:] = b""
    return bytes(data)


def make(draw):
    """Returns (bytes of a file, how it was damaged)."""
    header, data = good_file(draw)
    kind = draw.choice(
        ["none", "structure", "structure", "structure", "header bytes", "header bytes", "data", "length", "file"]
    )
    if kind == "structure":
        for _ in range(draw.choice([1, 1, 2, 3])):
            damage_header(draw, header)
    text = dump(header).encode()
    if draw.random() < 0.5:
        text += b" " * (-len(text) % 8)
    if kind == "header bytes":
        text = damage_bytes(draw, text)
    if kind == "data":
        data = draw.choice([data + b"\0", data[:-1], b"", data * 2])
    length = len(text)
    if kind == "length":
        length = draw.choice(
            [0, 1, length - 1, length + 1, length + 8, 100_000_000, 100_000_001, 2**31, 2**63, 2**64 - 1]
        )
    result = struct.pack("<Q", max(length, 0)) + text + data
    return (damage_bytes(draw, result) if kind == "file" else result), kind


def reference_refuses(data):
    """None where the reference accepts these bytes, else its message."""
    try:
        safetensors.deserialize(data)
        return None
    except safetensors.SafetensorError as error:
        return str(error)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("check", help="the program //common/io:safetensors_check")
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for i in range(args.files):
            data, kind = make(random.Random("%d/%d" % (args.seed, i)))
            path = os.path.join(folder, "%d.safetensors" % i)
            with open(path, "wb") as file:
                file.write(data)
            files.append((path, data, kind))
        names = "".join(path + "\n" for path, _, _ in files)
        answers = subprocess.run(
            [args.check], input=names, capture_output=True, text=True, check=True
        ).stdout.splitlines()
    assert len(answers) == len(files), (len(answers), len(files))

    agreed, meant, differ = collections.Counter(), collections.Counter(), []
    for (_, data, kind), answer in zip(files, answers):
        theirs = reference_refuses(data)
        if (theirs is None) == (answer == "ok"):
            agreed[kind, "accepted" if theirs is None else "refused"] += 1
            continue
        reasons = [why for pattern, why in STRICTER.items() if theirs is None and re.search(pattern, answer[3:])]
        if reasons:
            meant[reasons[0]] += 1
        else:
            differ.append((data, answer, theirs))
    print("safetensors %s, %d files, seed %d" % (safetensors.__version__, len(files), args.seed))
    print(
        "both accept %d, both refuse %d"
        % (
            sum(n for (_, w), n in agreed.items() if w == "accepted"),
            sum(n for (_, w), n in agreed.items() if w == "refused"),
        )
    )
    for (kind, what), count in sorted(agreed.items()):
        print("  %-14s %-9s %6d" % (kind, what, count))
    print("we refuse and the reference accepts, as meant: %d" % sum(meant.values()))
    for why, count in meant.most_common():
        print("  %6d  %s" % (count, why))
    print("other differences: %d" % len(differ))
    for data, answer, theirs in differ[:20]:
        print("  ours: %s\n  theirs: %s\n  %r" % (answer, theirs or "ok", data[:300]))
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
