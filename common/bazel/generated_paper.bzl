"""What //papers:new writes from a skeleton, built and tested as a newcomer's folder would be: by paper.bzl for each skeleton."""

load("//common/bazel:lr_cc.bzl", "lr_cc_library", "lr_cc_test")

def _joined(*lists):
    return depset([label for labels in lists for label in labels]).to_list()

def generated_paper(skeleton, folder, deps, reference_deps, test_deps):
    """Runs the generator on this skeleton and makes of what it writes the targets below.

      newly_made_<kind>   library that registers the plugin
      generated_*_test    its tests
      generated_conformance_test

    Args:
      skeleton: name of the skeleton, my_<kind>.
      folder: the package.
      deps: as paper_plugin has them.
      reference_deps: as paper_plugin has them.
      test_deps: as paper_plugin has them.
    """
    kind = skeleton[len("my_"):]
    name = "newly_made_" + kind
    out = "papers/" + name
    inputs = native.glob(["*"])
    made = {
        file: "%s/%s" % (out, file.replace(skeleton, name))
        for file in native.glob(["*.cc", "*.h", "*.proto", "*.textproto"])
    }
    native.genrule(
        name = "generated_files",
        srcs = inputs,
        outs = made.values(),
        cmd = " && ".join([
            "root=$$(mktemp -d)",
            "trap 'rm -rf \"$$root\"' EXIT",
            "mkdir -p $$root/%s" % folder,
            "cp $(SRCS) $$root/%s" % folder,
            "printf 'PAPERS = [\\n]\\n' > $$root/papers/papers.bzl",
            "touch $$root/papers/BUILD",
            "$(location //papers:new) --root=$$root --name=%s --kind=%s > /dev/null" % (name, kind),
        ] + ["cp $$root/%s $(RULEDIR)/%s" % (file, out) for file in made.values()]),
        tools = ["//papers:new"],
    )

    protos = [out_file for file, out_file in made.items() if file.endswith(".proto")]
    native.proto_library(
        name = name + "_proto",
        srcs = protos,
        strip_import_prefix = "",
        deps = ["@com_google_protobuf//:any_proto"],
    )
    native.cc_proto_library(
        name = name + "_cc_proto",
        deps = [":%s_proto" % name],
    )
    deps = [":%s_cc_proto" % name] + [dep for dep in deps if dep != ":%s_cc_proto" % skeleton]
    tests = [file for file in made if file.endswith("_test.cc")]
    lr_cc_library(
        name = name,
        srcs = [made[file] for file in made if file.endswith(".cc") and file not in tests + ["reference.cc"]],
        hdrs = [made[file] for file in made if file.endswith(".h")],
        alwayslink = True,
        deps = deps,
    )
    lr_cc_library(
        name = "generated_reference",
        testonly = True,
        srcs = [made[file] for file in made if file == "reference.cc"],
        alwayslink = True,
        deps = _joined([":" + name], deps, reference_deps, ["//plugins/conformance:reference"]),
    )
    for test in tests:
        lr_cc_test(
            name = "generated_" + test[:-len(".cc")],
            srcs = [made[test]],
            deps = _joined([":" + name], deps, test_deps, ["//common/testing:matchers"]),
        )
    native.cc_test(
        name = "generated_conformance_test",
        size = "medium",
        args = ["--folder=%s/%s" % (folder, out)],
        data = [made["conformance.textproto"]],
        deps = [
            ":" + name,
            ":generated_reference",
            "//plugins/conformance:main",
        ],
    )
