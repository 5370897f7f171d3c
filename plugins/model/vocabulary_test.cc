#include "plugins/model/vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/autograd/ops.h"
#include "common/autograd/tape.h"
#include "common/testing/matchers.h"
#include "common/testing/shapes.h"

namespace longrange {
namespace {

constexpr int64_t kTokens = 13, kWidth = 6;

ModelConfig Plain() {
  ModelConfig config;
  config.set_vocabulary(kTokens);
  config.set_width(kWidth);
  config.set_init_std(0.5);
  return config;
}

ModelConfig Clusters(int64_t divisor, int64_t width = 0) {
  ModelConfig config = Plain();
  config.set_tied(true);
  config.set_output_bias(true);
  config.set_embedding_scale(0);
  AdaptiveConfig* adaptive = config.mutable_adaptive();
  for (const int64_t cutoff : {4, 9}) adaptive->add_cutoff(cutoff);
  adaptive->set_divisor(divisor);
  adaptive->set_width(width);
  adaptive->set_projection_init_std(0.5);
  return config;
}

std::vector<ModelConfig> Configs() {
  std::vector<ModelConfig> configs = {Plain(),        Plain(),     Clusters(1),
                                      Clusters(1, 3), Clusters(2), Clusters(2)};
  configs[1].set_tied(true);
  configs[1].set_output_bias(true);
  configs[1].set_embedding_scale(3);
  for (const bool tied : {false, true, true})
    configs[4].mutable_adaptive()->add_tied_projection(tied);
  configs[5].set_tied(false);
  configs[5].set_output_bias(false);
  // One cluster whose rows are narrower than the model.
  configs.push_back(Clusters(1, 3));
  configs.back().mutable_adaptive()->clear_cutoff();
  configs.back().mutable_adaptive()->add_tied_projection(true);
  return configs;
}

struct Built {
  explicit Built(const ModelConfig& config) {
    CHECK(Vocabulary::Check(config).ok()) << Vocabulary::Check(config);
    const nn::Scope scope(&store, Rng(1), DType::kFloat64);
    vocabulary.CreateInput(config, scope);
    vocabulary.CreateOutput(config, config.width(), scope);
    for (const nn::Parameter& p : store.all()) {  // biases are not 0
      const Tensor noise =
          RandomNormal(p.value.shape(), Rng(2).Child(p.name), 0.3, DType::kFloat64);
      for (int64_t i = 0; i < noise.numel(); ++i)
        p.value.mutable_data<double>()[i] += noise.data<double>()[i];
    }
  }

  double At(const std::string& name, int64_t row, int64_t column) const {
    const nn::Parameter* p = store.Find(name);
    CHECK(p != nullptr) << name;
    return p->value.data<double>()[row * (p->value.rank() == 1 ? 1 : p->value.dim(1)) + column];
  }
  bool Has(const std::string& name) const { return store.Find(name) != nullptr; }

