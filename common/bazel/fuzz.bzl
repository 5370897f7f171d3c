"""Fuzz targets: one file that is an ordinary test and a libFuzzer program.

lr_cc_fuzz_test(name = "json_fuzz_test", srcs = ["json_fuzz_test.cc"], deps = [...])

The file defines FuzzOne and FuzzSeeds (common/testing/fuzz.h) and no main().

    bazel test //common/io:json_fuzz_test
        the seeds and `rounds` mutations of them, the same in every run
    bazel run //common/io:json_fuzz_test -- --round=1234
        one of them again; also -- --input=FILE, e.g. one that libFuzzer left
    bazel run --config=libfuzzer //common/io:json_fuzz_test -- -max_total_time=120 [CORPUS_FOLDER]
        libFuzzer, with addresses and undefined behaviour checked: needs Debian's clang and libclang-rt-14-dev
"""

load("//common/bazel:lr_cc.bzl", "LR_COPTS")

def lr_cc_fuzz_test(name, srcs, deps = [], rounds = 5000, size = "small", **kwargs):
    """A fuzz target.

    Args:
      name: ends in _fuzz_test.
      srcs: define longrange::FuzzOne and longrange::FuzzSeeds.
      deps: of srcs; //common/testing:fuzz comes with it.
      rounds: mutations that the ordinary test tries: a few seconds' worth.
      size: of the ordinary test.
      **kwargs: further attributes of the test.
    """
    if not name.endswith("_fuzz_test"):
        fail("lr_cc_fuzz_test: the name must end in _fuzz_test, got " + name)
    native.cc_test(
        name = name,
        srcs = srcs,
        args = select({
            "//common/bazel:libfuzzer_enabled": [],
            "//conditions:default": ["--rounds=%d" % rounds],
        }),
        copts = LR_COPTS,
        linkopts = select({
            "//common/bazel:libfuzzer_enabled": ["-fsanitize=fuzzer"],
            "//conditions:default": [],
        }),
        size = size,
        deps = deps + [
            "//common/testing:fuzz",
            "//third_party:absl",
        ] + select({
            "//common/bazel:libfuzzer_enabled": ["//common/testing:libfuzzer_main"],
            "//conditions:default": ["//common/testing:fuzz_main"],
        }),
        **kwargs
    )
