#include "plugins/conformance/layer_checks.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <numeric>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "common/autograd/gradcheck.h"
#include "common/autograd/ops.h"
#include "common/autograd/tape.h"
#include "common/base/thread_pool.h"
#include "common/io/safetensors.h"
#include "common/tensor/allocator.h"
#include "common/tensor/cost.h"
#include "common/testing/shapes.h"
#include "common/testing/tolerance.h"
#include "kernels/adamw/adamw.h"

namespace longrange::conformance {
namespace {

using nn::Call;
using nn::Rows;

Tensor Int64s(const std::vector<int64_t>& values) {
  return Tensor::FromVector<int64_t>({static_cast<int64_t>(values.size())}, values);
}

// Rows [begin, begin + size) of dimension 1, as new memory.
Tensor Cut(const Tensor& t, int64_t begin, int64_t size) {
  const NoGradScope no_grad;
  return Narrow(t.Detach(), 1, begin, size).Clone();
}

// Entry b of dimension 0, as a batch of one.
Tensor Entry(const Tensor& t, int64_t b) { return t.ViewRows(b, b + 1).Clone(); }

std::vector<nn::Form> Forms(const MixerTraits& traits) {
  return traits.forms.empty() ? std::vector<nn::Form>{nn::Form::kDefault} : traits.forms;
}

// A length at which most checks look: odd, above one tile of anything small.
constexpr int64_t kRows = 21;

#define LR_BUILD(layer, dtype) LR_CHECK_ASSIGN(const BuiltLayer layer, subject.Build(dtype))

// Rows between two borders that no gradient crosses; 0: there are none.
int64_t RowsOfOneGradient(const MixerTraits& traits) {
  return traits.gradient_crosses_segments ? 0 : traits.segment * traits.gradient_segments;
}

// At most `wanted`, and no more than one gradient reaches over.
int64_t RowsWithinReach(const MixerTraits& traits, int64_t wanted) {
  const int64_t reach = RowsOfOneGradient(traits);
  return reach > 0 ? std::min(wanted, reach) : wanted;
}

// A length that suits, or the check does not apply.
#define LR_FIT(rows, layer, wanted)                             \
  const int64_t rows = Fit(layer.traits(), wanted);             \
  if (rows == 0) {                                              \
    return DoesNotApply("takes no ", int64_t{wanted}, " rows"); \
  }

Verdict Shapes(const LayerSubject& subject) {
  for (const DType dtype : {DType::kFloat32, DType::kFloat64}) {
    LR_BUILD(layer, dtype);
    const MixerTraits& traits = layer.traits();
    bool any = false;
    for (const int64_t batch : {1, 3}) {
      for (const int64_t tokens : {1, 2, 3, 7, 16, 17, 31, 64, 65, 100}) {
        const std::string what = absl::StrCat("batch ", batch, ", ", tokens, " rows");
        const absl::Status declared = SupportedBy(traits, tokens, Rows(), Call());
        const absl::Status status = layer.Supports(batch, tokens, Rows(), Call());
        if (status.ok() && !declared.ok())
          return Failed(what, ": Supports agrees to what the traits exclude");
        if (!status.ok()) {
          if (status.message().empty()) return Failed(what, ": refused without a reason");
          continue;
        }
        any = true;
        for (const nn::Form form : Forms(traits)) {
          const Call call = CallFor(tokens, form);
          if (!layer.Supports(batch, tokens, Rows(), call).ok())
            return Failed(what, ": the declared ", Name(form), " form is refused");
          const Tensor y = layer.Forward(subject.Input(batch, tokens, dtype), Rows(), call);
          if (y.shape() != layer.OutputShape(batch, tokens, subject.width) || y.dtype() != dtype)
            return Failed(what, ": the output is ", Name(y.dtype()), " ", y.shape().ToString());
          if (!AllFinite(y)) return Failed(what, ": the output is not finite");
        }
      }
    }
    if (!any) return Failed("no length up to 100 is supported");
  }
  return Passed();
}

Verdict RefusesWhatItDoesNotDeclare(const LayerSubject& subject) {
  LR_BUILD(layer, DType::kFloat32);
  const MixerTraits& traits = layer.traits();
  LR_FIT(rows, layer, kRows);
  const auto refused = [&](bool declared, const Rows& r, const Call& call, const char* what) {
    const absl::Status status = layer.Supports(1, rows, r, call);
    if (!declared && status.ok())
      return Failed(what, " is not declared, yet Supports agrees to it");
    if (declared && !status.ok())
      return Failed(what, " is declared, yet refused: ", status.message());
    return Passed();
  };
  Rows left, right, documents, frontier, roles;
  left.begin_b = Int64s({1});
  right.end_b = Int64s({rows - 1});
  documents.document_bt = Tensor::Zeros({1, rows}, DType::kInt32);
  frontier.frontier_t = Tensor::Full({rows}, static_cast<double>(rows), DType::kInt32);
  roles.role_bt = Tensor::Zeros({1, rows}, DType::kInt32);
  LR_CHECK_PART(
      refused(traits.padding == MixerTraits::kBothSides, left, Call(), "padding on the left"));
  LR_CHECK_PART(
      refused(traits.padding != MixerTraits::kNoPadding, right, Call(), "padding on the right"));
  LR_CHECK_PART(refused(traits.documents, documents, Call(), "a document map"));
  LR_CHECK_PART(refused(traits.frontier, frontier, Call(), "a frontier"));
  LR_CHECK_PART(refused(traits.roles, roles, Call(), "a map of roles"));
  for (const nn::Form form :
       {nn::Form::kParallel, nn::Form::kRecurrent, nn::Form::kChunked, nn::Form::kFft}) {
    const std::vector<nn::Form> forms = traits.forms;
    const bool declared = std::find(forms.begin(), forms.end(), form) != forms.end();
    LR_CHECK_PART(refused(declared, Rows(), CallFor(rows, form),
                          absl::StrCat("the ", Name(form), " form").c_str()));
  }
  return Passed();
}

Verdict SameSeedSameBits(const LayerSubject& subject) {
  std::optional<Outcome> first;
  for (int trial = 0; trial < 2; ++trial) {
    LR_BUILD(layer, DType::kFloat32);
    LR_FIT(rows, layer, kRows);
    for (int again = 0; again < 2; ++again) {
      Outcome outcome = RunForward(layer, subject.Input(2, rows), Rows(), CallFor(rows));
      if (first.has_value()) {
        LR_CHECK_PART(SameBits(outcome, *first, trial == 0 ? "called again" : "built again"));
      } else {
        first = std::move(outcome);
      }
    }
  }
  return Passed();
}

Verdict AnyNumberOfThreads(const LayerSubject& subject) {
  LR_BUILD(layer, DType::kFloat32);
  LR_FIT(rows, layer, 65);
  const int before = NumThreads();
  Verdict verdict = Passed();
  std::optional<Outcome> one;
  for (const int threads : {1, 2, 3}) {
    SetNumThreads(threads);
    Outcome outcome = RunForward(layer, subject.Input(3, rows), Rows(), CallFor(rows));
    if (!one.has_value()) {
      one = std::move(outcome);
    } else if (!verdict.failed()) {
      verdict = SameBits(outcome, *one, absl::StrCat(threads, " threads against one"));
    }
  }
  SetNumThreads(before);
  return verdict;
}

// Rows of one entry while its neighbours change: the same bits, or declared otherwise.
Verdict Neighbours(const LayerSubject& subject) {
  LR_BUILD(layer, DType::kFloat32);
  LR_FIT(rows, layer, kRows);
  const Tensor x = subject.Input(3, rows);
  const Tensor other = x.Clone();
  for (const int64_t b : {0, 2})
    other.ViewRows(b, b + 1).CopyFrom(
        subject.Input(1, rows, DType::kFloat32, 7 + static_cast<int>(b)));
  for (const bool training : {false, true}) {
    Call call = CallFor(rows);
    call.training = training;
    const Tensor alone = layer.Forward(Entry(x, 1), Rows(), call),
                 a = Entry(layer.Forward(x, Rows(), call), 1),
                 b = Entry(layer.Forward(other, Rows(), call), 1);
    const MixerTraits::Coupling declared = layer.traits().batch_coupled;
    const bool coupled =
        declared == MixerTraits::kAlways || (declared == MixerTraits::kTraining && training);
    const char* when = training ? "in training" : "in evaluation";
    if (coupled) {
      if (CompareBits(a, b).passed)
        return Failed("declared batch_coupled, but neighbours change nothing ", when);
      continue;
    }
    LR_CHECK_PART(Of(CompareBits(b, a), absl::StrCat("other neighbours in the batch, ", when)));
    LR_CHECK_PART(Of(CompareRms(alone, a, kFloat32ForwardRms),
                     absl::StrCat("alone against in a batch, ", when)));
  }
  return Passed();
}

Verdict Finite(const LayerSubject& subject) {
  LR_BUILD(layer, DType::kFloat32);
  LR_FIT(rows, layer, kRows);
  const Tensor normal = subject.Input(2, rows);
  Tensor large = normal.Clone(), outlier = normal.Clone(), tiny = normal.Clone();
  for (int64_t i = 0; i < normal.numel(); ++i) {
    large.mutable_data<float>()[i] *= 1e3f;
    tiny.mutable_data<float>()[i] *= 1e-30f;
  }
  outlier.mutable_data<float>()[normal.numel() / 2] = 1e4f;
  for (const auto& [what, x] : std::map<std::string, Tensor>{{"zeros", Tensor::ZerosLike(normal)},
                                                             {"inputs of 1e3", large},
                                                             {"one outlier of 1e4", outlier},
                                                             {"inputs of 1e-30", tiny}}) {
    const Outcome outcome = RunForward(layer, x, Rows(), CallFor(rows));
    for (size_t i = 0; i < outcome.tensors.size(); ++i) {
      if (!AllFinite(outcome.tensors[i]))
        return Failed(what, ": ", outcome.names[i], " is not finite");
    }
  }
  return Passed();
}

// Memory that was never written is NaN in one run and what lay there in the other.
Verdict ReadsNothingUnwritten(const LayerSubject& subject) {
  LR_BUILD(layer, DType::kFloat32);
  LR_FIT(rows, layer, kRows);
  const bool before = MemoryChecks();
  std::vector<Outcome> outcomes;
  for (const bool checks : {false, true}) {
    SetMemoryChecks(checks);
    outcomes.push_back(RunForward(layer, subject.Input(2, rows), Rows(), CallFor(rows)));
  }
  SetMemoryChecks(before);
  return SameBits(outcomes[1], outcomes[0], "on memory filled with NaN");
}

Verdict SharesNoMemory(const LayerSubject& subject) {
  LR_BUILD(layer, DType::kFloat32);
  LR_FIT(rows, layer, kRows);
  const Tensor x = subject.Input(2, rows), before = x.Clone();
  TensorMap parameters = layer.store->Values();
  for (auto& [name, value] : parameters) value = value.Clone();
  const Tensor y = layer.Forward(x, Rows(), CallFor(rows)), kept = y.Clone();
  const char* begin = static_cast<const char*>(x.raw_data());
  const char* out = static_cast<const char*>(y.raw_data());
  if (out < begin + x.bytes() && begin < out + y.bytes())
    return Failed("the output lies in the input's memory");
  RunForward(layer, subject.Input(2, rows, DType::kFloat32, 2), Rows(), CallFor(rows));
  LR_CHECK_PART(Of(CompareBits(x, before), "the input after the call"));
  LR_CHECK_PART(Of(CompareBits(y, kept), "an output after the next call"));
  Call training = CallFor(rows);
  training.training = true;
  RunForward(layer, x, Rows(), training);
  for (const auto& [name, value] : layer.store->Values()) {
    LR_CHECK_PART(Of(CompareBits(value, parameters.at(name)),
                     absl::StrCat("parameter ", name, " after a call")));
  }
  return Passed();
}

Verdict Causal(const LayerSubject& subject) {
  LR_BUILD(layer, DType::kFloat32);
  LR_FIT(rows, layer, kRows);
  const bool causal = layer.traits().direction == nn::Direction::kCausal;
  for (const nn::Form form : Forms(layer.traits())) {
    const Call call = CallFor(rows, form);
    const Tensor x = subject.Input(2, rows);
    const Tensor y = layer.Forward(x, Rows(), call);
    for (const int64_t at : {rows / 3, rows - 1}) {
      const Tensor changed = x.Clone();
      for (int64_t b = 0; b < 2; ++b) {
        for (int64_t d = 0; d < subject.width; ++d)
          changed.mutable_data<float>()[(b * rows + at) * subject.width + d] += 3;
      }
      // Rows of a layer's own have no place before that row or behind it: all of them look at it.
      const int64_t looked_at = layer.has_own_rows() ? y.dim(1) : at;
      const Tensor before = Cut(y, 0, looked_at),
                   after = Cut(layer.Forward(changed, Rows(), call), 0, looked_at);
      const std::string what = layer.has_own_rows()
                                   ? absl::StrCat(Name(form), " form, rows of its own")
                                   : absl::StrCat(Name(form), " form, rows before ", at);
      if (causal) {
        LR_CHECK_PART(Of(CompareBits(after, before), absl::StrCat(what, " when that row changes")));
      } else if (at > 0 && CompareBits(after, before).passed) {
        return Failed(what, " do not see it, though the layer is bidirectional");
      }
      if (!causal) continue;
      // And backwards: rows after `at` get no gradient from the rows up to it.
      const Tensor leaf = Leaf(x);
      const Tensor out = layer.Forward(leaf, Rows(), call);
      Tensor cotangent = Tensor::ZerosLike(out);
      for (int64_t d = 0; d < subject.width; ++d)
        cotangent.mutable_data<float>()[at * subject.width + d] = 1;
      Backward({out}, {cotangent});
      layer.store->ClearGradients();
      if (at + 1 < rows) {
        const Tensor later = Cut(Gradient(leaf), at + 1, rows - at - 1);
        LR_CHECK_PART(Of(Compare(later, Tensor::ZerosLike(later), kExact),
                         absl::StrCat("the gradient that row ", at, " sends to later rows")));
      }
    }
  }
  return Passed();
}

// Steps, halves, random cuts, and for a layer with a grid cuts on it and off it.
std::vector<std::vector<int64_t>> Cuts(int64_t rows, int64_t segment) {
  std::vector<std::vector<int64_t>> cuts = {
      {rows}, std::vector<int64_t>(rows, 1), {rows / 2, rows - rows / 2}};
  for (int64_t trial = 0; trial < 3; ++trial) {
    RngStream rng(Rng(4).Child(trial));
    cuts.emplace_back();
    for (int64_t left = rows; left > 0; left -= cuts.back().back())
      cuts.back().push_back(1 + rng.UniformInt(std::min<int64_t>(left, 8)));
  }
  for (const int64_t step : {segment, segment + 1}) {
    if (segment == 0) break;
    cuts.emplace_back();
    for (int64_t left = rows; left > 0; left -= cuts.back().back())
      cuts.back().push_back(std::min(left, step));
  }
  return cuts;
}

#define LR_NEEDS_STREAMING(layer) \
  if (!layer.traits().streams) return DoesNotApply("does not stream")

// What streams takes rows in any number, whatever a call of Forward is held to.
int64_t StreamRows(const MixerTraits& traits) { return Fit(traits, kRows); }

Verdict StreamsOverAnyCut(const LayerSubject& subject) {
  LR_BUILD(layer, DType::kFloat64);
  LR_NEEDS_STREAMING(layer);
  if (layer.traits().direction != nn::Direction::kCausal)
    return Failed("declares to stream, but is bidirectional");
  const int64_t rows = StreamRows(layer.traits());
  const Tensor x = subject.Input(2, rows, DType::kFloat64);
  for (const int64_t horizon : {rows, 2 * rows}) {
    const Call call = CallFor(horizon);
    const Outcome whole = RunForward(layer, x, Rows(), call);
    for (const std::vector<int64_t>& pieces : Cuts(rows, layer.traits().segment)) {
      LR_CHECK_PART(Close(
          RunStream(layer, x, pieces, call), whole, kFloat64Rms, kFloat64Rms,
          absl::StrCat("pieces of ", absl::StrJoin(pieces, ", "), " rows, horizon ", horizon)));
    }
  }
  return Passed();
}

// As an evaluation would run it: float32.
Verdict StreamsInFloat32(const LayerSubject& subject) {
  LR_BUILD(layer, DType::kFloat32);
  LR_NEEDS_STREAMING(layer);
  const int64_t rows = StreamRows(layer.traits());
  const Call call = CallFor(rows);
  const Tensor x = subject.Input(2, rows);
  return Close(RunStream(layer, x, std::vector<int64_t>(rows, 1), call),
               RunForward(layer, x, Rows(), call), kFloat32ForwardRms, kFloat32GradientRms,
               "row by row");
}

std::string TemporaryFile() {
  const char* folder = std::getenv("TEST_TMPDIR");
  return absl::StrCat(folder == nullptr ? "/tmp" : folder, "/conformance-", getpid(),
                      ".safetensors");
}

// Writes the state to a file and puts what is read in its place.
absl::Status SaveAndLoad(nn::State* state) {
  TensorMap tensors;
  state->Visit([&](const std::string& path, Tensor* value) { tensors[path] = value->Detach(); });
  const std::string path = TemporaryFile();
  LR_RETURN_IF_ERROR(WriteSafetensors(path, tensors));
  LR_ASSIGN_OR_RETURN(SafetensorsFile file, ReadSafetensors(path));
  unlink(path.c_str());
  state->Visit([&](const std::string& path, Tensor* value) { *value = file.tensors.at(path); });
  return absl::OkStatus();
}

Verdict StateIsAllThereIs(const LayerSubject& subject) {
  LR_BUILD(layer, DType::kFloat32);
  LR_NEEDS_STREAMING(layer);
  LR_BUILD(elsewhere, DType::kFloat32);
  const int64_t rows = StreamRows(layer.traits()), half = rows / 2;
  const Call call = CallFor(rows);
  const NoGradScope no_grad;
  const Tensor x = subject.Input(2, rows), head = Cut(x, 0, half), tail = Cut(x, half, rows - half);
  nn::State state = layer.NewState(2);
  layer.Extend(head, Rows(), call, &state);
  nn::State copy = state.Clone(), saved = state.Clone();
  const Tensor expected = layer.Extend(tail, Rows(), call, &state);
  // A copy is not touched by what happened to the original, nor by another stream.
  nn::State stranger = layer.NewState(2);
  layer.Extend(subject.Input(2, rows, DType::kFloat32, 3), Rows(), call, &stranger);
  LR_CHECK_PART(
      Of(CompareBits(layer.Extend(tail, Rows(), call, &copy), expected), "continued from a clone"));
  const absl::Status status = SaveAndLoad(&saved);
  if (!status.ok()) return Failed("the state cannot be saved and loaded: ", status.message());
  saved.DropDerived();  // which no file holds
  return Of(CompareBits(elsewhere.Extend(tail, Rows(), call, &saved), expected),
            "continued from a file, by a layer built anew");
}

Verdict StateAsDeclared(const LayerSubject& subject) {
  LR_BUILD(layer, DType::kFloat32);
  LR_NEEDS_STREAMING(layer);
  const NoGradScope no_grad;
  std::map<int64_t, int64_t> bytes;
  nn::State state = layer.NewState(1);
  // At borders of segments: an open one holds as many rows as it happens to have.
  const int64_t grid = std::max<int64_t>(1, layer.traits().segment),
                unit = std::max<int64_t>(1, 128 / grid) * grid;
  int64_t seen = 0;
  for (const int64_t rows : std::set<int64_t>{100, unit, 2 * unit, 4 * unit}) {
    layer.Extend(subject.Input(1, rows - seen), Rows(), CallFor(4 * unit), &state);
    bytes[seen = rows] = state.bytes();
  }
  if (subject.state_bytes >= 0 && bytes[100] != subject.state_bytes) {
    return Failed("the state of a stream after 100 rows has ", bytes[100],
                  " bytes; state_bytes: ", subject.state_bytes, " is declared");
  }
  const int64_t near = bytes[2 * unit] - bytes[unit], far = bytes[4 * unit] - bytes[2 * unit];
  const Growth declared = layer.traits().state;
  const Growth seen_growth = near == 0 && far == 0 ? Growth::kConstant
                             : far <= 5 * near / 2 ? Growth::kLinear
                                                   : Growth::kQuadratic;
  if (seen_growth != declared) {
    return Failed("the state has ", bytes[unit], ", ", bytes[2 * unit], ", ", bytes[4 * unit],
                  " bytes after ", unit, ", ", 2 * unit, ", ", 4 * unit,
                  " rows, which is not the declared growth");
  }
  return Passed();
}

Verdict MemoryGradientAsDeclared(const LayerSubject& subject) {
  LR_BUILD(layer, DType::kFloat64);
  const MixerTraits& traits = layer.traits();
  if (traits.segment == 0) return DoesNotApply("has no grid");
  if (traits.gradient_segments < 1 ||
      (traits.gradient_crosses_segments && traits.gradient_segments != 1))
    return Failed(
        "gradient_segments is ", traits.gradient_segments, " (expected ",
        traits.gradient_crosses_segments ? "1, as gradients cross all borders" : "1 or more", ")");
  const int64_t group = traits.segment * traits.gradient_segments, rows = 3 * group;
  const Tensor x = Leaf(subject.Input(1, rows, DType::kFloat64));
  const Tensor y = layer.Forward(x, Rows(), CallFor(rows));
  Tensor cotangent = Tensor::ZerosLike(y);
  for (int64_t i = 0; i < subject.width; ++i)
    cotangent.mutable_data<double>()[(rows - 1) * subject.width + i] = 1;
  Backward({y}, {cotangent});
  layer.store->ClearGradients();
  const auto reaches = [&](int64_t begin, int64_t size) {
    const Tensor gradient = Cut(Gradient(x), begin, size);
    return !Compare(gradient, Tensor::ZerosLike(gradient), kExact).passed;
  };
  const bool crosses = reaches(0, 2 * group);
  if (crosses != traits.gradient_crosses_segments)
    return Failed("a gradient ", crosses ? "crosses" : "does not cross", " the border ",
                  traits.gradient_segments == 1
                      ? std::string("of a segment")
                      : absl::StrCat("of ", traits.gradient_segments, " segments"),
                  ", declared otherwise");
  if (traits.gradient_segments > 1 && !reaches(2 * group, traits.segment))
    return Failed("a gradient does not reach the first of ", traits.gradient_segments,
                  " segments from the last, declared otherwise");
  return Passed();
}

Verdict ParametersAsDeclared(const LayerSubject& subject) {
  LR_BUILD(layer, DType::kFloat32);
  if (subject.parameters >= 0 && layer.store->NumElements() != subject.parameters) {
    return Failed("has ", layer.store->NumElements(),
                  " parameters; parameters: ", subject.parameters, " is declared");
  }
  std::set<std::string> used;
  for (const nn::Parameter& p : layer.store->all()) {
    if (p.tags.group == "default") continue;
    used.insert(p.tags.group);
    if (subject.groups.count(p.tags.group) == 0)
      return Failed("parameter ", p.name, " is in group '", p.tags.group,
                    "', which is not declared");
  }
  for (const std::string& group : subject.groups) {
    if (used.count(group) == 0)
      return Failed("no parameter is in the declared group '", group, "'");
  }
  return Passed();
}

Verdict EqualsReference(const LayerSubject& subject) {
  if (subject.reference == nullptr) {
    return subject.needs_reference ? Failed(
                                         "has no reference: register one in reference.cc "
                                         "(plugins/conformance/reference.h)")
                                   : DoesNotApply("has no reference of its own");
  }
  LR_BUILD(wide, DType::kFloat64);
  LR_BUILD(narrow, DType::kFloat32);
  for (const int64_t wanted : {1, 5, 33}) {
    LR_FIT(rows, wide, wanted);
    const Tensor x = subject.Input(2, rows);
    const Tensor expected = subject.reference(wide.store->Values(), x.To(DType::kFloat64));
    if (!AllFinite(expected)) return Failed("the reference is not finite");
    for (const nn::Form form : Forms(wide.traits())) {
      const std::string what = absl::StrCat(Name(form), " form, ", rows, " rows");
      LR_CHECK_PART(Of(CompareRms(wide.Forward(x.To(DType::kFloat64), Rows(), CallFor(rows, form)),
                                  expected, kFloat64Rms),
                       absl::StrCat(what, ", float64")));
      LR_CHECK_PART(Of(
          CompareRms(narrow.Forward(x, Rows(), CallFor(rows, form)), expected, kFloat32ForwardRms),
          absl::StrCat(what, ", float32")));
    }
  }
  return Passed();
}

// Every form in float32 against the default form in float64, with all gradients.
Verdict FormsAgree(const LayerSubject& subject) {
  LR_BUILD(wide, DType::kFloat64);
  LR_BUILD(narrow, DType::kFloat32);
  LR_FIT(rows, wide, kRows);
  const Tensor x = subject.Input(2, rows);
  const Outcome expected = RunForward(wide, x.To(DType::kFloat64), Rows(), CallFor(rows));
  for (const nn::Form form : Forms(wide.traits())) {
    LR_CHECK_PART(Close(RunForward(wide, x.To(DType::kFloat64), Rows(), CallFor(rows, form)),
                        expected, kFloat64Rms, kFloat64Rms,
                        absl::StrCat(Name(form), " form, float64")));
    LR_CHECK_PART(Close(RunForward(narrow, x, Rows(), CallFor(rows, form)), expected,
                        kFloat32ForwardRms, kFloat32GradientRms,
                        absl::StrCat(Name(form), " form, float32")));
  }
  return Passed();
}

// The gradients of run(x) by x and by the parameters against central differences; "" or what is
// wrong. Puts values in the place of the parameters while it runs: gradcheck gives its own leaves.
std::string WrongGradient(const BuiltLayer& layer, const Tensor& at,
                          const std::function<Tensor(const Tensor& x)>& run) {
  GradCheckOptions options;
  options.max_elements = 40;
  const int64_t n = static_cast<int64_t>(layer.store->all().size());
  std::vector<Tensor> inputs = {at};
  for (const nn::Parameter& p : layer.store->all()) inputs.push_back(p.value.Detach().Clone());
  // Parameters are leaves of the store: central differences write them in place, and the
  // gradients they gather are handed on by an op of their own.
  const auto fn = [&](const std::vector<Tensor>& values) -> std::vector<Tensor> {
    for (int64_t i = 0; i < n; ++i) layer.store->all()[i].value.CopyFrom(values[i + 1].Detach());
    const Tensor x = Leaf(values[0].Detach());
    const Tensor y = run(x);
    const Tensor out = y.Detach().Clone();
    Record("layer", values, {out}, [&, x, y](const std::vector<Tensor>& cotangents) {
      layer.store->ClearGradients();
      Backward({y}, {cotangents[0]});
      std::vector<Tensor> gradients = {Gradient(x)};
      for (const nn::Parameter& p : layer.store->all()) gradients.push_back(Gradient(p.value));
      for (size_t i = 0; i < gradients.size(); ++i) {
        if (!gradients[i].defined()) gradients[i] = Tensor::ZerosLike(inputs[i]);
      }
      return gradients;
    });
    return {out};
  };
  const std::string wrong = GradCheck(fn, inputs, options);
  if (wrong.empty()) return "";
  std::string names = "0: the input";
  for (int64_t i = 0; i < n; ++i)
    absl::StrAppend(&names, ", ", i + 1, ": ", layer.store->all()[i].name);
  return absl::StrCat(wrong, " (", names, ")");
}

Verdict GradientsAreRight(const LayerSubject& subject) {
  LR_BUILD(layer, DType::kFloat64);
  LR_FIT(rows, layer, RowsWithinReach(layer.traits(), 6));
  for (const nn::Form form : Forms(layer.traits())) {
    const std::string wrong = WrongGradient(
        layer, subject.Input(2, rows, DType::kFloat64),
        [&](const Tensor& x) { return layer.Forward(x, Rows(), CallFor(rows, form)); });
    if (!wrong.empty()) return Failed(Name(form), " form: ", wrong);
  }
  return Passed();
}

// Rows of one segment, some others and whole segments before them being a state that is held: what
// a step of training is where the state is carried from step to step.
Verdict GradientsBehindAState(const LayerSubject& subject) {
  LR_BUILD(layer, DType::kFloat64);
  LR_NEEDS_STREAMING(layer);
  const int64_t segment = layer.traits().segment, open = std::min<int64_t>(1, segment - 1),
                before = segment > 0 ? 2 * segment + open : 5,
                rows = segment > 0 ? std::min<int64_t>(4, segment - open) : 4;
  const Call call = CallFor(before + rows);
  const Tensor x = subject.Input(1, before + rows, DType::kFloat64);
  nn::State held = layer.NewState(1);
  {
    const NoGradScope no_grad;
    layer.Extend(Cut(x, 0, before), Rows(), call, &held);
  }
  held.Detach();
  const std::string wrong = WrongGradient(layer, Cut(x, before, rows), [&](const Tensor& piece) {
    nn::State state = held.Clone();
    return layer.Extend(piece, Rows(), call, &state);
  });
  return wrong.empty() ? Passed() : Failed(wrong);
}

// The state before a piece is an input like any other: its gradient against central differences.
Verdict StateGradientsAreRight(const LayerSubject& subject) {
  LR_BUILD(layer, DType::kFloat64);
  LR_NEEDS_STREAMING(layer);
  const int64_t before = layer.traits().segment > 0 ? layer.traits().segment + 1 : 5, after = 4;
  const Call call = CallFor(before + after);
  const Tensor x = subject.Input(1, before + after, DType::kFloat64);
  nn::State start = layer.NewState(1);
  {
    const NoGradScope no_grad;
    layer.Extend(Cut(x, 0, before), Rows(), call, &start);
  }
  std::vector<std::string> paths;
  std::vector<Tensor> inputs;
  start.Visit([&](const std::string& path, Tensor* value) {
    if (value->dtype() != DType::kFloat64) return;
    paths.push_back(path);
    inputs.push_back(value->Detach().Clone());
  });
  if (inputs.empty()) return DoesNotApply("has no state of numbers");
  const auto fn = [&](const std::vector<Tensor>& values) -> std::vector<Tensor> {
    nn::State state = start.Clone();
    size_t i = 0;
    state.Visit([&](const std::string&, Tensor* value) {
      if (value->dtype() == DType::kFloat64) *value = values[i++];
    });
    return {layer.Extend(Cut(x, before, after), Rows(), call, &state)};
  };
  GradCheckOptions options;
  options.max_elements = 40;
  const bool crosses = layer.traits().segment == 0 || layer.traits().gradient_crosses_segments;
  if (!crosses) return DoesNotApply("what is memory carries no gradient");
  const std::string wrong = GradCheck(fn, inputs, options);
  return wrong.empty() ? Passed() : Failed(wrong, " (inputs: ", absl::StrJoin(paths, ", "), ")");
}

Verdict PaddingChangesNothing(const LayerSubject& subject) {
  LR_BUILD(layer, DType::kFloat64);
  const MixerTraits& traits = layer.traits();
  if (traits.padding == MixerTraits::kNoPadding) return DoesNotApply("takes no padding");
  LR_FIT(rows, layer, kRows);
  const Tensor x = subject.Input(1, rows, DType::kFloat64);
  for (const bool left : {false, true}) {
    if (left && traits.padding != MixerTraits::kBothSides) continue;
    for (const int64_t pads : {1, 6}) {
      const int64_t real = rows - pads;
      if (Fit(traits, real) != real) continue;
      const int64_t begin = left ? pads : 0;
      Rows padded;
      (left ? padded.begin_b : padded.end_b) = Int64s({left ? pads : real});
      const Call call = CallFor(rows);
      const Tensor alone = Cut(x, begin, real);
      const Tensor expected = layer.Forward(alone, Rows(), call);
      const Tensor leaf = Leaf(x);
      const Tensor y = layer.Forward(leaf, padded, call);
      const std::string what =
          absl::StrCat(pads, " rows of padding on the ", left ? "left" : "right");
      const int64_t first = layer.has_own_rows() ? 0 : begin, kept = expected.dim(1),
                    channels = y.dim(2);
      LR_CHECK_PART(Of(CompareRms(Cut(y, first, kept), expected, kFloat64Rms), what));
      Tensor cotangent = Tensor::ZerosLike(y);
      for (int64_t i = first * channels; i < (first + kept) * channels; ++i)
        cotangent.mutable_data<double>()[i] = Rng(6).Normal(i);
      Backward({y}, {cotangent});
      layer.store->ClearGradients();
      const Tensor stray = Cut(Gradient(leaf), left ? 0 : real, pads);
      LR_CHECK_PART(Of(Compare(stray, Tensor::ZerosLike(stray), kExact),
                       absl::StrCat(what, ": the gradient of the padding")));
    }
  }
  return Passed();
}

Verdict DocumentsNeverMeet(const LayerSubject& subject) {
  LR_BUILD(layer, DType::kFloat64);
  if (!layer.traits().documents) return DoesNotApply("does not keep documents apart");
  LR_FIT(rows, layer, kRows);
  const Tensor x = subject.Input(1, rows, DType::kFloat64);
  const int64_t border = rows / 3;
  Rows two;
  two.document_bt = Tensor::Zeros({1, rows}, DType::kInt32);
  for (int64_t t = border; t < rows; ++t) two.document_bt.mutable_data<int32_t>()[t] = 4;
  const Call call = CallFor(rows);
  const Tensor y = layer.Forward(x, two, call);
  for (const auto& [begin, size] :
       {std::pair<int64_t, int64_t>{0, border}, {border, rows - border}}) {
    LR_CHECK_PART(Of(CompareRms(Cut(y, begin, size),
                                layer.Forward(Cut(x, begin, size), Rows(), call), kFloat64Rms),
                     absl::StrCat("a document of ", size, " rows among others, against alone")));
  }
  return Passed();
}

Verdict SeesUpToTheFrontier(const LayerSubject& subject) {
  LR_BUILD(layer, DType::kFloat64);
  if (!layer.traits().frontier) return DoesNotApply("takes no frontier");
  LR_FIT(rows, layer, kRows);
  const Tensor x = subject.Input(1, rows, DType::kFloat64);
  // The first rows see each other, the others the past: a prefix.
  const int64_t prefix = rows / 3, row = 1;
  Rows reach;
  reach.frontier_t = Tensor::Empty({rows}, DType::kInt32);
  for (int64_t t = 0; t < rows; ++t)
    reach.frontier_t.mutable_data<int32_t>()[t] = static_cast<int32_t>(std::max(prefix, t + 1));
  const Tensor leaf = Leaf(x);
  const Tensor y = layer.Forward(leaf, reach, CallFor(rows));
  Tensor cotangent = Tensor::ZerosLike(y);
  for (int64_t d = 0; d < subject.width; ++d)
    cotangent.mutable_data<double>()[row * subject.width + d] = 1;
  Backward({y}, {cotangent});
  layer.store->ClearGradients();
  const Tensor last_seen = Cut(Gradient(leaf), prefix - 1, 1),
               unseen = Cut(Gradient(leaf), prefix, rows - prefix);
  if (Compare(last_seen, Tensor::ZerosLike(last_seen), kExact).passed)
    return Failed("row ", row, " does not see row ", prefix - 1, ", which its frontier of ", prefix,
                  " allows");
  return Of(Compare(unseen, Tensor::ZerosLike(unseen), kExact),
            absl::StrCat("what row ", row, " sees beyond its frontier of ", prefix));
}

// Rows that see each other, a text, rows that see everything: what a backbone puts around a
// segment, one behind the other in a stream.
Verdict StreamsUnderAFrontier(const LayerSubject& subject) {
  LR_BUILD(layer, DType::kFloat64);
  LR_NEEDS_STREAMING(layer);
  if (!layer.traits().frontier) return DoesNotApply("takes no frontier");
  LR_FIT(rows, layer, kRows);
  const int64_t first = 4, last = 3;
  Rows reach;
  reach.frontier_t = Tensor::Empty({rows}, DType::kInt32);
  for (int64_t t = 0; t < rows; ++t)
    reach.frontier_t.mutable_data<int32_t>()[t] = static_cast<int32_t>(t < first         ? first
                                                                       : t < rows - last ? t + 1
                                                                                         : rows);
  const Call call = CallFor(rows);
  const Tensor x = subject.Input(2, rows, DType::kFloat64);
  const Outcome whole = RunForward(layer, x, reach, call);
  std::vector<int64_t> one_by_one(rows - first - last, 1);
  one_by_one.insert(one_by_one.begin(), first);
  one_by_one.push_back(last);
  for (const std::vector<int64_t>& pieces : std::vector<std::vector<int64_t>>{
           {rows}, {first, rows - first - last, last}, {first + 2, rows - first - 2}, one_by_one}) {
    LR_CHECK_PART(
        Close(RunStream(layer, x, pieces, call, reach), whole, kFloat64Rms, kFloat64Rms,
              absl::StrCat("pieces of ", absl::StrJoin(pieces, ", "), " rows under a frontier")));
  }
  return Passed();
}

// Each sample has a global row of its own. The instance must be narrow enough for that to matter.
Verdict GlobalRowsMeetAll(const LayerSubject& subject) {
  LR_BUILD(layer, DType::kFloat64);
  const MixerTraits& traits = layer.traits();
  if (!traits.roles) return DoesNotApply("knows no roles of rows");
  LR_FIT(rows, layer, kRows);
  const Call call = CallFor(rows);
  const Tensor x = subject.Input(2, rows, DType::kFloat64);
  const auto forward = [&](const Tensor& in, const Rows& r) { return layer.Forward(in, r, call); };
  const auto with_roles = [rows](const std::vector<int64_t>& global_b) {
    Rows roles;
    roles.role_bt = Tensor::Zeros({static_cast<int64_t>(global_b.size()), rows}, DType::kInt32);
    for (size_t b = 0; b < global_b.size(); ++b) {
      roles.role_bt.mutable_data<int32_t>()[static_cast<int64_t>(b) * rows + global_b[b]] =
          nn::kGlobalRole;
    }
    return roles;
  };
  Rows none;
  none.role_bt = Tensor::Zeros({2, rows}, DType::kInt32);
  const Tensor plain = forward(x, Rows());
  LR_CHECK_PART(Of(CompareBits(forward(x, none), plain), "rows without a role, against no map"));
  const std::vector<int64_t> global_b = {0, rows - 1};
  const Rows roles = with_roles(global_b);
  const Tensor y = forward(x, roles);
  for (int64_t b = 0; b < 2; ++b) {
    const int64_t global = global_b[b];
    const std::string which = absl::StrCat("sample ", b, ", whose row ", global, " is global");
    LR_CHECK_PART(
        Of(CompareRms(Entry(y, b), forward(Entry(x, b), with_roles({global})), kFloat64Rms),
           absl::StrCat(which, ", among others against alone")));
    if (CompareRms(Entry(y, b), Entry(plain, b), kFloat32ForwardRms).passed)
      return Failed(which, ": the output is the same as without that role");
    // From the far end to the global row, and from there back.
    const int64_t far = rows - 1 - global;
    for (const auto& [from, to] : {std::pair<int64_t, int64_t>{global, far}, {far, global}}) {
      Tensor cotangent = Tensor::ZerosLike(y);
      for (int64_t d = 0; d < subject.width; ++d)
        cotangent.mutable_data<double>()[(b * rows + from) * subject.width + d] = Rng(6).Normal(d);
      const Tensor leaf = Leaf(x);
      Backward({forward(leaf, roles)}, {cotangent});
      layer.store->ClearGradients();
      const Tensor reached = Cut(Entry(Gradient(leaf), b), to, 1);
      if (Compare(reached, Tensor::ZerosLike(reached), kExact).passed)
        return Failed(which, ": row ", from, " does not see row ", to);
    }
  }
  if (traits.padding == MixerTraits::kNoPadding) return Passed();
  Rows padded = with_roles({rows - 1}), unmarked;
  padded.end_b = unmarked.end_b = Int64s({rows - 2});
  return Of(CompareBits(Cut(forward(Entry(x, 0), padded), 0, rows - 2),
                        Cut(forward(Entry(x, 0), unmarked), 0, rows - 2)),
            "padding that is marked as global");
}

Verdict WorkGrowsAsClaimed(const LayerSubject& subject) {
  LR_BUILD(layer, DType::kFloat32);
  std::map<int64_t, Cost> cost;
  // Above what kernels may do by a shorter way: a filter of 64 taps is summed, not transformed.
  for (const int64_t wanted : {128, 256, 512}) {
    LR_FIT(rows, layer, wanted);
    if (rows != wanted) return DoesNotApply("takes no ", wanted, " rows");
    const NoGradScope no_grad;
    const CostScope scope;
    layer.Forward(subject.Input(1, rows), Rows(), CallFor(rows));
    cost[rows] = scope.cost();
  }
  const double near = cost[256].flops - cost[128].flops, far = cost[512].flops - cost[256].flops;
  if (!(near > 0)) return Failed("the work is not counted: kernels declare no flops");
  // Twice where linear, four times where quadratic; terms of lower order lie between.
  const Growth growth = far / near < 2.5 ? Growth::kLinear : Growth::kQuadratic;
  if (growth != layer.traits().flops) {
    return Failed("Forward takes ", cost[128].flops, ", ", cost[256].flops, ", ", cost[512].flops,
                  " flops for 128, 256, 512 rows, which is not the declared growth");
  }
  if (layer.traits().flops == Growth::kLinear &&
      !(cost[512].bytes - cost[256].bytes < 2.5 * (cost[256].bytes - cost[128].bytes))) {
    return Failed("Forward moves ", cost[128].bytes, ", ", cost[256].bytes, ", ", cost[512].bytes,
                  " bytes for 128, 256, 512 rows, though its work is declared linear");
  }
  return Passed();
}

// A dry run: the same layer on tensors without memory.
Verdict CountsWithoutMemory(const LayerSubject& subject) {
  LR_BUILD(layer, DType::kFloat32);
  LR_CHECK_ASSIGN(const BuiltLayer meta, subject.make(DType::kFloat32, Device::kMeta));
  LR_FIT(rows, layer, kRows);
  const auto work = [&](const BuiltLayer& l, const Tensor& x, Shape* shape) {
    const CostScope scope;
    const Tensor y = l.Forward(Leaf(x), Rows(), CallFor(rows));
    *shape = y.shape();
    Backward({y}, {Tensor::EmptyLike(y)});
    l.store->ClearGradients();
    return scope.cost().flops;
  };
  Shape real_shape, meta_shape;
  const double real = work(layer, subject.Input(2, rows), &real_shape);
  const double dry = work(
      meta, Tensor::Empty({2, rows, subject.width}, DType::kFloat32, Device::kMeta), &meta_shape);
  if (real_shape != meta_shape)
    return Failed("shape ", meta_shape.ToString(), " on meta tensors, ", real_shape.ToString(),
                  " on real ones");
  if (real != dry)
    return Failed(dry, " flops are counted on meta tensors, ", real, " on real ones");
  return Passed();
}

Verdict SameParametersUnderOtherParts(const LayerSubject& subject) {
  if (subject.same_parameters.empty()) return DoesNotApply("same_parameters names no other config");
  LR_BUILD(layer, DType::kFloat32);
  const auto tree = [](const nn::ParameterStore& store) {
    std::vector<std::string> lines;
    for (const nn::Parameter& p : store.all()) {
      lines.push_back(absl::StrCat(p.name, " ", p.value.shape().ToString(), " ", p.tags.group,
                                   p.tags.decay ? "" : " no decay"));
    }
    return lines;
  };
  for (const auto& make : subject.same_parameters) {
    LR_CHECK_ASSIGN(const BuiltLayer other, make());
    if (tree(*other.store) != tree(*layer.store)) {
      return Failed("the parameters are ", absl::StrJoin(tree(*layer.store), ", "),
                    ", under another config ", absl::StrJoin(tree(*other.store), ", "));
    }
  }
  return Passed();
}

// Listens to the side outputs whose path ends so, and puts others in their place.
class TestSink : public nn::Sink {
 public:
  enum Act { kIgnore, kLook, kReplace };
  TestSink(Act act, std::string tap) : act_(act), tap_(std::move(tap)) {}

