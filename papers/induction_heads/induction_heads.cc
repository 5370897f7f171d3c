// The probe: how a model fares on what it could know from its context, and which heads look where.
// B sequences, H heads, T rows, V vocabulary, P head width, D width.

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/autograd/ops.h"
#include "common/base/status_macros.h"
#include "papers/induction_heads/behaviour.h"
#include "papers/induction_heads/induction_heads.pb.h"
#include "papers/induction_heads/maps.h"
#include "papers/induction_heads/scores.h"
#include "plugins/probe.h"

namespace longrange {
namespace {

using induction_heads::AttentionMaps;
using induction_heads::Losses;
using induction_heads::Pattern;
using induction_heads::Sequences;

class InductionHeads : public Probe {
 public:
  explicit InductionHeads(const InductionHeadsConfig& config) : config_(config) {}

  std::vector<std::string> Needs() const override { return {}; }
  std::vector<std::string> MayLookAt() const override { return {"attention", "head_out"}; }

 protected:
  absl::StatusOr<std::vector<Row>> Run(const Model& model, const ProbeArgs& args) const override {
    LR_ASSIGN_OR_RETURN(
        const Sequences random,
        induction_heads::RandomRepeats(config_.random(), model, Rng(0).Child("induction heads")));
    const Sequences given = induction_heads::Given(args);
    // Where they are many, the attention of the first ones stands for that of all.
    const int64_t at_once = induction_heads::AtOnce(given.ids_bt.dim(1));
    const Sequences looked_at = induction_heads::Some(given, 0, at_once);
    AttentionMaps given_maps, random_maps;
    Losses on_given, on_random;
    const auto read = [&](const Sequences& sequences, const std::vector<std::string>& taps,
                          const See& see, Losses* losses) {
      const Listening listening(args, taps, see);
      losses->Add(
          sequences,
          model.Score(sequences.ids_bt, sequences.target_bt, nn::Rows(), listening.call()).nll_bt);
    };
    read(random, {"attention"}, random_maps.See(), &on_random);
    read(looked_at, {"attention"}, given_maps.See(), &on_given);
    // The others go the fast way where nothing is put in the place of side outputs.
    const std::vector<std::string> replaced =
        args.intervene == nullptr ? std::vector<std::string>() : MayLookAt();
    for (int64_t begin = at_once; begin < given.ids_bt.dim(0); begin += at_once) {
      read(
          induction_heads::Some(given, begin, at_once), replaced,
          [](absl::string_view, const Tensor& value) { return value; }, &on_given);
    }
    LR_RETURN_IF_ERROR(given_maps.Check(looked_at));
    LR_RETURN_IF_ERROR(random_maps.Check(random));

    Figures prefix("prefix_matching"), previous("previous_token"), copying("copying");
    std::vector<Figures> others;
    if (!random_maps.empty()) {
      prefix.Add(random_maps, random, induction_heads::Induction, induction_heads::MeanRowMass);
      previous.Add(given_maps, looked_at, PreviousTokenOf, induction_heads::MeanEntry);
      Figures entry("prefix_matching_entry"), preceding("preceding_entry");
      entry.Add(random_maps, random, induction_heads::Induction, induction_heads::MeanEntry);
      preceding.Add(random_maps, random, induction_heads::Preceding, induction_heads::MeanEntry);
      others = {entry, preceding};
      if (config_.detectors()) AddDetectors(random_maps, random, &others);
      AddCopying(model, args, random, &copying, &others);
    }

    std::vector<Row> rows;
    const auto add = [&](const char* figure, std::optional<double> value) {
      if (value.has_value()) rows.push_back(Row().Set("figure", figure).Set("value", *value));
    };
    add("answer_loss", on_given.answers());
    if (!on_given.answers().has_value()) add("loss", on_given.all());
    add("best_prefix_matching", prefix.Best());
    if (config_.late() > 0) {
      LR_ASSIGN_OR_RETURN(const double score,
                          on_given.InContext({config_.late(), config_.early(), config_.window()}));
      add("in_context_score", score);
    }
    add("other_loss", on_given.others());
    add("repeated_loss", on_random.answers());
    add("first_block_loss", on_random.others());
    add("best_previous_token", previous.Best());
    add("best_copying", copying.Best());
    if (!config_.each_head()) return rows;
    others.insert(others.begin(), {prefix, previous, copying});
    for (const Figures& figures : others) figures.AppendTo(&rows);
    return rows;
  }

