// What each head is good for: the loss without it, with attention free to change and with every
// pattern kept.

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "papers/induction_heads/behaviour.h"
#include "papers/induction_heads/induction_heads.pb.h"
#include "papers/induction_heads/maps.h"
#include "papers/induction_heads/scores.h"
#include "plugins/probe.h"

namespace longrange {
namespace {

using induction_heads::AttentionMaps;
using induction_heads::InContextTokens;
using induction_heads::Sequences;

Tensor WithoutHead(const Tensor& x_bthp, int64_t head) {
  Tensor without = x_bthp.Clone();
  const int64_t heads = x_bthp.dim(2), bytes = x_bthp.dim(3) * SizeOf(x_bthp.dtype());
  auto* data = static_cast<char*>(without.mutable_raw_data());
  for (int64_t row = 0; row < x_bthp.dim(0) * x_bthp.dim(1); ++row)
    std::fill_n(data + (row * heads + head) * bytes, bytes, 0);
  return without;
}

class Ablation : public Probe {
 public:
  explicit Ablation(const InductionHeadsAblationConfig& config) : config_(config) {}

  std::vector<std::string> Needs() const override { return {"attention", "head_out"}; }

 protected:
  absl::StatusOr<std::vector<Row>> Run(const Model& model, const ProbeArgs& args) const override {
    LR_ASSIGN_OR_RETURN(
        const Sequences random,
        induction_heads::RandomRepeats(config_.random(), model, Rng(0).Child("induction heads")));
    const Sequences given = induction_heads::Given(args);
    std::vector<Head> heads;
    std::vector<std::string> paths;  // of the layers
    {
      AttentionMaps maps;
      {
        const Listening listening(args, {"attention"}, maps.See());
        model.Logits(random.ids_bt, nn::Rows(), listening.call());
      }
      LR_RETURN_IF_ERROR(maps.Check(random));
      const int64_t rows = random.ids_bt.dim(1);
      for (size_t layer = 0; layer < maps.size(); ++layer) {
        paths.emplace_back(absl::StripSuffix(maps.path(layer), "/attention"));
        for (int64_t head = 0; head < maps.heads(layer); ++head) {
          Head one = {layer, head};
          for (int64_t b = 0; b < random.ids_bt.dim(0); ++b) {
            one.prefix += induction_heads::MeanRowMass(
                maps.Of(layer, b, head), induction_heads::Induction(absl::MakeConstSpan(
                                             random.ids_bt.data<int32_t>() + b * rows, rows)));
          }
          heads.push_back(one);
        }
      }
    }
    // With all heads, without each one, and without it with every pattern kept.
    std::vector<Losses> full(heads.size()), kept(heads.size());
    Losses whole, none_matching;
    double most = 0;
    for (const Head& head : heads) most = std::max(most, head.prefix);
    Cut matching;
    for (const Head& head : heads) {
      if (head.prefix >= most / 2) matching.out.emplace_back(paths[head.layer], head.head);
    }
    const bool asked = given.answer_bt.defined();
    const auto read_all = [&](const Sequences& all, bool is_given, bool answers) {
      const int64_t at_once = induction_heads::AtOnce(all.ids_bt.dim(1));
      for (int64_t begin = 0; begin < all.ids_bt.dim(0); begin += at_once) {
        const Sequences some = induction_heads::Some(all, begin, at_once);
        Patterns patterns;
        const auto nll = [&](const Cut& cut) { return NllWithout(model, args, some, cut); };
        whole.Add(is_given, answers, some, nll({{}, &patterns, nullptr}));
        none_matching.Add(is_given, answers, some, nll(matching));
        for (size_t i = 0; i < heads.size(); ++i) {
          const HeadPath head = {paths[heads[i].layer], heads[i].head};
          full[i].Add(is_given, answers, some, nll({{head}, nullptr, nullptr}));
          kept[i].Add(is_given, answers, some, nll({{head}, nullptr, &patterns}));
        }
      }
    };
    read_all(given, true, asked);
    if (!asked) read_all(random, false, true);
    const InContextTokens tokens = {config_.late(), config_.early(), config_.window()};
    LR_ASSIGN_OR_RETURN(const Outcome before, whole.Result(tokens));
    for (size_t i = 0; i < heads.size(); ++i) {
      LR_ASSIGN_OR_RETURN(const Outcome without, full[i].Result(tokens));
      LR_ASSIGN_OR_RETURN(const Outcome with_patterns, kept[i].Result(tokens));
      heads[i].full = without.loss - before.loss;
      heads[i].kept = with_patterns.loss - before.loss;
      heads[i].full_in_context = without.in_context - before.in_context;
      heads[i].kept_in_context = with_patterns.in_context - before.in_context;
    }
    LR_ASSIGN_OR_RETURN(const Outcome without_any, none_matching.Result(tokens));
    std::vector<Row> rows = RowsOf(heads);
    rows.insert(rows.begin(), Row()
                                  .Set("figure", "matching_heads")
                                  .Set("value", static_cast<double>(matching.out.size())));
    rows.insert(
        rows.begin(),
        Row().Set("figure", "ablated_matching").Set("value", without_any.loss - before.loss));
    return rows;
  }