  void Loss(absl::string_view, const Tensor&, double) override {}
  bool Wants(absl::string_view path) const override {
    return act_ != kIgnore && (path == tap_ || absl::EndsWith(path, absl::StrCat("/", tap_)));
  }
  Tensor Tap(absl::string_view path, const Tensor& value) override {
    offered.insert(std::string(path));
    return act_ == kReplace ? Tensor::ZerosLike(value) : value;
  }

  std::set<std::string> offered;

 private:
  Act act_;
  std::string tap_;
};

Verdict ListeningChangesNothing(const LayerSubject& subject) {
  LR_BUILD(layer, DType::kFloat32);
  LR_FIT(rows, layer, kRows);
  const Tensor x = subject.Input(2, rows);
  const Outcome alone = RunForward(layer, x, Rows(), CallFor(rows));
  const auto with = [&](TestSink* sink) {
    Call call = CallFor(rows);
    call.sink = sink;
    return RunForward(layer, x, Rows(), call);
  };
  TestSink idle(TestSink::kIgnore, "");
  LR_CHECK_PART(SameBits(with(&idle), alone, "with a sink that wants nothing"));
  for (const std::string& tap : layer.traits().taps) {
    TestSink look(TestSink::kLook, tap), replace(TestSink::kReplace, tap);
    LR_CHECK_PART(Close(with(&look), alone, kFloat32ForwardRms, kFloat32GradientRms,
                        absl::StrCat("while '", tap, "' is looked at")));
    if (look.offered.empty()) return Failed("'", tap, "' is declared, but never offered");
    if (CompareBits(with(&replace).y(), alone.y()).passed)
      return Failed("the output stays the same when '", tap, "' is replaced by zeros");
  }
  return Passed();
}

// As it starts, a layer adds little to what it passes on.
Verdict PassesItsInputOn(const LayerSubject& subject) {
  LR_CHECK_ASSIGN(const BuiltLayer layer, subject.make(DType::kFloat32, Device::kCpu));
  if (!layer.traits().owns_residual) return DoesNotApply("others add the residual connection");
  LR_FIT(rows, layer, kRows);
  const NoGradScope no_grad;
  const Tensor x = subject.Input(2, rows);
  const std::vector<double> in = x.ToDoubles(),
                            out = layer.Forward(x, Rows(), CallFor(rows)).ToDoubles();
  const auto width = static_cast<size_t>(subject.width);
  double cosine = 0;  // of a row and what became of it, both without their mean; the mean over rows
  for (size_t row = 0; row < in.size(); row += width) {
    const double mean_in = std::accumulate(&in[row], &in[row] + width, 0.0) / subject.width,
                 mean_out = std::accumulate(&out[row], &out[row] + width, 0.0) / subject.width;
    double dot = 0, norm_in = 0, norm_out = 0;
    for (size_t i = row; i < row + width; ++i) {
      dot += (in[i] - mean_in) * (out[i] - mean_out);
      norm_in += (in[i] - mean_in) * (in[i] - mean_in);
      norm_out += (out[i] - mean_out) * (out[i] - mean_out);
    }
    cosine += dot / std::sqrt(norm_in * norm_out) * subject.width / static_cast<double>(in.size());
  }
  if (cosine >= 0.5) return Passed();
  return Failed("declares to own its residual, but rows come out at a cosine of ", cosine,
                " to what went in (expected 0.5 or more as it starts)");
}

// Hears the further losses of a call.
class LossSink : public nn::Sink {
 public:
  void Loss(absl::string_view path, const Tensor& scalar, double weight) override {
    losses.push_back({std::string(path), scalar, weight});
  }
  bool Wants(absl::string_view) const override { return false; }
  Tensor Tap(absl::string_view, const Tensor& value) override { return value; }