 private:
  // A figure of every head.
  class Figures {
   public:
    explicit Figures(std::string name) : name_(std::move(name)) {}

    // score(attention, pattern of the sequence), mean over the sequences.
    template <typename PatternOf, typename Score>
    void Add(const AttentionMaps& maps, const Sequences& sequences, PatternOf pattern_of,
             Score score) {
      const int64_t batch = sequences.ids_bt.dim(0), rows = sequences.ids_bt.dim(1);
      std::vector<Pattern> patterns;
      for (int64_t b = 0; b < batch; ++b) {
        patterns.push_back(
            pattern_of(absl::MakeConstSpan(sequences.ids_bt.data<int32_t>() + b * rows, rows)));
      }
      for (size_t layer = 0; layer < maps.size(); ++layer) {
        for (int64_t head = 0; head < maps.heads(layer); ++head) {
          double sum = 0;
          for (int64_t b = 0; b < batch; ++b) sum += score(maps.Of(layer, b, head), patterns[b]);
          Set(layer, head, sum / static_cast<double>(batch));
        }
      }
    }
    void Set(size_t layer, int64_t head, double value) { values_[{layer, head}] = value; }

    std::optional<double> Best() const {
      std::optional<double> best;
      for (const auto& [place, value] : values_) best = std::max(best.value_or(value), value);
      return best;
    }
    void AppendTo(std::vector<Row>* rows) const {
      for (const auto& [place, value] : values_) {
        rows->push_back(Row()
                            .Set("figure", name_)
                            .Set("layer", static_cast<int64_t>(place.first))
                            .Set("head", place.second)
                            .Set("value", value));
      }
    }

   private:
    std::string name_;
    std::map<std::pair<size_t, int64_t>, double> values_;
  };

  static Pattern PreviousTokenOf(absl::Span<const int32_t> ids) {
    return induction_heads::PreviousToken(static_cast<int64_t>(ids.size()));
  }

  void AddDetectors(const AttentionMaps& maps, const Sequences& random,
                    std::vector<Figures>* others) const {
    const induction_heads::Detector detector = {config_.exclude_first(), config_.exclude_self()};
    const auto share = [&](absl::Span<const double> attention, const Pattern& pattern) {
      return detector.Share(attention, pattern);
    };
    const auto closeness = [&](absl::Span<const double> attention, const Pattern& pattern) {
      return detector.Closeness(attention, pattern);
    };
    const std::pair<const char*, Pattern (*)(absl::Span<const int32_t>)> patterns[] = {
        {"previous_token", PreviousTokenOf},
        {"duplicate_token", induction_heads::DuplicateToken},
        {"induction", induction_heads::Induction}};
    for (const auto& [name, pattern] : patterns) {
      Figures mul(absl::StrCat(name, "_mul")), abs(absl::StrCat(name, "_abs"));
      mul.Add(maps, random, pattern, share);
      abs.Add(maps, random, pattern, closeness);
      others->push_back(mul);
      others->push_back(abs);
    }
  }

