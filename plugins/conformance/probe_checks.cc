#include "plugins/conformance/probe_checks.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "common/autograd/tape.h"
#include "common/tensor/cost.h"
#include "common/testing/shapes.h"
#include "plugins/conformance/conformance.pb.h"
#include "plugins/stack/stack.pb.h"

namespace longrange::conformance {
namespace {

constexpr int64_t kVocabulary = 19;

// Two layers of attention.
absl::StatusOr<std::unique_ptr<Model>> MakeModel(bool taps) {
  ConformanceHostConfig host;
  host.set_taps(taps);
  StackConfig stack;
  stack.set_layers(2);
  stack.mutable_mixer()->PackFrom(host);
  ModelConfig config;
  config.set_vocabulary(kVocabulary);
  config.set_width(16);
  config.set_init_std(0.5);
  config.mutable_backbone()->PackFrom(stack);
  ModelArgs args;
  args.init = Rng(1);
  return Model::Create(config, args);
}

ProbeArgs Args() {
  ProbeArgs args;
  args.ids_bt = RandomIds({2, 24}, Rng(2), kVocabulary, DType::kInt32);
  args.target_bt = RandomIds({2, 24}, Rng(4), kVocabulary, DType::kInt32);
  args.rng = Rng(3);
  return args;
}

std::string Text(const std::vector<Row>& rows) {
  return absl::StrJoin(
      rows, "\n", [](std::string* out, const Row& row) { absl::StrAppend(out, row.ToJson()); });
}

// All that it says it looks at.
std::vector<std::string> Named(const Probe& probe) {
  std::vector<std::string> named = probe.Needs();
  for (std::string& tap : probe.MayLookAt()) named.push_back(std::move(tap));
  return named;
}

Verdict GivesFigures(const ProbeSubject& subject) {
  LR_CHECK_ASSIGN(const std::unique_ptr<Probe> probe, subject.make());
  LR_CHECK_ASSIGN(const std::unique_ptr<Model> model, MakeModel(true));
  LR_CHECK_ASSIGN(const std::vector<Row> rows, probe->Measure(*model, Args()));
  if (rows.empty()) return Failed("gives no figures");
  for (const Row& row : rows) {
    const absl::StatusOr<double> value = row.Number("value");
    if (!row.String("figure").ok() || !value.ok())
      return Failed("a row needs a string \"figure\" and a number \"value\": ", row.ToJson());
    if (!std::isfinite(*value)) return Failed("not finite: ", row.ToJson());
  }
  LR_CHECK_ASSIGN(const std::unique_ptr<Probe> other, subject.make());
  LR_CHECK_ASSIGN(const std::vector<Row> again, other->Measure(*model, Args()));
  if (Text(again) != Text(rows))
    return Failed("measured again: ", Text(again), ", at first ", Text(rows));
  return Passed();
}

Verdict NeedsAreRefusedFirst(const ProbeSubject& subject) {
  LR_CHECK_ASSIGN(const std::unique_ptr<Probe> probe, subject.make());
  LR_CHECK_ASSIGN(const std::unique_ptr<Model> model, MakeModel(true));
  LR_CHECK_ASSIGN(const std::unique_ptr<Model> closed, MakeModel(false));
  // What it looks at, it must have declared.
  std::set<std::string> touched;
  ProbeArgs args = Args();
  args.intervene = [&](absl::string_view path, const Tensor& value) {
    touched.insert(std::string(path));
    return value;
  };
  LR_CHECK_ASSIGN(const std::vector<Row> rows, probe->Measure(*model, args));
  const std::vector<std::string> needs = probe->Needs(), named = Named(*probe);
  for (const std::string& path : touched) {
    if (std::none_of(named.begin(), named.end(),
                     [&](const std::string& name) { return absl::EndsWith(path, name); }))
      return Failed("looks at ", path, ", which neither Needs() nor MayLookAt() names");
  }
  for (const std::string& name : named) {
    if (std::none_of(touched.begin(), touched.end(),
                     [&](const std::string& path) { return absl::EndsWith(path, name); }))
      return Failed("names '", name, "', but never looks at it");
  }
  if (needs.empty()) return Passed();
  const CostScope cost;
  const absl::Status status = probe->Measure(*closed, Args()).status();
  if (status.ok()) return Failed("measures a model that does not offer what it needs");
  if (!absl::StrContains(status.message(), needs[0]))
    return Failed("refused without naming '", needs[0], "': ", status.message());
  if (cost.cost().flops > 0) return Failed("refused only after ", cost.cost().flops, " flops");
  return Passed();
}

Verdict DoesWithoutWhatItMay(const ProbeSubject& subject) {
  LR_CHECK_ASSIGN(const std::unique_ptr<Probe> probe, subject.make());
  if (!probe->Needs().empty() || probe->MayLookAt().empty())
    return DoesNotApply("there is nothing that it may do without, or more that it cannot");
  LR_CHECK_ASSIGN(const std::unique_ptr<Model> model, MakeModel(true));
  LR_CHECK_ASSIGN(const std::unique_ptr<Model> closed, MakeModel(false));
  LR_CHECK_ASSIGN(const std::vector<Row> all, probe->Measure(*model, Args()));
  LR_CHECK_ASSIGN(const std::vector<Row> fewer, probe->Measure(*closed, Args()));
  if (fewer.empty()) return Failed("gives no figures of a model without side outputs");
  if (fewer.size() >= all.size())
    return Failed("gives ", all.size(), " figures of a model with side outputs and ", fewer.size(),
                  " of one without");
  return Passed();
}

Verdict SeesWhatIsReplaced(const ProbeSubject& subject) {
  LR_CHECK_ASSIGN(const std::unique_ptr<Probe> probe, subject.make());
  if (Named(*probe).empty()) return DoesNotApply("looks at no side output");
  LR_CHECK_ASSIGN(const std::unique_ptr<Model> model, MakeModel(true));
  LR_CHECK_ASSIGN(const std::vector<Row> before, probe->Measure(*model, Args()));
  ProbeArgs args = Args();
  // Every row of a map looks at the first key alone.
  args.intervene = [](absl::string_view, const Tensor& value) {
    Tensor first = Tensor::ZerosLike(value);
    const int64_t keys = value.dim(-1);
    for (int64_t i = 0; i < value.numel(); i += keys) first.mutable_data<float>()[i] = 1;
    return first;
  };
  LR_CHECK_ASSIGN(const std::vector<Row> after, probe->Measure(*model, args));
  return Text(after) != Text(before)
             ? Passed()
             : Failed("the figures stay the same when what it looks at is replaced");
}

Verdict LeavesTheModelAlone(const ProbeSubject& subject) {
  LR_CHECK_ASSIGN(const std::unique_ptr<Probe> probe, subject.make());
  LR_CHECK_ASSIGN(const std::unique_ptr<Model> model, MakeModel(true));
  std::vector<Tensor> before;
  for (const nn::Parameter& p : model->parameters().all()) before.push_back(p.value.Clone());
  LR_CHECK_ASSIGN(const std::vector<Row> rows, probe->Measure(*model, Args()));
  for (size_t i = 0; i < before.size(); ++i) {
    const nn::Parameter& p = model->parameters().all()[i];
    LR_CHECK_PART(Of(CompareBits(p.value, before[i]),
                     absl::StrCat("parameter ", p.name, " after measuring")));
    if (Gradient(p.value).defined()) return Failed("leaves a gradient on ", p.name);
  }
  return Passed();
}

}  // namespace

absl::StatusOr<std::string> ProbeBehaviour(const ProbeSubject& subject) {
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<Probe> probe, subject.make());
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, MakeModel(true));
  LR_ASSIGN_OR_RETURN(const std::vector<Row> rows, probe->Measure(*model, Args()));
  return Text(rows);
}

const std::vector<ProbeCheck>& ProbeChecks() {
  static const auto* checks = new std::vector<ProbeCheck>{
      {"GivesFigures", "gives finite figures, the same ones twice", GivesFigures},
      {"NeedsAreRefusedFirst", "what it needs is declared and refused before anything runs",
       NeedsAreRefusedFirst},
      {"DoesWithoutWhatItMay", "measures less where it is offered less", DoesWithoutWhatItMay},
      {"SeesWhatIsReplaced", "another side output gives other figures", SeesWhatIsReplaced},
      {"LeavesTheModelAlone", "no bit of the model changes", LeavesTheModelAlone},
  };
  return *checks;
}

}  // namespace longrange::conformance
