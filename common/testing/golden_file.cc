#include "common/testing/golden_file.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/io/atomic_file.h"
#include "common/io/json.h"
#include "common/io/safetensors.h"

namespace longrange {
namespace {

constexpr int kMaxDepth = 16;  // of folders: a link may lead back to its own parent
constexpr char kExtension[] = ".safetensors";
constexpr char kLinesExtension[] = ".jsonl";

bool IsGradient(absl::string_view name) {
  return absl::StartsWith(name, "grad.") || absl::StrContains(name, ".grad.");
}

bool IsGiven(absl::string_view name) {
  return absl::StartsWith(name, "in.") || absl::StartsWith(name, "param.") ||
         absl::StartsWith(name, "cotangent.");
}

const std::string* FindKey(const SafetensorsMetadata& metadata, const std::string& key) {
  const auto it = metadata.find(key);
  return it == metadata.end() ? nullptr : &it->second;
}

absl::Status NoCase(absl::string_view path) {
  return absl::FailedPreconditionError(
      absl::StrCat(path, ": no golden case: its metadata has no `case`"));
}

absl::Status CheckMetadata(absl::string_view path, const SafetensorsMetadata& metadata) {
  for (const char* key : {"paper", "config"}) {
    if (FindKey(metadata, key) == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": its metadata has a `case` but no `", key, "`"));
    }
  }
  return absl::OkStatus();
}

// The last part of a folder's path that is not "goldens".
std::string PaperOfFolder(const std::string& dir) {
  std::filesystem::path path = std::filesystem::absolute(dir).lexically_normal();
  while (path.has_relative_path() && (path.filename().empty() || path.filename() == "goldens"))
    path = path.parent_path();
  return path.filename().string();
}

absl::Status Find(const std::string& dir, int depth, std::vector<GoldenFile>* found) {
  if (depth > kMaxDepth)
    return absl::InvalidArgumentError(absl::StrCat(dir, ": folders nested too deep"));
  LR_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDir(dir));
  for (const std::string& name : names) {
    GoldenFile file;
    file.path = absl::StrCat(dir, absl::EndsWith(dir, "/") ? "" : "/", name);
    if (IsDirectory(file.path)) {
      LR_RETURN_IF_ERROR(Find(file.path, depth + 1, found));
    } else if (absl::EndsWith(name, kLinesExtension)) {
      file.kind = GoldenFile::Kind::kJsonLines;
      file.paper = PaperOfFolder(dir);
      file.name = name.substr(0, name.size() - (sizeof(kLinesExtension) - 1));
      found->push_back(std::move(file));
    } else if (absl::EndsWith(name, kExtension)) {
      file.name = name.substr(0, name.size() - (sizeof(kExtension) - 1));
      const absl::StatusOr<std::unique_ptr<SafetensorsReader>> reader =
          SafetensorsReader::Open(file.path);
      if (reader.ok()) {
        const SafetensorsMetadata& metadata = (*reader)->metadata();
        const std::string* case_name = FindKey(metadata, "case");
        if (case_name == nullptr) continue;
        file.name = *case_name;
        if (const std::string* paper = FindKey(metadata, "paper")) file.paper = *paper;
        file.status = CheckMetadata(file.path, metadata);
      } else {
        file.status = reader.status();
      }
      found->push_back(std::move(file));
    }
  }
  return absl::OkStatus();
}

// To the type in which results are compared: float64 or int64.
Tensor Widened(const Tensor& t) {
  if (!t.defined() || t.device() != Device::kCpu) return t;
  return t.To(IsFloating(t.dtype()) ? DType::kFloat64 : DType::kInt64);
}

GoldenResult ResultOf(std::string name, const Comparison& c, absl::string_view source) {
  GoldenResult r;
  r.name = std::move(name);
  r.passed = c.passed;
  r.worst = c.worst;
  r.error = c.error;
  r.place = c.place;
  r.tolerance = c.tolerance == "exact" || source.empty()
                    ? c.tolerance
                    : absl::StrCat(c.tolerance, " (", source, ")");
  r.message = c.message;
  return r;
}

GoldenResult FailedResult(std::string name, std::string why) {
  Comparison c;
  c.worst = c.error = std::numeric_limits<double>::infinity();
  c.message = std::move(why);
  return ResultOf(std::move(name), c, "");
}

}  // namespace