  // The direct effect on the logits of what each head moves, on one block of random tokens, and the
  // sign of the eigenvalues of what it writes of what it reads. The last norm is ignored.
  void AddCopying(const Model& model, const ProbeArgs& args, const Sequences& random,
                  Figures* copying, std::vector<Figures>* others) const {
    const NoGradScope no_grad;
    const auto heads = model.backbone().Heads();
    if (heads.empty()) return;
    Figures eigenvalues("copying_eigenvalues");
    for (size_t layer = 0; layer < heads.size(); ++layer) {
      const HeadMaps& maps = heads[layer].second;
      for (int64_t head = 0; head < maps.w_v_hpd.dim(0); ++head) {
        const Tensor read = induction_heads::OfHead(maps.w_v_hpd, head),
                     written = induction_heads::OfHead(maps.w_o_hdp, head);
        eigenvalues.Set(
            layer, head,
            induction_heads::PositiveEigenvalues(MatMul(read, written).ToDoubles(), read.dim(0)));
      }
    }
    others->push_back(eigenvalues);
    const nn::Parameter* embedding = model.parameters().Find("embedding");
    const nn::Parameter* unembedding =
        model.config().tied() ? embedding : model.parameters().Find("output");
    if (embedding == nullptr || unembedding == nullptr) return;
    // From tokens to logits, [V, V]: its eigenvalues but for zeros are those of a matrix [P, P].
    const Tensor through_dd = MatMul(embedding->value, unembedding->value, true, false);
    Figures circuit("copying_circuit_eigenvalues");
    for (size_t layer = 0; layer < heads.size(); ++layer) {
      const HeadMaps& maps = heads[layer].second;
      for (int64_t head = 0; head < maps.w_v_hpd.dim(0); ++head) {
        const Tensor from_tokens =
            MatMul(MatMul(induction_heads::OfHead(maps.w_v_hpd, head), through_dd),
                   induction_heads::OfHead(maps.w_o_hdp, head));
        circuit.Set(
            layer, head,
            induction_heads::PositiveEigenvalues(from_tokens.ToDoubles(), from_tokens.dim(0)));
      }
    }
    others->push_back(circuit);
    if (!Offers(model, "head_out")) return;

    const Sequences blocks = induction_heads::FirstBlocks(config_.random(), random);
    AttentionMaps patterns;
    {
      const Listening listening(args, {"attention"}, patterns.See());
      model.Logits(blocks.ids_bt, nn::Rows(), listening.call());
    }
    const int64_t batch = blocks.ids_bt.dim(0), rows = blocks.ids_bt.dim(1);
    for (size_t layer = 0; layer < heads.size(); ++layer) {
      const auto& [path, maps] = heads[layer];
      const std::optional<size_t> at = patterns.Find(path);
      if (!at.has_value()) continue;
      // A head that looks at its own row alone gives that row's value.
      Tensor v_bthp;
      const Listening listening(args, {"attention", "head_out"},
                                [&, path = path](absl::string_view tap, const Tensor& value) {
                                  if (absl::EndsWith(tap, absl::StrCat(path, "/attention")))
                                    return induction_heads::IdentityLike(value);
                                  if (absl::EndsWith(tap, absl::StrCat(path, "/head_out")))
                                    v_bthp = value;
                                  return value;
                                });
      model.Logits(blocks.ids_bt, nn::Rows(), listening.call());
      for (int64_t head = 0; head < maps.w_o_hdp.dim(0); ++head) {
        const Tensor written_btv = Linear(Linear(induction_heads::OfHeadAt(v_bthp, head),
                                                 induction_heads::OfHead(maps.w_o_hdp, head)),
                                          unembedding->value);
        const std::vector<double> written = written_btv.ToDoubles();
        const int64_t vocabulary = written_btv.dim(-1);
        double own = 0, sample = 0;
        for (int64_t b = 0; b < batch; ++b) {
          const induction_heads::Copying one = induction_heads::CopyingOf(
              patterns.Of(*at, b, head),
              absl::MakeConstSpan(blocks.ids_bt.data<int32_t>() + b * rows, rows),
              absl::MakeConstSpan(written).subspan(b * rows * vocabulary, rows * vocabulary),
              vocabulary, blocks.first);
          own += one.own;
          sample += one.sample;
        }
        copying->Set(*at, head, induction_heads::Copying{own, sample}.Ratio());
      }
    }
  }

  InductionHeadsConfig config_;
};

absl::StatusOr<std::unique_ptr<Probe>> CreateInductionHeads(const InductionHeadsConfig& config,
                                                            const Probe::Args&) {
  LR_RETURN_IF_ERROR(induction_heads::CheckSequences(config.random()));
  LR_RETURN_IF_ERROR(induction_heads::CheckTokens(config.late(), config.early(), config.window()));
  return std::make_unique<InductionHeads>(config);
}

LR_REGISTER_PLUGIN(Probe, InductionHeadsConfig, CreateInductionHeads);

}  // namespace
}  // namespace longrange
