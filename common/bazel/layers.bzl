"""The layers of the tree and who may depend on each: lr_cc.bzl takes the default visibility of a package from here.

third_party <- common/{base,tensor,io} <- kernels <- common/{autograd,nn,train,data,eval,report} <- plugins <- papers/*
<- experiments/*, each seeing all that stands left of it. common/testing rests on base, tensor and io alone, so that kernels
may use it. A paper sees no other paper. An experiment sees //papers itself (//papers:plugins) and the papers' protos, never
a paper's headers.

Proven by giving one package of every layer a library that depends on each of the others, and looking at what
`bazel build --nobuild --keep_going //...` refuses: all that points upwards or sideways ("target ... is not visible from").
"""

# Package prefix -> the package group (common/bazel/BUILD) that may depend on it. The first match counts.
_LAYERS = [
    ("common/base", "everything"),
    ("common/bazel", "everything"),
    ("common/io", "everything"),
    ("common/tensor", "everything"),
    ("common/testing", "everything"),
    ("common", "core_and_above"),
    ("kernels", "kernels_and_above"),
    ("plugins", "plugins_and_above"),
]

def _within(package, prefix):
    return package == prefix or package.startswith(prefix + "/")

def default_visibility(package, is_proto = False):
    """Returns the visibility of `package`: of its C++ targets or, where is_proto, of its protos and their C++ code."""
    for prefix, group in _LAYERS:
        if _within(package, prefix):
            return ["//common/bazel:" + group]
    for top in ("papers", "experiments"):
        if package == top:
            return ["//common/bazel:experiments"]
        if _within(package, top):
            folder = "/".join(package.split("/")[:2])
            own = ["//%s:__pkg__" % top, "//%s:__subpackages__" % folder]
            return own + (["//common/bazel:experiments"] if is_proto and top == "papers" else [])
    fail("//%s is in none of the layers of //common/bazel:layers.bzl" % package)
