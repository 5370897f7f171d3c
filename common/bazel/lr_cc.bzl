"""C++ and proto rules of this project: strict warnings, and the layer's visibility (layers.bzl) where none is given.

lr_cc_library(name, srcs, hdrs, deps, ...)
lr_cc_binary(name, srcs, deps, ...)
lr_cc_test(name, srcs, deps, ...)                    googletest, googlemock and their main() come with it
lr_cc_benchmark(name, srcs, deps, ...)               a library to link into //kernels:benchmarks, and a one-iteration test
lr_proto_library(name = "x_proto", srcs, deps, ...)  the C++ target is x_cc_proto, the header x.pb.h
"""

load("//common/bazel:layers.bzl", "default_visibility")

# The three that are switched off cry wolf in GCC 12 at -O3, from within the standard library (GCC bugs 105329, 105562,
# 105651); the fourth refuses `Options{3}` where the members left out have defaults.
LR_COPTS = [
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-maybe-uninitialized",
    "-Wno-restrict",
    "-Wno-stringop-overflow",
    "-Wno-missing-field-initializers",
]

def _visibility(visibility, is_proto = False):
    if visibility == None:
        return default_visibility(native.package_name(), is_proto)
    if "//visibility:public" in visibility:
        fail("public visibility would open the layers (common/bazel/layers.bzl): leave it out, or name packages")
    return visibility

def lr_cc_library(name, copts = [], visibility = None, **kwargs):
    native.cc_library(
        name = name,
        copts = LR_COPTS + copts,
        visibility = _visibility(visibility),
        **kwargs
    )

def lr_cc_binary(name, copts = [], visibility = None, **kwargs):
    native.cc_binary(
        name = name,
        copts = LR_COPTS + copts,
        visibility = _visibility(visibility),
        **kwargs
    )

def lr_cc_test(name, copts = [], deps = [], size = "small", env = {}, **kwargs):
    native.cc_test(
        name = name,
        copts = LR_COPTS + copts,
        size = size,
        env = dict({"LONGRANGE_CHECK_MEMORY": "1"}, **env),  # common/tensor/allocator.h
        deps = deps + ["//third_party:googletest_main"],
        **kwargs
    )

def lr_cc_benchmark(name, srcs, deps = [], copts = [], size = "small", smoke_filter = ".", visibility = None, **kwargs):
    """A benchmark file as a library (alwayslink, testonly), and `<name>_smoke_test`, which runs each case once.

    Args:
      name: the library; //kernels:benchmarks links it.
      srcs: files that register benchmarks and define no main(). A case whose result is wrong calls
        state.SkipWithError(), which fails the smoke test and the benchmark program.
      deps: as of a library; //third_party:benchmark comes with it.
      copts: added to the project's own.
      size: of the smoke test.
      smoke_filter: regular expression of the cases that the smoke test runs; leave out what is too large for a test.
      visibility: the layer's where not given.
      **kwargs: further attributes of the library.
    """
    lr_cc_library(
        name = name,
        testonly = True,
        srcs = srcs,
        alwayslink = True,
        copts = copts,
        visibility = visibility,
        deps = deps + ["//third_party:benchmark"],
        **kwargs
    )
    native.cc_test(
        name = name + "_smoke_test",
        size = size,
        args = [
            "--benchmark_min_time=0",
            "'--benchmark_filter=%s'" % smoke_filter,
        ],
        deps = [
            name,
            "//common/bazel:benchmark_main",
        ],
    )

def lr_proto_library(name, srcs, deps = [], visibility = None, **kwargs):
    """A proto_library and its C++ code; deps are proto libraries, e.g. @com_google_protobuf//:any_proto."""
    if not name.endswith("_proto"):
        fail("lr_proto_library: the name must end in _proto, got " + name)
    visibility = _visibility(visibility, is_proto = True)
    native.proto_library(
        name = name,
        srcs = srcs,
        deps = deps,
        visibility = visibility,
        **kwargs
    )
    native.cc_proto_library(
        name = name[:-len("_proto")] + "_cc_proto",
        deps = [":" + name],
        visibility = visibility,
        **kwargs
    )
