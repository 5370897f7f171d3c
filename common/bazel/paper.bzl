"""One folder a paper: what lies in it says what is built of it.

paper_plugin(
    name = "retnet",           # the folder
    deps = [...],              # of its code
    claims_deps = [...],       # what claims.cc needs beside them
    golden_deps = [...],       # ... golden_adapter.cc
    reference_deps = [...],    # ... reference.cc
    test_deps = [...],         # ... its tests
)
"""

load("//common/bazel:fuzz.bzl", "lr_cc_fuzz_test")
load("//common/bazel:generated_paper.bzl", "generated_paper")
load("//common/bazel:lr_cc.bzl", "lr_cc_library", "lr_cc_test", "lr_proto_library")

def _joined(*lists):
    return depset([label for labels in lists for label in labels]).to_list()

def paper_plugin(name, deps = [], claims_deps = [], golden_deps = [], reference_deps = [], test_deps = []):
    """The targets of papers/<name>. All but the tests are there in every folder, empty where it has no such file.

      <name>            library that registers the plugins: all .cc and .h not named below
      <name>_cc_proto   configs: all .proto (none where there is no such file)
      reference         plain double-precision forms that conformance holds the plugins against: reference.cc
      golden_adapter    runs the cases in goldens/: golden_adapter.cc
      claim_figures     measures the numbers behind claims: claims.cc
      goldens, claims   files: goldens/**, claims.textproto
      files             all files of the folder
      *_test            one for each *_test.cc, a fuzz target for each *_fuzz_test.cc; testdata/** lies beside them
      conformance_test  the suite of //plugins/conformance on the instances in conformance.textproto

    Args:
      name: the folder's; the id of each plugin starts with it.
      deps: of the library; the reference, the adapter and the tests have them too. The proto and, for tests, the
        matchers come with it.
      claims_deps: further ones of the claims' numbers; //papers:claim_figure comes with it.
      golden_deps: further ones of the adapter; //plugins/golden:golden_adapter comes with it.
      reference_deps: further ones of the reference; //plugins/conformance:reference comes with it.
      test_deps: further ones of the tests.
    """
    folder = native.package_name()
    if folder.split("/")[-1] != name:
        fail("paper_plugin: name %s in folder %s (expected one name for both)" % (name, folder))
    to_papers = ["//papers:__pkg__"]

    protos = native.glob(["*.proto"])
    has_proto = protos != []
    if has_proto:
        lr_proto_library(
            name = name + "_proto",
            srcs = protos,
            deps = ["@com_google_protobuf//:any_proto"],
        )
    deps = _joined([":%s_cc_proto" % name] if has_proto else [], deps)
    tests = native.glob(["*_test.cc"])
    testdata = native.glob(["testdata/**"])
    sides = ["claims.cc", "golden_adapter.cc", "reference.cc"]

    lr_cc_library(
        name = name,
        srcs = native.glob(["*.cc"], exclude = sides + tests),
        hdrs = native.glob(["*.h"]),
        alwayslink = True,
        deps = deps,
    )
    for side, source, side_deps in (
        ("claim_figures", "claims.cc", claims_deps + ["//papers:claim_figure"]),
        ("golden_adapter", "golden_adapter.cc", golden_deps + ["//plugins/golden:golden_adapter"]),
        ("reference", "reference.cc", reference_deps + ["//plugins/conformance:reference"]),
    ):
        srcs = native.glob([source])
        lr_cc_library(
            name = side,
            testonly = True,
            srcs = srcs,
            alwayslink = True,
            deps = _joined([":" + name], deps, side_deps) if srcs else [],
        )
    for group, files in (("goldens", ["goldens/**"]), ("claims", ["claims.textproto"]), ("files", ["**"])):
        native.filegroup(
            name = group,
            srcs = native.glob(files),
            visibility = to_papers,
        )
    for test in tests:
        if test.endswith("_fuzz_test.cc"):
            lr_cc_fuzz_test(
                name = test[:-len(".cc")],
                srcs = [test],
                deps = [d for d in _joined([":" + name], deps, test_deps) if d != "//third_party:absl"],
            )
            continue
        lr_cc_test(
            name = test[:-len(".cc")],
            srcs = [test],
            data = testdata,
            deps = _joined([":" + name], deps, test_deps, ["//common/testing:matchers"]),
        )
    if native.glob(["conformance.textproto"]):
        native.cc_test(
            name = "conformance_test",
            size = "medium",
            args = ["--folder=" + folder],
            data = ["conformance.textproto"] + testdata,
            deps = [
                ":" + name,
                ":reference",
                "//plugins/conformance:main",
            ],
        )
    if folder.startswith("papers/_skeleton/"):
        generated_paper(name, folder, deps, reference_deps, test_deps)
