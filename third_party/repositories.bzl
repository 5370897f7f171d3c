"""Answers, on this machine and without a network, the external repositories that Bazel asks for.

Debian's Bazel 4.2.3 brings no rule sets. This project needs nothing of them beyond the rules that are built into Bazel, so
each repository is a few lines that hand the native rules on. Protocol buffers come from the system (libprotobuf-dev,
protobuf-compiler).
"""

def _inline_repository_impl(ctx):
    for path, content in ctx.attr.files.items():
        ctx.file(path, content, executable = False)

# A repository whose files are given as text: {path: content}.
_inline_repository = repository_rule(
    implementation = _inline_repository_impl,
    attrs = {"files": attr.string_dict(mandatory = True)},
)

def _native(*rules):
    return "".join(["%s = native.%s\n" % (rule, rule) for rule in rules])

# The well-known protos that import nothing; @com_google_protobuf//:any_proto and so on.
_WELL_KNOWN = [
    "any",
    "descriptor",
    "duration",
    "empty",
    "field_mask",
    "struct",
    "timestamp",
    "wrappers",
]

_PROTOBUF_BUILD = """
package(default_visibility = ["//visibility:public"])

sh_binary(
    name = "protoc",
    srcs = ["protoc.sh"],
)

proto_lang_toolchain(
    name = "cc_toolchain",
    blacklisted_protos = {well_known},
    command_line = "--cpp_out=$(OUT)",
    runtime = "@longrange//third_party:protobuf",
)
"""

_PROTO_LIBRARY = """
proto_library(
    name = "{name}_proto",
    srcs = ["google/protobuf/{name}.proto"],
)
"""

def _system_protobuf_impl(ctx):
    protoc = ctx.which("protoc")
    if not protoc:
        fail("protoc is not installed: run third_party/install.sh")
    prefix = protoc.dirname.dirname
    build = _PROTOBUF_BUILD.format(well_known = [":%s_proto" % name for name in _WELL_KNOWN])
    for name in _WELL_KNOWN:
        source = ctx.path("%s/include/google/protobuf/%s.proto" % (prefix, name))
        if not source.exists:
            fail("%s is missing: run third_party/install.sh" % source)
        ctx.symlink(source, "google/protobuf/%s.proto" % name)
        build += _PROTO_LIBRARY.format(name = name)
    ctx.file("protoc.sh", "#!/bin/sh\nexec '%s' \"$@\"\n" % protoc, executable = True)
    ctx.file("BUILD", build, executable = False)

# The system's protoc and its well-known protos under the labels that Bazel's native proto rules look for.
_system_protobuf = repository_rule(
    implementation = _system_protobuf_impl,
    environ = ["PATH"],
    local = True,
)

def longrange_repositories():
    """Declares all external repositories; called once, by WORKSPACE."""
    _inline_repository(
        name = "rules_cc",
        files = {
            "BUILD": "",
            "cc/BUILD": "",
            "cc/defs.bzl": _native(
                "cc_binary",
                "cc_import",
                "cc_library",
                "cc_proto_library",
                "cc_test",
                "cc_toolchain",
                "cc_toolchain_suite",
                "fdo_prefetch_hints",
                "fdo_profile",
                "objc_library",
            ),
        },
    )
    _inline_repository(
        name = "rules_java",
        files = {
            "BUILD": "",
            "java/BUILD": "",
            "java/defs.bzl": _native(
                "java_binary",
                "java_import",
                "java_library",
                "java_proto_library",
                "java_runtime",
                "java_test",
                "java_toolchain",
            ),
        },
    )
    _inline_repository(
        name = "rules_proto",
        files = {
            "BUILD": "",
            "proto/BUILD": "",
            "proto/defs.bzl": _native("proto_lang_toolchain", "proto_library") + "ProtoInfo = ProtoInfo\n",
        },
    )

    # `bazel test` resolves these labels even where no coverage is asked for.
    _inline_repository(
        name = "remote_coverage_tools",
        files = {
            "BUILD": """
package(default_visibility = ["//visibility:public"])

filegroup(name = "coverage_report_generator")

filegroup(name = "lcov_merger")
""",
        },
    )
    _system_protobuf(name = "com_google_protobuf")
