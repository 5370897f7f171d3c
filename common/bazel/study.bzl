"""A study is a folder of text files: protocol.textproto, arms/*.textproto, README.md, and no code.

study(name = "context_extension")   in experiments/context_extension/BUILD
study(name = "induction_heads")     in papers/mamba/BUILD, of the folder papers/mamba/induction_heads
"""

load("//common/bazel:lr_cc.bzl", "lr_cc_binary")

def study(name, smoke_args = ["--preset=smoke"], deps = [], text = True):
    """The targets of a study in experiments/<name>, or in the folder <name> of a paper.

    In experiments/<name>:

      <name>        program: bazel run //experiments/<name>
      smoke_test    runs it from end to end, as small as `smoke_args` make it
      *_test        one for each *_test.sh; its first argument is the program, other *.sh lie beside it
      study_files   the protocol and the arms

    In papers/<paper>, whose package may have several:

      <name>              program: bazel run //papers/<paper>:<name>
      <name>_smoke_test, <name>_files

    Args:
      name: the folder's.
      smoke_args: flags of the smoke test beside --corpus (some text of the test's own) and --out.
      deps: libraries linked into the program beside //papers:plugins, such as a plugin that is no paper.
      text: whether the study reads text; else its protocol says `corpus: ""`.
    """
    package = native.package_name()
    own_package = package.split("/")[-1] == name
    if own_package:
        folder, prefix = package, ""
        program, files, smoke_test = name, "study_files", "smoke_test"
    else:
        folder, prefix = package + "/" + name, name + "/"

        # The program's file would take the place of the folder in the runfiles.
        program, files, smoke_test = name + "_study", name + "_files", name + "_smoke_test"
    if not native.glob([prefix + "protocol.textproto"]):
        fail("study: %s has no protocol.textproto" % folder)
    native.filegroup(
        name = files,
        srcs = [prefix + "protocol.textproto"] + native.glob([prefix + "arms/*.textproto"]),
        visibility = ["//experiments:__pkg__"],
    )
    lr_cc_binary(
        name = program,
        srcs = ["//plugins/study:study_main.cc"],
        data = [files],
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
    if program != name:
        native.alias(name = name, actual = program)
    scripts = {smoke_test: "//plugins/study:smoke_test.sh"}
    helpers = native.glob([prefix + "*.sh"], exclude = [prefix + "*_test.sh"])
    for script in native.glob([prefix + "*_test.sh"]):
        scripts[script.replace("/", "_")[:-len(".sh")]] = script
    for test, script in scripts.items():
        args = ["$(rootpath %s)" % program]
        if test == smoke_test:
            args += [folder, "text" if text else "symbols"] + smoke_args
        native.sh_test(
            name = test,
            size = "medium",
            srcs = [script],
            args = args,
            data = helpers + [
                files,
                program,
            ],
        )
