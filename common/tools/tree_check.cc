#include "common/tools/tree_check.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"

namespace longrange {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTops[] = {"common", "experiments", "kernels", "papers", "plugins"};

// Headers of a system library, and its shim in //third_party.
constexpr std::pair<const char*, const char*> kShims[] = {
    {"Eigen/", "eigen"},
    {"absl/", "absl"},
    {"benchmark/", "benchmark"},
    {"gflags/", "gflags"},
    {"glog/", "glog"},
    {"google/protobuf/", "protobuf"},
    {"nlohmann/", "nlohmann_json"},
    {"xxhash.h", "xxhash"},
};

// All that stands in the tree, read once.
struct Tree {
  std::map<std::string, std::string> files;  // path under the root -> text
  std::vector<TreeFinding> findings;

  void Find(std::string where, std::string what, std::string cure) {
    findings.push_back({std::move(where), std::move(what), std::move(cure)});
  }
  bool Has(const std::string& path) const { return files.count(path) > 0; }

  // The folder of the package that a file belongs to.
  std::string Package(const std::string& path) const {
    std::string folder = path;
    while (!folder.empty()) {
      const size_t slash = folder.rfind('/');
      folder = slash == std::string::npos ? "" : folder.substr(0, slash);
      if (Has(folder.empty() ? "BUILD" : folder + "/BUILD")) break;
    }
    return folder;
  }
  const std::string& Build(const std::string& path) const {
    static const std::string* none = new std::string;
    const auto it = files.find(Package(path) + "/BUILD");
    return it == files.end() ? *none : it->second;
  }
};

absl::StatusOr<Tree> ReadTree(const std::string& root) {
  if (!fs::exists(root + "/WORKSPACE"))
    return absl::NotFoundError(absl::StrCat(root, " has no WORKSPACE (expected the repository)"));
  Tree tree;
  for (const char* top : kTops) {
    std::error_code error;
    for (fs::recursive_directory_iterator it(root + "/" + top, error), end; !error && it != end;
         it.increment(error)) {
      const std::string name = it->path().filename().string();
      if (it->is_directory() && (absl::StartsWith(name, ".") || name == "goldens")) {
        it.disable_recursion_pending();
        continue;
      }
      if (!it->is_regular_file()) continue;
      LR_ASSIGN_OR_RETURN(std::string text, ReadWholeFile(it->path().string()));
      tree.files[fs::path(it->path()).lexically_relative(root).string()] = std::move(text);
    }
  }
  return tree;
}

// The strings of `PAPERS = [ ... ]`.
std::vector<std::string> PapersOf(const std::string& bzl) {
  std::vector<std::string> papers;
  bool inside = false;
  for (absl::string_view line : absl::StrSplit(bzl, '\n')) {
    if (line == "]") inside = false;
    if (inside && absl::ConsumePrefix(&line, "    \"") && absl::ConsumeSuffix(&line, "\","))
      papers.emplace_back(line);
    if (line == "PAPERS = [") inside = true;
  }
  return papers;
}

void CheckPapers(Tree* tree) {
  const std::string list = "papers/papers.bzl";
  const std::vector<std::string> papers = PapersOf(tree->files[list]);
  for (size_t i = 1; i < papers.size(); ++i) {
    if (papers[i - 1] >= papers[i]) {
      tree->Find(list, absl::StrCat("'", papers[i], "' after '", papers[i - 1], "'"),
                 "sort the list, each name once");
    }
  }
  std::set<std::string> folders;
  for (const auto& [path, text] : tree->files) {
    const std::vector<std::string> parts = absl::StrSplit(path, '/');
    if (parts[0] == "papers" && parts.size() > 2 && !absl::StartsWith(parts[1], "_"))
      folders.insert(parts[1]);
  }
  for (const std::string& folder : folders) {
    if (std::find(papers.begin(), papers.end(), folder) == papers.end()) {
      tree->Find("papers/" + folder, "is not in papers/papers.bzl",
                 absl::StrCat("add the line \"", folder, "\","));
    }
  }
  for (const std::string& paper : papers) {
    const std::string folder = "papers/" + paper;
    if (folders.count(paper) == 0) {
      tree->Find(list, absl::StrCat("'", paper, "' has no folder"), "remove the line");
      continue;
    }
    for (const char* file : {"BUILD", "README.md", "claims.textproto"}) {
      if (!tree->Has(folder + "/" + file))
        tree->Find(folder, absl::StrCat("has no ", file), "see papers/_skeleton for one");
    }
    bool registers = false;
    for (auto it = tree->files.lower_bound(folder + "/"); it != tree->files.end(); ++it) {
      if (!absl::StartsWith(it->first, folder + "/")) break;
      registers = registers ||
                  (absl::EndsWith(it->first, ".cc") && !absl::EndsWith(it->first, "_test.cc") &&
                   absl::StrContains(it->second, "LR_REGISTER_PLUGIN("));
    }
    if (registers && !tree->Has(folder + "/conformance.textproto")) {
      tree->Find(folder, "registers a plugin and has no conformance.textproto",
                 "add an instance for each, as in papers/_skeleton");
    }
  }
}

void CheckTests(Tree* tree) {
  std::vector<std::string> tests;
  for (const auto& [path, text] : tree->files) {
    if (absl::EndsWith(path, "_test.cc") || absl::EndsWith(path, "_test.sh")) tests.push_back(path);
  }
  for (const std::string& path : tests) {
    const std::string& build = tree->Build(path);
    const std::string package = tree->Package(path);
    const std::string name =
        path.substr(std::min(path.size(), package.size() + (package.empty() ? 0 : 1)));
    // These macros take what is in the folder.
    const bool globbed =
        (absl::EndsWith(path, ".cc") && absl::StrContains(build, "paper_plugin(")) ||
        (absl::EndsWith(path, ".sh") && absl::StrContains(build, "study("));
    if (!globbed && !absl::StrContains(build, absl::StrCat("\"", name, "\"")))
      tree->Find(path, "is in no BUILD file, so nobody runs it", "add it to " + package + "/BUILD");
  }
}

// "a.cc" before ":a" before "//b" before "@c", as buildifier sorts.
std::string LabelKey(absl::string_view label) {
  const char* kind = absl::StartsWith(label, ":")    ? "1"
                     : absl::StartsWith(label, "//") ? "2"
                     : absl::StartsWith(label, "@")  ? "3"
                                                     : "0";
  std::string key = absl::StrCat(kind, label);
  for (char& c : key)
    if (c == ':') c = '\1';
  return key;
}

void CheckSortedLabels(Tree* tree) {
  for (const auto& [path, text] : tree->files) {
    if (!absl::EndsWith(path, "/BUILD")) continue;
    const std::vector<absl::string_view> lines = absl::StrSplit(text, '\n');
    bool inside = false;
    absl::string_view before;
    for (size_t i = 0; i < lines.size(); ++i) {
      absl::string_view line = absl::StripAsciiWhitespace(lines[i]);
      if (inside && absl::ConsumePrefix(&line, "\"") && absl::ConsumeSuffix(&line, "\",")) {
        if (!before.empty() && LabelKey(before) > LabelKey(line)) {
          tree->Find(absl::StrCat(path, ":", i + 1),
                     absl::StrCat("'", line, "' after '", before, "'"), "sort the list");
        }
        before = line;
        continue;
      }
      inside = false;
      for (const char* list : {"deps = [", "hdrs = [", "srcs = [", "data = ["})
        inside = inside || line == list;
      before = absl::string_view();
    }
  }
}

// The layer of a path; a file may include those of its own layer and of lower ones.
int Layer(absl::string_view path) {
  for (const char* core : {"common/base/", "common/io/", "common/tensor/", "common/testing/"})
    if (absl::StartsWith(path, core)) return 0;
  int layer = 1;
  for (const char* top : {"kernels/", "common/", "plugins/", "papers/", "experiments/"}) {
    if (absl::StartsWith(path, top)) return layer;
    ++layer;
  }
  return -1;  // not ours
}

// "papers/retnet" of a path in papers/retnet or experiments/...; empty for what lies at the top.
std::string Folder(const std::string& path) {
  const std::vector<std::string> parts = absl::StrSplit(path, '/');
  if (parts.size() < 3) return "";
  // The skeletons stand for papers.
  return parts[1] == "_skeleton" && parts.size() > 3
             ? absl::StrCat(parts[0], "/", parts[1], "/", parts[2])
             : absl::StrCat(parts[0], "/", parts[1]);
}

void CheckIncludes(Tree* tree) {
  for (const auto& [path, text] : tree->files) {
    if (!absl::EndsWith(path, ".cc") && !absl::EndsWith(path, ".h") && !absl::EndsWith(path, ".cu"))
      continue;
    int64_t number = 0;
    for (absl::string_view line : absl::StrSplit(text, '\n')) {
      ++number;
      if (!absl::ConsumePrefix(&line, "#include ") || line.size() < 3) continue;
      const size_t end = line.find_first_of("\">", 1);
      if (end == absl::string_view::npos) continue;
      const std::string header(line.substr(1, end - 1));
      const std::string where = absl::StrCat(path, ":", number);
      const int mine = Layer(path), theirs = Layer(header);
      if (theirs > mine) {
        tree->Find(where, absl::StrCat("includes ", header, " of a layer above"),
                   "common/bazel/layers.bzl has the layers; move what is shared down");
      } else if (theirs >= 0 && absl::StartsWith(header, "papers/") && !Folder(header).empty() &&
                 Folder(header) != Folder(path) && absl::StartsWith(path, "papers/") &&
                 !Folder(path).empty()) {
        tree->Find(where, absl::StrCat("includes ", header, " of another paper"),
                   "move what both want to plugins/ or kernels/");
      } else if (absl::StartsWith(path, "experiments/") && absl::StartsWith(header, "papers/") &&
                 !absl::EndsWith(header, ".pb.h")) {
        tree->Find(where, absl::StrCat("includes ", header, " of a paper"),
                   "name the plugin in a config; experiments see //papers:plugins and protos");
      }
      for (const auto& [prefix, shim] : kShims) {
        if (!absl::StartsWith(header, prefix)) continue;
        const std::string& build = tree->Build(path);
        // A file that other packages compile has its deps there; lr_cc_benchmark brings its own.
        const bool elsewhere = absl::StrContains(build, "exports_files(") ||
                               (absl::StartsWith(header, "benchmark/") &&
                                absl::StrContains(build, "lr_cc_benchmark("));
        if (!elsewhere && !absl::StrContains(build, absl::StrCat("//third_party:", shim)))
          tree->Find(
              where,
              absl::StrCat("includes ", header, ", and no target here names //third_party:", shim),
              "add it to deps");
      }
    }
  }
}

}  // namespace

absl::StatusOr<std::vector<TreeFinding>> CheckTree(const std::string& root) {
  LR_ASSIGN_OR_RETURN(Tree tree, ReadTree(root));
  CheckPapers(&tree);
  CheckTests(&tree);
  CheckSortedLabels(&tree);
  CheckIncludes(&tree);
  std::stable_sort(tree.findings.begin(), tree.findings.end(),
                   [](const TreeFinding& a, const TreeFinding& b) { return a.where < b.where; });
  return std::move(tree.findings);
}

}  // namespace longrange
