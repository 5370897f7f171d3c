#include "papers/new_paper.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <regex>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/near_names.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "common/io/atomic_file.h"

namespace longrange {
namespace {

namespace fs = std::filesystem;

// What to do with a new plugin, by kind: CONFIG is the type that a config names, NAME the folder.
struct Kind {
  const char* name;
  const char* use;
};

constexpr Kind kKinds[] = {
    {"backbone", "ONE 'model.backbone={ [CONFIG] {} }'"},
    {"mixer", "ONE 'model.backbone.mixer={ [CONFIG] {} }'"},
    {"probe", "ONE 'evaluation.probe.0={ [CONFIG] {} }'"},
    {"rule", "ONE 'model.backbone.mixer.rule={ [CONFIG] {} }'"},
    {"scheme",
     "ONE 'model.backbone.mixer.position={ [CONFIG] {} }'\n\n"
     "or as an arm of experiments/context_extension, with this in its "
     "arms/NAME_tuned.textproto:\n\n"
     "label: \"NAME, tuned\"\n"
     "method: \"NAME\"\n"
     "settings {\n"
     "  model {\n"
     "    backbone {\n"
     "      [type.googleapis.com/longrange.StackConfig] {\n"
     "        mixer {\n"
     "          [type.googleapis.com/longrange.TransformerConfig] {\n"
     "            position { [CONFIG] {} }\n"
     "          }\n"
     "        }\n"
     "      }\n"
     "    }\n"
     "  }\n"
     "}"},
    {"task", "ONE 'task={ [CONFIG] {} }'"},
};

constexpr const char* kKeywords[] = {
    "alignas",   "alignof",  "and",      "asm",      "auto",    "bitand",  "bitor",     "bool",
    "break",     "case",     "catch",    "char",     "class",   "compl",   "concept",   "const",
    "constexpr", "continue", "decltype", "default",  "delete",  "do",      "double",    "else",
    "enum",      "explicit", "export",   "extern",   "false",   "float",   "for",       "friend",
    "goto",      "if",       "inline",   "int",      "long",    "mutable", "namespace", "new",
    "noexcept",  "not",      "nullptr",  "operator", "or",      "private", "protected", "public",
    "register",  "requires", "return",   "short",    "signed",  "sizeof",  "static",    "struct",
    "switch",    "template", "this",     "throw",    "true",    "try",     "typedef",   "typeid",
    "typename",  "union",    "unsigned", "using",    "virtual", "void",    "volatile",  "while",
    "xor",
};

// The targets that common/bazel/paper.bzl makes in every folder, and Bazel's own word.
constexpr const char* kFolderTargets[] = {"all",     "claims",         "conformance_test", "files",
                                          "goldens", "golden_adapter", "reference"};

constexpr int kLongestName = 40;

// Where `word` stands as a whole word outside of comments in a header or a .proto below `folder`;
// empty: nowhere.
std::string Declaring(const fs::path& folder, const std::string& word) {
  std::error_code error;
  const std::regex whole("\\b" + word + "\\b");
  for (fs::recursive_directory_iterator it(folder, error), end; it != end; it.increment(error)) {
    if (error) break;
    const std::string extension = it->path().extension().string();
    if (extension != ".h" && extension != ".proto") continue;
    const absl::StatusOr<std::string> text = ReadWholeFile(it->path().string());
    if (!text.ok()) continue;
    for (const absl::string_view line : absl::StrSplit(*text, '\n')) {
      if (std::regex_search(std::string(line.substr(0, line.find("//"))), whole))
        return it->path().string();
    }
  }
  return "";
}

// `list` contains `word`?
template <typename List>
bool Has(const List& list, absl::string_view word) {
  return std::find(std::begin(list), std::end(list), word) != std::end(list);
}

absl::Status CheckName(const std::string& root, const std::string& name) {
  const auto refused = [&](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("--name=", name, ": ", why));
  };
  if (!std::regex_match(name, std::regex("[a-z][a-z0-9]*(_[a-z][a-z0-9]*)*"))) {
    return refused(
        "expected snake_case, each word a letter and then letters and digits, such as "
        "'linear_recurrence'");
  }
  if (name.size() > kLongestName)
    return refused(absl::StrCat(name.size(), " letters (expected at most ", kLongestName, ")"));
  if (Has(kKeywords, name)) return refused("a word of C++");
  if (absl::EndsWith(name, "_test")) return refused("ends like a test");
  if (Has(kFolderTargets, name)) return refused("a target that every paper's folder has");
  if (PathExists(absl::StrCat(root, "/papers/", name)))
    return absl::AlreadyExistsError(absl::StrCat("--name=", name, ": papers/", name, " is there"));
  // A folder beside a target of its name would want the same place among Bazel's outputs.
  LR_ASSIGN_OR_RETURN(const std::string build, ReadWholeFile(root + "/papers/BUILD"));
  if (absl::StrContains(build, absl::StrCat("name = \"", name, "\"")))
    return refused(absl::StrCat("//papers:", name, " is a target already"));
  const std::string camel = CamelCase(name);
  for (const char* folder : {"common", "kernels", "plugins", "papers"}) {
    for (const std::string& word : {camel, camel + "Config"}) {
      // Headers of other papers are never seen.
      if (word == camel && absl::string_view(folder) == "papers") continue;
      const std::string where = Declaring(fs::path(root) / folder, word);
      if (!where.empty()) {
        return absl::AlreadyExistsError(absl::StrCat("--name=", name, ": its code would be called ",
                                                     word, ", as something in ",
                                                     absl::StripPrefix(where, root + "/"), " is"));
      }
    }
  }
  return absl::OkStatus();
}

// Formats C++ files where clang-format is installed: names of another length break lines elsewhere.
void Format(const std::vector<std::string>& files) {
  std::vector<std::string> words = {"clang-format", "-i"};
  words.insert(words.end(), files.begin(), files.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_t child;
  if (posix_spawnp(&child, argv[0], nullptr, nullptr, argv.data(), environ) == 0)
    waitpid(child, nullptr, 0);
}

// "linear_recurrence" -> "Linear recurrence".
std::string Title(absl::string_view name) {
  std::string title = absl::StrReplaceAll(name, {{"_", " "}});
  title[0] = absl::ascii_toupper(title[0]);
  return title;
}

}  // namespace

std::vector<std::string> NewPaperKinds() {
  std::vector<std::string> names;
  for (const Kind& kind : kKinds) names.push_back(kind.name);
  return names;
}

std::string CamelCase(absl::string_view name) {
  std::string camel;
  for (const absl::string_view word : absl::StrSplit(name, '_')) {
    absl::StrAppend(&camel, word);
    if (!word.empty()) camel[camel.size() - word.size()] = absl::ascii_toupper(word[0]);
  }
  return camel;
}

absl::StatusOr<std::string> WithPaper(const std::string& bzl, absl::string_view name) {
  const std::string line = absl::StrCat("    \"", name, "\",");
  std::vector<std::string> lines = absl::StrSplit(bzl, '\n');
  const auto begin = std::find(lines.begin(), lines.end(), "PAPERS = [");
  const auto end = std::find(begin, lines.end(), "]");
  if (end == lines.end()) {
    return absl::InvalidArgumentError(
        "papers/papers.bzl: found no list (expected a line 'PAPERS = [', a line for each folder "
        "and a line ']')");
  }
  const auto place = std::lower_bound(begin + 1, end, line);
  if (place != end && *place == line) {
    return absl::AlreadyExistsError(
        absl::StrCat("papers/papers.bzl: has a line for '", name, "' already"));
  }
  lines.insert(place, line);
  return absl::StrJoin(lines, "\n");
}

absl::StatusOr<std::string> MakePaper(const std::string& root, const std::string& name,
                                      const std::string& kind) {
  const Kind* chosen = std::find_if(std::begin(kKinds), std::end(kKinds),
                                    [&](const Kind& k) { return kind == k.name; });
  if (chosen == std::end(kKinds)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--kind=", kind, ": unknown", DidYouMean(kind, NewPaperKinds()),
                     " (known: ", absl::StrJoin(NewPaperKinds(), ", "), ")"));
  }
  const std::string papers = root + "/papers", list = papers + "/papers.bzl";
  if (!PathExists(list)) {
    return absl::FailedPreconditionError(
        absl::StrCat(root, ": has no papers/papers.bzl (expected the repository)"));
  }
  LR_RETURN_IF_ERROR(CheckName(root, name));
  LR_ASSIGN_OR_RETURN(const std::string old_list, ReadWholeFile(list));
  LR_ASSIGN_OR_RETURN(const std::string new_list, WithPaper(old_list, name));

  // Everything is read and written elsewhere first, so that the folder appears whole.
  const std::string placeholder = "my_" + kind, skeleton = papers + "/_skeleton/" + placeholder,
                    draft = absl::StrCat(papers, "/.", name, ".", getpid());
  const auto renamed = [&](const std::string& text) {
    return absl::StrReplaceAll(text, {{absl::StrCat("_skeleton/", placeholder), name},
                                      {placeholder, name},
                                      {CamelCase(placeholder), CamelCase(name)},
                                      {Title(placeholder), Title(name)}});
  };
  const auto write = [&]() -> absl::Status {
    LR_RETURN_IF_ERROR(MakeDirs(draft));
    LR_ASSIGN_OR_RETURN(const std::vector<std::string> files, ListDir(skeleton));
    std::vector<std::string> code;
    for (const std::string& file : files) {
      LR_ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(skeleton + "/" + file));
      const std::string path = absl::StrCat(draft, "/", renamed(file));
      LR_RETURN_IF_ERROR(WriteFileAtomically(path, renamed(text)));
      if (absl::EndsWith(path, ".cc") || absl::EndsWith(path, ".h")) code.push_back(path);
    }
    if (PathExists(root + "/.clang-format")) Format(code);
    return RenameDurably(draft, absl::StrCat(papers, "/", name));
  };
  absl::Status status = write();
  if (status.ok()) {
    status = WriteFileAtomically(list, new_list);
    if (!status.ok()) RemoveAll(absl::StrCat(papers, "/", name)).IgnoreError();
  }
  if (!status.ok()) {
    RemoveAll(draft).IgnoreError();
    return status;
  }
  const std::string use = absl::StrReplaceAll(
      absl::StrReplaceAll(
          chosen->use,
          {{"ONE",
            "  bazel run //experiments/one_model -- --out=NAME --preset=smoke \\\n    --set"}}),
      {{"NAME", name},
       {"CONFIG", absl::StrCat("type.googleapis.com/longrange.", CamelCase(name), "Config")}});
  return absl::StrCat("papers/", name, " has a small working ", kind,
                      "; papers/papers.bzl has its line. Test it:\n\n  bazel test //papers/", name,
                      "/...\n\nUse it in a study (seconds; without --preset=smoke, minutes):\n\n",
                      use, "\n\nThen put your method in place of the example in papers/", name,
                      ": ", name, ".proto, ", name, ".cc and README.md.\n");
}

}  // namespace longrange