absl::StatusOr<GoldenCase> GoldenCase::Read(absl::string_view path) {
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<SafetensorsReader> reader,
                      SafetensorsReader::Open(path));
  const SafetensorsMetadata& metadata = reader->metadata();
  const std::string* case_name = FindKey(metadata, "case");
  if (case_name == nullptr) return NoCase(path);
  LR_RETURN_IF_ERROR(CheckMetadata(path, metadata));
  GoldenCase golden;
  golden.path_ = std::string(path);
  golden.name_ = *case_name;
  golden.paper_ = metadata.at("paper");
  if (const std::string* text = FindKey(metadata, "reference")) golden.reference_ = *text;
  if (const std::string* text = FindKey(metadata, "notes")) golden.notes_ = *text;
  LR_ASSIGN_OR_RETURN(golden.config_,
                      ParseJson(metadata.at("config"), absl::StrCat(path, ": metadata `config`")));
  for (const auto& [name, entry] : reader->entries()) {
    const size_t dot = name.find('.');
    if (dot == std::string::npos || dot == 0 || dot + 1 == name.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": tensor \"", name, "\": a golden case's names are <group>.<name>"));
    }
    LR_ASSIGN_OR_RETURN(golden.tensors_[name], reader->Read(name));
  }
  return golden;
}

bool GoldenCase::Has(absl::string_view full_name) const {
  return tensors_.count(std::string(full_name)) > 0;
}

absl::StatusOr<Tensor> GoldenCase::Get(absl::string_view full_name) const {
  const auto it = tensors_.find(std::string(full_name));
  if (it != tensors_.end()) return it->second;
  std::vector<std::string> names;
  const absl::string_view group = full_name.substr(0, full_name.find('.') + 1);
  for (const auto& [name, tensor] : tensors_) {
    if (absl::StartsWith(name, group)) names.push_back(name);
  }
  return absl::NotFoundError(absl::StrCat(
      path_, ": no tensor \"", full_name,
      "\"; there are: ", names.empty() ? "none of this group" : absl::StrJoin(names, ", ")));
}

absl::StatusOr<Tensor> GoldenCase::In(absl::string_view name) const {
  return Get(absl::StrCat("in.", name));
}
absl::StatusOr<Tensor> GoldenCase::Param(absl::string_view name) const {
  return Get(absl::StrCat("param.", name));
}
absl::StatusOr<Tensor> GoldenCase::Out(absl::string_view name) const {
  return Get(absl::StrCat("out.", name));
}
absl::StatusOr<Tensor> GoldenCase::Cotangent(absl::string_view output) const {
  return Get(absl::StrCat("cotangent.", output));
}
absl::StatusOr<Tensor> GoldenCase::Grad(absl::string_view name) const {
  return Get(absl::StrCat("grad.", name));
}

TensorMap GoldenCase::Group(absl::string_view prefix) const {
  TensorMap group;
  for (const auto& [name, tensor] : tensors_) {
    if (absl::StartsWith(name, prefix)) group[name.substr(prefix.size())] = tensor;
  }
  return group;
}

std::vector<std::string> GoldenCase::ResultNames() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors_) {
    if (!IsGiven(name)) names.push_back(name);
  }
  return names;
}

absl::StatusOr<std::vector<GoldenFile>> FindGoldenFiles(absl::string_view dir) {
  std::vector<GoldenFile> found;
  LR_RETURN_IF_ERROR(Find(std::string(dir), 0, &found));
  std::sort(found.begin(), found.end(),
            [](const GoldenFile& a, const GoldenFile& b) { return a.path < b.path; });
  return found;
}

const GoldenResult* GoldenReport::Worst() const {
  const GoldenResult* worst = nullptr;
  for (const GoldenResult& r : results) {
    if (worst == nullptr ||
        std::make_pair(!r.passed, r.worst) > std::make_pair(!worst->passed, worst->worst))
      worst = &r;
  }
  return worst;
}

std::string GoldenReport::ToString() const {
  std::string text = absl::StrCat(passed ? "ok   " : "FAIL ", name, ": ");
  const GoldenResult* worst = Worst();
  if (worst == nullptr) return absl::StrCat(text, "nothing was compared");
  if (passed) {
    absl::StrAppend(&text, "worst ", worst->name);
    if (!worst->place.empty()) absl::StrAppend(&text, " at ", worst->place);
    absl::StrAppendFormat(&text, ": off by %.3g, %.3g of %s", worst->error, worst->worst,
                          worst->tolerance);
    return text;
  }
  const int64_t num_failed =
      std::count_if(results.begin(), results.end(), [](const auto& r) { return !r.passed; });
  absl::StrAppend(&text, num_failed, " of ", results.size(), " results failed");
  for (const GoldenResult& r : results) {
    if (!r.passed) absl::StrAppend(&text, "\n     ", r.name, ": ", r.message);
  }
  return text;
}