 private:
  struct Head {
    size_t layer = 0;
    int64_t head = 0;
    double prefix = 0;  // matching, summed over the sequences
    // What is more without it.
    double full = 0, kept = 0, full_in_context = 0, kept_in_context = 0;
  };

  struct Outcome {
    double loss = 0, in_context = 0;
  };

  // Losses on the sequences that are given, and on those whose answers are looked at.
  struct Losses {
    induction_heads::Losses given, asked;

    void Add(bool is_given, bool is_asked, const Sequences& sequences, const Tensor& nll_bt) {
      if (is_given) given.Add(sequences, nll_bt);
      if (is_asked) asked.Add(sequences, nll_bt);
    }
    absl::StatusOr<Outcome> Result(const InContextTokens& tokens) const {
      Outcome outcome;
      outcome.loss = asked.answers().value_or(0);
      if (tokens.late == 0) return outcome;
      LR_ASSIGN_OR_RETURN(outcome.in_context, given.InContext(tokens));
      return outcome;
    }
  };

  using Patterns = std::map<std::string, Tensor>;  // by path

  using HeadPath = std::pair<std::string, int64_t>;  // of its layer, and its number

  // Which heads are taken out, and what becomes of the patterns.
  struct Cut {
    std::vector<HeadPath> out;
    Patterns* keep = nullptr;         // gets them; null: nobody
    const Patterns* force = nullptr;  // takes their place; null: nothing
  };

  static Tensor NllWithout(const Model& model, const ProbeArgs& args, const Sequences& sequences,
                           const Cut& cut) {
    const Listening listening(
        args, {"attention", "head_out"}, [&](absl::string_view path, const Tensor& value) {
          if (absl::EndsWith(path, "/attention")) {
            if (cut.keep != nullptr) (*cut.keep)[std::string(path)] = value;
            return cut.force != nullptr ? cut.force->at(std::string(path)) : value;
          }
          Tensor left = value;
          for (const auto& [of, head] : cut.out) {
            if (path == absl::StrCat(of, "/head_out")) left = WithoutHead(left, head);
          }
          return left;
        });
    return model.Score(sequences.ids_bt, sequences.target_bt, nn::Rows(), listening.call()).nll_bt;
  }

  std::vector<Row> RowsOf(const std::vector<Head>& heads) const {
    const Head& best =
        *std::max_element(heads.begin(), heads.end(),
                          [](const Head& a, const Head& b) { return a.prefix < b.prefix; });
    std::vector<Row> rows;
    const auto add = [&](const char* figure, std::optional<double> value) {
      if (value.has_value()) rows.push_back(Row().Set("figure", figure).Set("value", *value));
    };
    std::optional<double> rest, earlier;
    for (const Head& head : heads) {
      if (head.layer == best.layer && head.head != best.head)
        rest = std::max(rest.value_or(head.full), head.full);
      if (head.layer < best.layer) earlier = std::max(earlier.value_or(0), std::abs(head.kept));
    }
    add("ablated_best", best.full);
    add("ablated_rest_of_layer", rest);
    add("kept_patterns_best", best.kept);
    add("kept_patterns_earlier", earlier);
    if (config_.late() > 0) {
      add("in_context_ablated_best", best.full_in_context);
    }
    add("best_layer", static_cast<double>(best.layer));
    if (!config_.each_head()) return rows;
    const auto each = [&](const char* figure, double Head::*value) {
      for (const Head& head : heads) {
        rows.push_back(Row()
                           .Set("figure", figure)
                           .Set("layer", static_cast<int64_t>(head.layer))
                           .Set("head", head.head)
                           .Set("value", head.*value));
      }
    };
    each("ablated", &Head::full);
    each("kept_patterns", &Head::kept);
    if (config_.late() == 0) return rows;
    each("in_context_ablated", &Head::full_in_context);
    each("in_context_kept_patterns", &Head::kept_in_context);
    return rows;
  }

  InductionHeadsAblationConfig config_;
};

absl::StatusOr<std::unique_ptr<Probe>> CreateAblation(const InductionHeadsAblationConfig& config,
                                                      const Probe::Args&) {
  LR_RETURN_IF_ERROR(induction_heads::CheckSequences(config.random()));
  LR_RETURN_IF_ERROR(induction_heads::CheckTokens(config.late(), config.early(), config.window()));
  return std::make_unique<Ablation>(config);
}

LR_REGISTER_PLUGIN(Probe, InductionHeadsAblationConfig, CreateAblation);

}  // namespace
}  // namespace longrange
