// Golden cases: inputs, parameters, outputs and gradients computed by third-party implementations.
//
// One case is one safetensors file. Metadata: `paper` (whose adapter takes it), `case`,
// `reference`, `config` (JSON), `notes`. Tensors: in.*, param.* (under the reference's names),
// out.*, cotangent.<output>, and grad.in.*, grad.param.*, the gradients of the sum over outputs of
// sum(out * cotangent). Any other prefix is a further output or gradient that the notes explain. A
// safetensors file without `case` is no case.
//
// No googletest here: the program that runs the cases of a folder uses it as well as tests.

#ifndef LONGRANGE_COMMON_TESTING_GOLDEN_FILE_H_
#define LONGRANGE_COMMON_TESTING_GOLDEN_FILE_H_

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/io/tensor_map.h"
#include "common/tensor/tensor.h"
#include "common/testing/compare.h"
#include "common/testing/tolerance.h"
#include "nlohmann/json.hpp"

namespace longrange {

class GoldenCase {
 public:
  // FailedPrecondition where the file is a good safetensors file but no case; other errors are
  // those of the file, of the metadata (paper, case and config must be there), or of its names.
  static absl::StatusOr<GoldenCase> Read(absl::string_view path);

  const std::string& path() const { return path_; }
  const std::string& paper() const { return paper_; }
  const std::string& name() const { return name_; }
  const std::string& reference() const { return reference_; }
  const std::string& notes() const { return notes_; }
  const nlohmann::json& config() const { return config_; }

  // All tensors under their full names.
  const TensorMap& tensors() const { return tensors_; }
  bool Has(absl::string_view full_name) const;
  // By full name ("out_check.mask"), or by the name within a group: In("x"), Grad("param.w").
  // NotFound names the file, the tensor and what the group has.
  absl::StatusOr<Tensor> Get(absl::string_view full_name) const;
  absl::StatusOr<Tensor> In(absl::string_view name) const;
  absl::StatusOr<Tensor> Param(absl::string_view name) const;
  absl::StatusOr<Tensor> Out(absl::string_view name) const;
  absl::StatusOr<Tensor> Cotangent(absl::string_view output) const;
  absl::StatusOr<Tensor> Grad(absl::string_view name) const;
  // All tensors whose names start with `prefix` ("param."), without it.
  TensorMap Group(absl::string_view prefix) const;

  // Full names of what an implementation has to reproduce: everything but in.*, param.* and
  // cotangent.*.
  std::vector<std::string> ResultNames() const;

 private:
  std::string path_, paper_, name_, reference_, notes_;
  nlohmann::json config_;
  TensorMap tensors_;
};

// A file found below a folder.
struct GoldenFile {
  enum class Kind { kTensors, kJsonLines };

  std::string path;
  Kind kind = Kind::kTensors;
  // From the metadata; for JSON lines, which have none, the names of the folder (its parent's where
  // it is called goldens) and of the file (without .jsonl).
  std::string paper, name;
  // Not OK where the file is broken: it counts as a failed case.
  absl::Status status;
};

// The golden cases below `dir`, at any depth, in the order of their paths: safetensors files that
// are cases or are broken, and *.jsonl. An error where a folder cannot be read.
absl::StatusOr<std::vector<GoldenFile>> FindGoldenFiles(absl::string_view dir);

// One comparison within a case.
struct GoldenResult {
  std::string
      name;  // "out.y", with the path it was computed on where there are several: "out.y (fused)"
  bool passed = false;
  double worst = 0;       // error as a multiple of what is allowed (above 1 fails)
  double error = 0;       // |actual - expected| there
  std::string place;      // "[0, 3, 1]"
  std::string tolerance;  // "rtol 1e-4, atol 1e-5 (mega: ...)"
  std::string message;
};

// What became of a case.
struct GoldenReport {
  std::string name;  // "paper/case"
  bool passed = false;
  std::vector<GoldenResult> results;

  // The result closest to, or furthest beyond, its tolerance; failures before passes. Null where
  // there are none.
  const GoldenResult* Worst() const;
  // "ok   mega/ema: worst out.y at [0, 3]: off by 1.2e-07, 0.01 of rtol 1e-4, atol 1e-5 (...)"; for
  // a failed case each failed result follows on a line of its own.
  std::string ToString() const;
};

// Collects the comparisons of one case. Each result of the file must be compared: one that is not,
// or is compared twice on the same path, is a failure.
class GoldenChecker {
 public:
  // `golden` must outlive the checker.
  explicit GoldenChecker(const GoldenCase* golden) : golden_(golden) {}

  // Compares with tensor `name` ("out.y", "grad.in.x") under GoldenTolerance. Floating types may
  // differ from the file's float32, integer types from its int64; shapes must be the same. `path`
  // tells apart the ways in which a result was computed ("fused", "plain"): a result needs to be
  // compared on one of them at least. Returns whether it passed.
  bool Check(absl::string_view name, const Tensor& actual, absl::string_view path = "");
  // The same for a table whose row i belongs to position positions[i] (tokens), where tolerances
  // depend on it.
  bool CheckTable(absl::string_view name, const Tensor& actual,
                  const std::vector<double>& positions, absl::string_view path = "");
  // Compares float32 by RMS ratio, under kFloat32ForwardRms or, for gradients, kFloat32GradientRms:
  // where the rounding of float32 alone fills the elementwise tolerance of a case that was computed
  // in float64. The result still has to be compared by Check, on another path.
  bool CheckRms(absl::string_view name, const Tensor& actual, absl::string_view path);
  // As Check, where an error took the place of the tensor, e.g. an option that is not known.
  bool Check(absl::string_view name, const absl::StatusOr<Tensor>& actual,
             absl::string_view path = "");
  // A failure that belongs to no tensor.
  void Fail(absl::string_view what, absl::string_view why);

  // To be called once, at the end.
  GoldenReport Finish();

 private:
  // The tensor of the case; null, with a failure, where it is no result or was compared already.
  const Tensor* Expected(absl::string_view name, absl::string_view path);
  bool Add(absl::string_view name, absl::string_view path, const Comparison& comparison,
           absl::string_view source);

  const GoldenCase* golden_;
  std::set<std::pair<std::string, std::string>> compared_;  // (name, path)
  std::set<std::string> names_;
  std::vector<GoldenResult> results_;
};

// Results of cases in JSON lines: a number under GoldenTolerance(paper, case_name, key), and text,
// which must be equal.
GoldenResult CompareGoldenNumber(absl::string_view paper, absl::string_view case_name,
                                 absl::string_view key, double actual, double expected);
GoldenResult CompareGoldenText(absl::string_view key, absl::string_view actual,
                               absl::string_view expected);

// Passed where there are results and all passed.
GoldenReport MakeGoldenReport(absl::string_view name, std::vector<GoldenResult> results);

}  // namespace longrange

#endif  // LONGRANGE_COMMON_TESTING_GOLDEN_FILE_H_