const Tensor* GoldenChecker::Expected(absl::string_view name, absl::string_view path) {
  const auto it = golden_->tensors().find(std::string(name));
  if (it == golden_->tensors().end()) {
    Fail(name, "the case has no such tensor");
    return nullptr;
  }
  if (IsGiven(name)) {
    Fail(name, "this is an input of the case, no result");
    return nullptr;
  }
  if (!compared_.emplace(std::string(name), std::string(path)).second) {
    Fail(name, "it was compared twice");
    return nullptr;
  }
  names_.insert(std::string(name));
  return &it->second;
}

bool GoldenChecker::Add(absl::string_view name, absl::string_view path,
                        const Comparison& comparison, absl::string_view source) {
  const std::string label = path.empty() ? std::string(name) : absl::StrCat(name, " (", path, ")");
  results_.push_back(ResultOf(label, comparison, source));
  return comparison.passed;
}

bool GoldenChecker::Check(absl::string_view name, const Tensor& actual, absl::string_view path) {
  const Tensor* expected = Expected(name, path);
  if (expected == nullptr) return false;
  const SourcedTolerance t = GoldenTolerance(golden_->paper(), golden_->name(), name);
  return Add(name, path, Compare(Widened(actual), Widened(*expected), t.tolerance), t.source);
}

bool GoldenChecker::CheckTable(absl::string_view name, const Tensor& actual,
                               const std::vector<double>& positions, absl::string_view path) {
  const Tensor* expected = Expected(name, path);
  if (expected == nullptr) return false;
  std::vector<Tolerance> tolerances;
  std::vector<std::string> sources;
  for (const double position : positions) {
    SourcedTolerance t = GoldenTolerance(golden_->paper(), golden_->name(), name, position);
    tolerances.push_back(t.tolerance);
    sources.push_back(std::move(t.source));
  }
  const Comparison c = CompareRows(Widened(actual), Widened(*expected), tolerances);
  std::string source;
  if (c.worst_index >= 0)
    source = sources[static_cast<size_t>(c.worst_index / (expected->numel() / expected->dim(0)))];
  return Add(name, path, c, source);
}

bool GoldenChecker::CheckRms(absl::string_view name, const Tensor& actual, absl::string_view path) {
  const bool covered = names_.count(std::string(name)) > 0;
  const Tensor* expected = Expected(name, path);
  if (expected == nullptr) return false;
  if (!covered) names_.erase(std::string(name));
  const double allowed = IsGradient(name) ? kFloat32GradientRms : kFloat32ForwardRms;
  Comparison c = CompareRms(actual, *expected, allowed);
  c.worst /= allowed;
  return Add(name, path, c, "");
}

bool GoldenChecker::Check(absl::string_view name, const absl::StatusOr<Tensor>& actual,
                          absl::string_view path) {
  if (actual.ok()) return Check(name, *actual, path);
  if (Expected(name, path) != nullptr) Fail(name, actual.status().message());
  return false;
}

void GoldenChecker::Fail(absl::string_view what, absl::string_view why) {
  results_.push_back(FailedResult(std::string(what), std::string(why)));
}

GoldenReport GoldenChecker::Finish() {
  for (const std::string& name : golden_->ResultNames()) {
    if (names_.count(name) == 0) Fail(name, "it was not compared");
  }
  return MakeGoldenReport(absl::StrCat(golden_->paper(), "/", golden_->name()),
                          std::move(results_));
}

GoldenResult CompareGoldenNumber(absl::string_view paper, absl::string_view case_name,
                                 absl::string_view key, double actual, double expected) {
  const SourcedTolerance t = GoldenTolerance(paper, case_name, key);
  return ResultOf(std::string(key),
                  Compare(Tensor::Scalar(actual, DType::kFloat64),
                          Tensor::Scalar(expected, DType::kFloat64), t.tolerance),
                  t.source);
}

GoldenResult CompareGoldenText(absl::string_view key, absl::string_view actual,
                               absl::string_view expected) {
  if (actual != expected) {
    size_t at = 0;
    while (at < actual.size() && at < expected.size() && actual[at] == expected[at]) ++at;
    const size_t from = at < 20 ? 0 : at - 20;
    return FailedResult(
        std::string(key),
        absl::StrCat("texts differ from byte ", at, " on: got \"...",
                     actual.substr(std::min(from, actual.size()), 60), "\", expected \"...",
                     expected.substr(std::min(from, expected.size()), 60), "\""));
  }
  Comparison c;
  c.passed = true;
  c.tolerance = "exact";
  c.message = "equal";
  return ResultOf(std::string(key), c, "");
}

GoldenReport MakeGoldenReport(absl::string_view name, std::vector<GoldenResult> results) {
  GoldenReport report;
  report.name = std::string(name);
  report.passed = !results.empty() && std::all_of(results.begin(), results.end(),
                                                  [](const auto& r) { return r.passed; });
  report.results = std::move(results);
  return report;
}

}  // namespace longrange
