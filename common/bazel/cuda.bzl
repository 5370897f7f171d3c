"""CUDA kernels without a CUDA toolchain: nvcc compiles, the C++ rules link.

lr_cuda_library(
    name = "rope_cuda",
    srcs = ["rope_cuda.cu"],        # with --config=cuda; nvcc from /usr/local/cuda, cudart linked statically
    stub_srcs = ["rope_cuda_stub.cc"],  # without: the same functions, returning Unimplemented
    hdrs = ["rope_cuda.h"],         # the same for both; names no CUDA type, so callers need no #ifdef
    deps = [...],
)

Eigen's types do not cross into .cu files: nvcc and g++ disagree on their alignment.
"""

load("//common/bazel:lr_cc.bzl", "lr_cc_library")

_CUDA = "/usr/local/cuda"

_NVCC_FLAGS = [
    "-std=c++17",
    "-O3",
    "-DNDEBUG",
    "--expt-relaxed-constexpr",
    "-Werror=all-warnings",
    "-Xcompiler=-fPIC",
    # Ampere and Hopper as machine code, newer devices through PTX.
    "-gencode=arch=compute_80,code=sm_80",
    "-gencode=arch=compute_90,code=[sm_90,compute_90]",
]

def _bool_flag_impl(_ctx):
    return []

# A flag of the command line, --//common/bazel:cuda; .bazelrc sets it in --config=cuda.
bool_flag = rule(
    implementation = _bool_flag_impl,
    build_setting = config.bool(flag = True),
)

def _cuda_objects_impl(ctx):
    contexts = [dep[CcInfo].compilation_context for dep in ctx.attr.deps]
    headers = depset(ctx.files.hdrs, transitive = [context.headers for context in contexts])
    includes = depset(
        [".", ctx.bin_dir.path],
        transitive = [d for c in contexts for d in (c.includes, c.quote_includes, c.system_includes)],
        order = "topological",
    )
    objects = []
    for source in ctx.files.srcs:
        # The C++ rules take a .pic.o for what it is, position-independent code.
        object = ctx.actions.declare_file("%s/%s.pic.o" % (ctx.label.name, source.basename))
        args = ctx.actions.args()
        args.add_all(_NVCC_FLAGS)
        args.add_all(includes, before_each = "-I")
        args.add_all(["-c", source, "-o", object])
        ctx.actions.run_shell(
            command = "[ -x {nvcc} ] || {{ echo '--config=cuda needs {nvcc}' >&2; exit 1; }}; {nvcc} \"$@\"".format(
                nvcc = _CUDA + "/bin/nvcc",
            ),
            arguments = [args],
            inputs = depset([source], transitive = [headers]),
            outputs = [object],
            mnemonic = "CudaCompile",
            use_default_shell_env = True,
        )
        objects.append(object)
    return [DefaultInfo(files = depset(objects))]

_cuda_objects = rule(
    implementation = _cuda_objects_impl,
    attrs = {
        "srcs": attr.label_list(allow_files = [".cu"], mandatory = True),
        "hdrs": attr.label_list(allow_files = [".h", ".cuh"]),
        "deps": attr.label_list(providers = [CcInfo]),
    },
)

def lr_cuda_library(name, srcs, stub_srcs, hdrs = [], deps = [], linkopts = [], **kwargs):
    """A library of CUDA kernels with --config=cuda, of its stubs without.

    Args:
      name: the library; lr_cc_library's rules on visibility hold.
      srcs: .cu files.
      stub_srcs: .cc files that define the same functions where CUDA is not built.
      hdrs: headers of both.
      deps: of both.
      linkopts: for CUDA only, e.g. ["-lcublasLt"]; /usr/local/cuda/lib64 is on the path.
      **kwargs: further attributes of the library.
    """
    _cuda_objects(
        name = name + "_objects",
        srcs = srcs,
        hdrs = hdrs,
        tags = ["manual"],
        testonly = kwargs.get("testonly", False),
        visibility = ["//visibility:private"],
        deps = deps,
    )
    lr_cc_library(
        name = name,
        srcs = select({
            "//common/bazel:cuda_enabled": [":%s_objects" % name],
            "//conditions:default": stub_srcs,
        }),
        hdrs = hdrs,
        linkopts = select({
            "//common/bazel:cuda_enabled": [
                "-L%s/lib64" % _CUDA,
                "-Wl,-rpath,%s/lib64" % _CUDA,
            ] + linkopts + [
                "-lcudart_static",
                "-ldl",
                "-lpthread",
                "-lrt",
            ],
            "//conditions:default": [],
        }),
        deps = deps,
        **kwargs
    )