  nn::ParameterStore store;
  Vocabulary vocabulary;
};

// Cluster, and number within it.
struct Place {
  int64_t cluster, word, words;
};
Place PlaceOf(const ModelConfig& config, int64_t token) {
  int64_t begin = 0, cluster = 0;
  for (const int64_t cutoff : config.adaptive().cutoff()) {
    if (token < cutoff) return {cluster, token - begin, cutoff - begin};
    begin = cutoff;
    ++cluster;
  }
  return {cluster, token - begin, kTokens - begin};
}

// log p(token | x), word by word.
double LogProbability(const ModelConfig& config, const Built& built, const double* x,
                      int64_t token) {
  const auto name = [&](const std::string& what, int64_t cluster) {
    return Vocabulary::IsAdaptive(config) ? absl::StrCat(what, ".", cluster) : what;
  };
  const auto table = [&](int64_t c) { return name(config.tied() ? "embedding" : "output", c); };
  // x through the cluster's projection.
  const auto seen = [&](int64_t c) {
    std::string projection = name("output_projection", c);
    if (!built.Has(projection)) projection = name("projection", c);
    if (!built.Has(projection)) projection = "projection";
    const int64_t width = built.store.Find(table(c))->value.dim(1);
    std::vector<double> out(width, 0.0);
    for (int64_t w = 0; w < width; ++w) {
      if (!built.Has(projection)) out[w] = x[w];
      for (int64_t d = 0; d < kWidth && built.Has(projection); ++d)
        out[w] += x[d] * built.At(projection, d, w);
    }
    return out;
  };
  const auto score = [&](const std::vector<double>& h, const std::string& weight,
                         const std::string& bias, int64_t row) {
    double sum = built.Has(bias) ? built.At(bias, row, 0) : 0;
    for (size_t w = 0; w < h.size(); ++w)
      sum += h[w] * built.At(weight, row, static_cast<int64_t>(w));
    return sum;
  };
  const auto log_softmax = [](const std::vector<double>& scores, int64_t at) {
    double sum = 0;
    for (const double s : scores) sum += std::exp(s);
    return scores[at] - std::log(sum);
  };
  const int64_t others = config.adaptive().cutoff_size();
  std::vector<double> choices;
  for (int64_t n = 0; n < PlaceOf(config, 0).words; ++n)
    choices.push_back(score(seen(0), table(0), name("output_bias", 0), n));
  for (int64_t n = 0; n < others; ++n)
    choices.push_back(score(seen(0), "cluster", "cluster_bias", n));
  const Place place = PlaceOf(config, token);
  if (place.cluster == 0) return log_softmax(choices, place.word);
  std::vector<double> words;
  for (int64_t n = 0; n < place.words; ++n) {
    words.push_back(
        score(seen(place.cluster), table(place.cluster), name("output_bias", place.cluster), n));
  }
  // The last cluster stands first.
  return log_softmax(choices, PlaceOf(config, 0).words + others - place.cluster) +
         log_softmax(words, place.word);
}

Tensor Rows(int64_t rows) { return RandomNormal({rows, kWidth}, Rng(3), 1, DType::kFloat64); }

Tensor Tokens(const std::vector<int32_t>& tokens) {
  return Tensor::FromVector<int32_t>({static_cast<int64_t>(tokens.size())}, tokens);
}

// Every token once, and rows that are not scored.
Tensor Targets() { return Tokens({12, 0, -1, 3, 4, 8, 9, 1, 10, 2, 5, -1, 6, 7, 11}); }

TEST(Vocabulary, ScoresAreThoseOfTheFormula) {
  for (const ModelConfig& config : Configs()) {
    SCOPED_TRACE(config.ShortDebugString());
    const Built built(config);
    const Tensor target = Targets(), x = Rows(target.numel());
    const Vocabulary::Scores scores = built.vocabulary.Score(x, target);
    const Tensor logits = built.vocabulary.Logits(x);
    ASSERT_EQ(logits.shape(), Shape({target.numel(), kTokens}));
    for (int64_t r = 0; r < target.numel(); ++r) {
      const double* row = logits.data<double>() + r * kTokens;
      double norm = 0, sum = 0;
      for (int64_t v = 0; v < kTokens; ++v) norm += std::exp(row[v]);
      for (int32_t v = 0; v < kTokens; ++v) {
        const double expected = LogProbability(config, built, x.data<double>() + r * kWidth, v);
        sum += std::exp(expected);
        EXPECT_NEAR(row[v] - std::log(norm), expected, 1e-12) << "token " << v;
        if (target.data<int32_t>()[r] == v) {
          EXPECT_NEAR(scores.nll_r.data<double>()[r], -expected, 1e-12) << "token " << v;
        }
      }
      EXPECT_NEAR(sum, 1, 1e-12);
      if (target.data<int32_t>()[r] < 0) {
        EXPECT_EQ(scores.nll_r.data<double>()[r], 0);
      }
      EXPECT_EQ(scores.argmax_r.data<int32_t>()[r], std::max_element(row, row + kTokens) - row);
    }
  }
}

// Cluster by cluster, for the rows that need it, against scores of all tokens.
TEST(Vocabulary, GradientsAreThoseOfAllScores) {
  for (const ModelConfig& config : Configs()) {
    SCOPED_TRACE(config.ShortDebugString());
    const Built built(config);
    const Tensor target = Targets();
    const Tensor weight = RandomNormal({target.numel()}, Rng(4), 1, DType::kFloat64);
    const auto gradients = [&](bool all) {
      const Tensor x = Leaf(Rows(target.numel()));
      built.store.ClearGradients();
      const Tensor nll =
          all ? CrossEntropy(built.vocabulary.Logits(x), target) : built.vocabulary.Nll(x, target);
      Backward({nll}, {weight});
      std::vector<Tensor> out = {Gradient(x)};
      for (const nn::Parameter& p : built.store.all()) {
        out.push_back(Gradient(p.value).defined() ? Gradient(p.value).Clone()
                                                  : Tensor::ZerosLike(p.value));
      }
      return out;
    };
    const std::vector<Tensor> some = gradients(false), all = gradients(true);
    for (size_t i = 0; i < some.size(); ++i) {
      EXPECT_THAT(some[i], AllClose(all[i], Tolerance{1e-10, 1e-12}))
          << (i == 0 ? "x" : built.store.all()[i - 1].name);
    }
  }
}

TEST(Vocabulary, EmbedsEveryTokenByItsCluster) {
  for (const ModelConfig& config : Configs()) {
    SCOPED_TRACE(config.ShortDebugString());
    const Built built(config);
    const Tensor ids = Tensor::FromVector<int32_t>({2, 4}, {12, 0, 3, 4, 8, 9, 9, 1});
    built.store.ClearGradients();
    const Tensor rows = built.vocabulary.Embed(ids);
    ASSERT_EQ(rows.shape(), Shape({2, 4, kWidth}));
    const double scale = config.embedding_scale() == 0 ? std::sqrt(static_cast<double>(kWidth))
                                                       : config.embedding_scale();
    for (int64_t i = 0; i < ids.numel(); ++i) {
      const Place place = PlaceOf(config, ids.data<int32_t>()[i]);
      const std::string table =
          Vocabulary::IsAdaptive(config) ? absl::StrCat("embedding.", place.cluster) : "embedding";
      std::string projection = absl::StrCat("projection.", place.cluster);
      if (!built.Has(projection)) projection = "projection";
      for (int64_t d = 0; d < kWidth; ++d) {
        double expected = built.Has(projection) ? 0 : built.At(table, place.word, d);
        for (int64_t w = 0; built.Has(projection) && w < built.store.Find(table)->value.dim(1); ++w)
          expected += built.At(table, place.word, w) * built.At(projection, d, w);
        EXPECT_NEAR(rows.data<double>()[i * kWidth + d], scale * expected, 1e-12);
      }
    }
    // A token that is read twice gets both gradients, one that is not read none.
    Backward({rows}, {Tensor::Full(rows.shape(), 1, DType::kFloat64)});
    std::set<int64_t> read;
    for (const int64_t id : ids.ToInts()) read.insert(id);
    for (int64_t token = 0; token < kTokens; ++token) {
      const Place place = PlaceOf(config, token);
      const Tensor gradient = Gradient(built.store
                                           .Find(Vocabulary::IsAdaptive(config)
                                                     ? absl::StrCat("embedding.", place.cluster)
                                                     : "embedding")
                                           ->value);
      ASSERT_TRUE(gradient.defined());
      double size = 0;
      for (int64_t w = 0; w < gradient.dim(1); ++w)
        size += std::abs(gradient.data<double>()[place.word * gradient.dim(1) + w]);
      EXPECT_EQ(size > 0, read.count(token) > 0) << token;
    }
  }
}

// As many as the reference implementation makes: tables once where they are tied, a projection for
// each cluster where there is a divisor, one for all where there is none.
TEST(Vocabulary, Parameters) {
  const auto count = [](const ModelConfig& config) { return Built(config).store.NumElements(); };
  EXPECT_EQ(count(Configs()[0]), 2 * 13 * 6);
  EXPECT_EQ(count(Configs()[1]), 13 * 6 + 13);
  EXPECT_EQ(count(Configs()[2]), 13 * 6 + 13 + 2 * 6 + 2);
  EXPECT_EQ(count(Configs()[3]), 13 * 3 + 6 * 3 + 3 * 6 * 3 + 13 + 2 * 3 + 2);
  const int64_t tables = 4 * 6 + 5 * 3 + 4 * 1, projections = 6 * 6 + 6 * 3 + 6 * 1;
  EXPECT_EQ(count(Configs()[4]), tables + projections + 36 + 13 + 2 * 6 + 2);
  EXPECT_EQ(count(Configs()[5]), 2 * tables + 2 * projections + 2 * 6);
}

TEST(Vocabulary, DefaultsWrittenOutAreOneTable) {
  ModelConfig config = Plain();
  config.mutable_adaptive()->set_divisor(1);
  config.mutable_adaptive()->set_width(0);
  const Built built(config);
  EXPECT_TRUE(built.Has("embedding"));
  config.mutable_adaptive()->set_divisor(2);
  EXPECT_THAT(Vocabulary::Check(config),
              StatusIs(absl::StatusCode::kInvalidArgument, "adaptive.divisor: 2"));
}

TEST(VocabularyDeathTest, ATargetThatIsNoToken) {
  const Tensor x = Tensor::Zeros({2, kWidth}, DType::kFloat64),
               target = Tensor::FromVector<int32_t>({2}, {-1, kTokens});
  const Built plain((Plain())), clusters((Clusters(2)));
  EXPECT_DEATH(plain.vocabulary.Nll(x, target), "target outside the vocabulary");
  EXPECT_DEATH(clusters.vocabulary.Nll(x, target), "target outside the vocabulary");
}

TEST(Vocabulary, RefusesByName) {
  const auto refused = [](const ModelConfig& config) { return Vocabulary::Check(config); };
  const auto kInvalid = absl::StatusCode::kInvalidArgument;
  ModelConfig config = Clusters(2);
  config.mutable_adaptive()->add_cutoff(9);
  EXPECT_THAT(refused(config), StatusIs(kInvalid, "adaptive.cutoff: 9"));
  config.mutable_adaptive()->set_cutoff(2, kTokens);
  EXPECT_THAT(refused(config), StatusIs(kInvalid, "adaptive.cutoff: 13"));
  config = Clusters(0);
  EXPECT_THAT(refused(config), StatusIs(kInvalid, "adaptive.divisor: 0"));
  config = Clusters(4);
  EXPECT_THAT(refused(config), StatusIs(kInvalid, "adaptive.divisor: 4"));
  config = Clusters(1, -1);
  EXPECT_THAT(refused(config), StatusIs(kInvalid, "adaptive.width"));
  config = Clusters(1);
  config.mutable_adaptive()->add_tied_projection(true);
  EXPECT_THAT(refused(config), StatusIs(kInvalid, "adaptive.tied_projection: 1 values"));
  config = Clusters(2);
  for (int i = 0; i < 4; ++i) config.mutable_adaptive()->add_tied_projection(true);
  EXPECT_THAT(refused(config), StatusIs(kInvalid, "adaptive.tied_projection: 4 values"));
  config = Clusters(2);
  config.mutable_adaptive()->set_projection_init_std(-1);
  EXPECT_THAT(refused(config), StatusIs(kInvalid, "adaptive.projection_init_std"));
  config = Plain();
  config.set_embedding_scale(NAN);
  EXPECT_THAT(refused(config), StatusIs(kInvalid, "embedding_scale"));
  config = Clusters(1);
  config.set_features(3);
  EXPECT_THAT(refused(config), StatusIs(kInvalid, "adaptive: set"));
}

}  // namespace
}  // namespace longrange