  struct Heard {
    std::string path;
    Tensor loss;
    double weight;
  };
  std::vector<Heard> losses;
};

Verdict FurtherLossesTrain(const LayerSubject& subject) {
  LR_BUILD(layer, DType::kFloat32);
  LR_FIT(rows, layer, kRows);
  const auto run = [&](bool training, LossSink* sink) {
    Call call = CallFor(rows);
    call.training = training;
    call.sink = sink;
    layer.Forward(subject.Input(2, rows), Rows(), call);
  };
  LossSink evaluation, training;
  run(false, &evaluation);
  if (!evaluation.losses.empty())
    return Failed("'", evaluation.losses[0].path, "' is a loss outside training");
  run(true, &training);
  if (training.losses.empty()) return DoesNotApply("gives no further loss");
  for (const LossSink::Heard& heard : training.losses) {
    if (heard.loss.rank() != 0 || !AllFinite(heard.loss))
      return Failed("loss '", heard.path, "' is no finite number, but ",
                    heard.loss.shape().ToString());
    if (!(heard.weight > 0 && std::isfinite(heard.weight)))
      return Failed("loss '", heard.path, "' has weight ", heard.weight);
    layer.store->ClearGradients();
    if (NeedsGradient(heard.loss)) Backward(heard.loss);
    const std::vector<nn::Parameter>& all = layer.store->all();
    if (std::none_of(all.begin(), all.end(), [](const nn::Parameter& p) {
          const Tensor gradient = Gradient(p.value);
          return gradient.defined() &&
                 !Compare(gradient, Tensor::ZerosLike(gradient), kExact).passed;
        })) {
      return Failed("loss '", heard.path, "' has no gradient to any parameter");
    }
    layer.store->ClearGradients();
  }
  return Passed();
}

// Rows of its own in the place of those that it was given: as many as declared, and whole.
Verdict GivesOwnRows(const LayerSubject& subject, const BuiltLayer& layer, int64_t rows) {
  const BackboneTraits& t = layer.backbone->traits();
  if (t.streams || t.segment > 0 || t.documents || t.frontier || t.roles)
    return Failed("gives back ", t.output_rows,
                  " rows of its own, and declares what belongs to the rows that it is given: "
                  "streams, segments, documents, a frontier or roles");
  std::vector<std::pair<int64_t, Rows>> calls = {{rows, Rows()}};
  if (const int64_t more = Fit(t, 2 * rows + 1); more > 0) calls.emplace_back(more, Rows());
  if (t.padding != MixerTraits::kNoPadding) {
    calls.emplace_back(rows, Rows());
    calls.back().second.end_b = Int64s({rows, rows - 2});
  }
  for (const auto& [tokens, given] : calls) {
    const Sequence result =
        layer.backbone->Forward({subject.Input(2, tokens), given}, CallFor(tokens));
    if (result.x_btd.dim(1) != t.output_rows)
      return Failed("gives ", result.x_btd.dim(1), " rows for ", tokens,
                    "; output_rows: ", t.output_rows, " is declared");
    const Rows& told = result.rows;
    if (told.begin_b.defined() || told.end_b.defined() || told.document_bt.defined() ||
        told.frontier_t.defined() || told.role_bt.defined())
      return Failed("tells of its own rows what it was told of those that it read");
  }
  return Passed();
}

// Who puts rows of its own between those of a sequence takes them out again, and what it says of
// the rows is what it was told of them; who gives back rows of its own has declared how many.
Verdict GivesBackItsRows(const LayerSubject& subject) {
  LR_BUILD(layer, DType::kFloat32);
  if (layer.backbone == nullptr) return DoesNotApply("is no backbone");
  LR_FIT(rows, layer, kRows);
  if (layer.backbone->traits().output_rows < 0 || layer.backbone->traits().output_width < 0)
    return Failed("output_rows and output_width are declared as ",
                  layer.backbone->traits().output_rows, " and ",
                  layer.backbone->traits().output_width, " (expected 0 or more)");
  if (layer.has_own_rows()) return GivesOwnRows(subject, layer, rows);
  const auto same = [](const Tensor& got, const Tensor& given, const char* what) {
    if (got.defined() != given.defined())
      return Failed(what, " of the result is ", got.defined() ? "given" : "missing",
                    ", unlike that of the input");
    return given.defined() ? Of(CompareBits(got, given), what) : Passed();
  };
  const auto check = [&](const Sequence& result, const Rows& given, int64_t tokens) {
    if (result.x_btd.dim(1) != tokens)
      return Failed("gives ", result.x_btd.dim(1), " rows for ", tokens);
    LR_CHECK_PART(same(result.rows.begin_b, given.begin_b, "begin_b"));
    LR_CHECK_PART(same(result.rows.end_b, given.end_b, "end_b"));
    LR_CHECK_PART(same(result.rows.document_bt, given.document_bt, "document_bt"));
    return same(result.rows.frontier_t, given.frontier_t, "frontier_t");
  };
  std::vector<Rows> all(1);
  if (layer.traits().padding != MixerTraits::kNoPadding) {
    all.emplace_back();
    all.back().end_b = Int64s({rows, rows - 2});
  }
  const Tensor x = subject.Input(2, rows);
  for (const Rows& given : all)
    LR_CHECK_PART(check(layer.backbone->Forward({x, given}, CallFor(rows)), given, rows));
  if (!layer.traits().streams) return Passed();
  nn::State state = layer.NewState(2);
  for (int64_t at = 0; at < rows; at += 3) {
    const int64_t size = std::min<int64_t>(3, rows - at);
    LR_CHECK_PART(check(layer.backbone->Extend({Cut(x, at, size), Rows()}, CallFor(rows), &state),
                        Rows(), size));
  }
  return Passed();
}

Verdict CudaEqualsCpu(const LayerSubject&) { return DoesNotApply("no CUDA tensors in this build"); }

// The class is told by the first row alone and asked for at the last one, or of the mean of a
// layer's own rows: what a layer of this kind is for. Channel 0 marks the first row, channel 1
// holds the class there, the rest is noise.
Verdict LearnsATinyTask(const LayerSubject& subject) {
  LR_BUILD(layer, DType::kFloat32);
  LR_FIT(rows, layer, RowsWithinReach(layer.traits(), 6));
  const int64_t width = subject.width, batch = 32;
  if (width < 3) return Failed("a width of ", width, " (3 or more are needed)");
  nn::ParameterStore head_store;
  const Shape out = layer.OutputShape(batch, rows, width);
  const Tensor head = nn::Scope(&head_store, Rng(8)).Param("head", {2, out[2]}, nn::Normal(0.3));
  std::vector<nn::Parameter> parameters = layer.store->all();
  parameters.push_back(head_store.all()[0]);
  std::vector<Tensor> m, v;
  for (const nn::Parameter& p : parameters) {
    m.push_back(Tensor::ZerosLike(p.value));
    v.push_back(Tensor::ZerosLike(p.value));
  }
  constexpr int kSteps = 300, kMeasured = 20;
  double right = 0;
  for (int step = 0; step < kSteps; ++step) {
    const Rng rng = Rng(9).Child(step);
    Tensor x = RandomNormal({batch, rows, width}, rng.Child("noise"), 0.3);
    Tensor target = Tensor::Empty({batch}, DType::kInt32);
    for (int64_t b = 0; b < batch; ++b) {
      const int64_t label = rng.Child("label").UniformInt(b, 2);
      float* first = x.mutable_data<float>() + b * rows * width;
      first[0] = 2;
      first[1] = label == 1 ? 2 : -2;
      target.mutable_data<int32_t>()[b] = static_cast<int32_t>(label);
    }
    Call call = CallFor(rows);
    call.training = true;
    call.rng = rng.Child("call");
    const Tensor y = layer.Forward(x, Rows(), call);
    const Tensor asked = layer.has_own_rows()
                             ? Scale(SumTo(y, {batch, 1, out[2]}), 1 / static_cast<double>(out[1]))
                             : Narrow(y, 1, rows - 1, 1);
    const Tensor logits = Linear(Reshape(asked, {batch, out[2]}), head);
    for (int64_t b = 0; b < batch && step >= kSteps - kMeasured; ++b) {
      const float* l = logits.data<float>() + 2 * b;
      right += (l[1] > l[0]) == (target.data<int32_t>()[b] == 1) ? 1 : 0;
    }
    Backward(Mean(CrossEntropy(logits, target)));
    kernels::AdamWOptions options;
    options.learning_rate = 1e-2;
    options.step = step + 1;
    for (size_t i = 0; i < parameters.size(); ++i) {
      const Tensor gradient = Gradient(parameters[i].value);
      if (gradient.defined())
        kernels::AdamWStep(options, gradient, parameters[i].value, m[i], v[i]);
      ClearGradient(parameters[i].value);
    }
  }
  const double share = right / (batch * kMeasured);
  return share >= 0.9 ? Passed()
                      : Failed("the class of row 0 is told right ",
                               layer.has_own_rows() ? std::string("by its rows")
                                                    : absl::StrCat("at row ", rows - 1),
                               " in ", 100 * share, " % of the cases after ", kSteps,
                               " steps (guessing: 50 %)");
}

}  // namespace

const std::vector<LayerCheck>& LayerChecks() {
  static const auto* checks = new std::vector<LayerCheck>{
      {"Shapes", "rows in, rows out, at every length it supports", Shapes},
      {"RefusesWhatItDoesNotDeclare", "Supports says what the traits say",
       RefusesWhatItDoesNotDeclare},
      {"SameSeedSameBits", "nothing but parameters, input and call counts", SameSeedSameBits},
      {"AnyNumberOfThreads", "the same bits from one thread and from several", AnyNumberOfThreads},
      {"Neighbours", "rows of a batch influence each other only if declared", Neighbours},
      {"Finite", "zeros, large values and outliers give finite results", Finite},
      {"ReadsNothingUnwritten", "memory that was not written is not read", ReadsNothingUnwritten},
      {"SharesNoMemory", "inputs, parameters and earlier outputs stay as they are", SharesNoMemory},
      {"Causal", "no row sees a later one, or all do", Causal},
      {"StreamsOverAnyCut", "Extend over any cut equals Forward, with gradients",
       StreamsOverAnyCut},
      {"StreamsInFloat32", "row by row in float32 equals Forward", StreamsInFloat32},
      {"StateIsAllThereIs", "a stream goes on from a clone and from a file", StateIsAllThereIs},
      {"StateAsDeclared", "the state has the bytes and the growth declared", StateAsDeclared},
      {"MemoryGradientAsDeclared", "gradients cross the grid only if declared",
       MemoryGradientAsDeclared},
      {"ParametersAsDeclared", "as many parameters, in the groups declared", ParametersAsDeclared},
      {"EqualsReference", "every form equals the plain reference", EqualsReference},
      {"FormsAgree", "all forms and types agree, with gradients", FormsAgree},
      {"GradientsAreRight", "gradients equal central differences", GradientsAreRight},
      {"StateGradientsAreRight", "so do those of an initial state", StateGradientsAreRight},
      {"GradientsBehindAState", "so do those of rows behind a state that is held",
       GradientsBehindAState},
      {"PaddingChangesNothing", "padding has no influence and gets no gradient",
       PaddingChangesNothing},
      {"DocumentsNeverMeet", "a document among others equals the document alone",
       DocumentsNeverMeet},
      {"SeesUpToTheFrontier", "a row sees up to its frontier", SeesUpToTheFrontier},
      {"StreamsUnderAFrontier", "a stream's rows see up to theirs", StreamsUnderAFrontier},
      {"GlobalRowsMeetAll", "a global row sees all rows of its sample, and they see it",
       GlobalRowsMeetAll},
      {"WorkGrowsAsClaimed", "counted flops and bytes grow as declared", WorkGrowsAsClaimed},
      {"CountsWithoutMemory", "a dry run counts what a run counts", CountsWithoutMemory},
      {"SameParametersUnderOtherParts", "another scheme, rule or memory opens the same checkpoint",
       SameParametersUnderOtherParts},
      {"ListeningChangesNothing", "a sink changes nothing, a replaced side output does",
       ListeningChangesNothing},
      {"PassesItsInputOn", "a layer that owns its residual passes its input on", PassesItsInputOn},
      {"FurtherLossesTrain", "further losses are numbers that train something, in training only",
       FurtherLossesTrain},
      {"GivesBackItsRows", "a backbone's result is of its input's rows, or as many as declared",
       GivesBackItsRows},
      {"CudaEqualsCpu", "the same results on a GPU", CudaEqualsCpu},
      {"LearnsATinyTask", "it learns to carry one bit over a few rows", LearnsATinyTask},
  };
  return *checks;
}

}  // namespace longrange::conformance
