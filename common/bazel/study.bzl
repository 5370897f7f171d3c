"""A study is a folder of text files: protocol.textproto, arms/*.textproto, README.md, and no code.

study(name = "context_extension")
"""

load("//common/bazel:lr_cc.bzl", "lr_cc_binary")

def study(name, smoke_args = ["--preset=smoke"], deps = []):
    """The targets of experiments/<name>.

      <name>        program: bazel run //experiments/<name>
      smoke_test    runs it from end to end, as small as `smoke_args` make it
      *_test        one for each *_test.sh; its first argument is the program, other *.sh lie beside it
      study_files   the protocol and the arms

    Args:
      name: the folder's.
      smoke_args: flags of the smoke test beside --corpus (some text of the test's own) and --out.
      deps: libraries linked into the program beside //papers:plugins, such as a plugin that is no paper.
    """
    folder = native.package_name()
    if folder.split("/")[-1] != name:
        fail("study: name %s in folder %s (expected one name for both)" % (name, folder))
    native.filegroup(
        name = "study_files",
        srcs = ["protocol.textproto"] + native.glob(["arms/*.textproto"]),
        visibility = ["//experiments:__pkg__"],
    )
    lr_cc_binary(
        name = name,
        srcs = ["//experiments:study_main.cc"],
        data = [":study_files"],
        local_defines = ['LR_STUDY=\\"%s\\"' % folder],
        deps = [
            "//common/base:command_line",
            "//common/base:paths",
            "//common/base:status_macros",
            "//papers:plugins",
            "//plugins/study",
            "//third_party:absl",
            "//third_party:gflags",
        ] + deps,
    )
    scripts = {"smoke_test": "//experiments:smoke_test.sh"}
    helpers = native.glob(["*.sh"], exclude = ["*_test.sh"])
    for script in native.glob(["*_test.sh"]):
        scripts[script[:-len(".sh")]] = script
    for test, script in scripts.items():
        native.sh_test(
            name = test,
            size = "medium",
            srcs = [script],
            args = ["$(rootpath :%s)" % name] + (smoke_args if test == "smoke_test" else []),
            data = helpers + [
                ":" + name,
                ":study_files",
            ],
        )
