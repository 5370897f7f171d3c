// Schemes, rules, tasks, probes and configs that lie: every check of them catches one, and passes
// one that does not.

#include <cmath>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/autograd/ops.h"
#include "gtest/gtest.h"
#include "plugins/conformance/config_checks.h"
#include "plugins/conformance/liars/liars.pb.h"
#include "plugins/conformance/position_checks.h"
#include "plugins/conformance/probe_checks.h"
#include "plugins/conformance/task_checks.h"

namespace longrange::conformance {
namespace {

// Every check catches its liars and lets the honest one pass; every check has a liar.
// Those of `elsewhere` have theirs in a test of their own.
template <typename Check, typename Lie, typename MakeSubject>
void Try(const std::vector<Check>& checks, const std::vector<std::pair<std::string, Lie>>& liars,
         const MakeSubject& subject, const std::set<std::string>& elsewhere = {}) {
  std::set<std::string> lied_to = elsewhere;
  for (const Check& check : checks) {
    const Verdict honest = check.run(subject(Lie::kNone));
    EXPECT_FALSE(honest.failed()) << check.name << ": " << honest.why;
    for (const auto& [name, lie] : liars) {
      if (name != check.name) continue;
      lied_to.insert(name);
      const Verdict verdict = check.run(subject(lie));
      EXPECT_TRUE(verdict.failed()) << check.name << ", lie " << static_cast<int>(lie);
      if (verdict.failed()) std::cout << check.name << ": " << verdict.why << "\n";
    }
    EXPECT_EQ(lied_to.count(check.name), 1) << check.name << " has no liar";
  }
  EXPECT_EQ(lied_to.size(), checks.size());
}

enum class SchemeLie {
  kNone,
  kNoSlopes,
  kSecretlyDynamic,
  kCountsQuestions,
  kChangesItsUses,
  kLimitsNothing
};

class LyingScheme : public PositionScheme {
 public:
  explicit LyingScheme(SchemeLie lie) : lie_(lie) {}

  uint32_t uses() const override {
    if (lie_ == SchemeLie::kChangesItsUses && asked_++ == 0) return kAtInput;
    return kBias;
  }
  int64_t max_positions() const override { return lie_ == SchemeLie::kLimitsNothing ? 64 : 0; }
  ScoreBias BiasFor(int64_t heads, const nn::Call& call) const override {
    if (lie_ == SchemeLie::kNoSlopes) return {};
    double slope = 0.25;
    if (lie_ == SchemeLie::kSecretlyDynamic) slope /= static_cast<double>(call.horizon);
    if (lie_ == SchemeLie::kCountsQuestions) slope += static_cast<double>(++asked_);
    return {Tensor::Full({heads}, slope)};
  }

 private:
  SchemeLie lie_;
  mutable int64_t asked_ = 0;
};

TEST(SchemeChecksTest, CatchLiars) {
  Try<SchemeCheck, SchemeLie>(SchemeChecks(),
                              {{"ServesItsUses", SchemeLie::kNoSlopes},
                               {"PlacesAsManyAsDeclared", SchemeLie::kLimitsNothing},
                               {"DependsOnLengthAsDeclared", SchemeLie::kSecretlyDynamic},
                               {"SaysTheSameTwice", SchemeLie::kCountsQuestions},
                               {"IsRefusedByName", SchemeLie::kChangesItsUses}},
                              [](SchemeLie lie) {
                                SchemeSubject subject;
                                subject.make = [lie](const BuildArgs&) {
                                  return std::make_unique<LyingScheme>(lie);
                                };
                                return subject;
                              });
}

enum class PlaceLie { kNone, kAllAlike, kCountsFromTheCall, kCountsPadding };

// Adds the row's place to its channels, in a layer.
class LyingPlaces : public PositionScheme {
 public:
  explicit LyingPlaces(PlaceLie lie) : lie_(lie) {}

  uint32_t uses() const override { return kAtQk; }
  int64_t max_positions() const override { return 50; }
  Tensor AddTo(const Tensor& x_btd, const std::vector<int64_t>& first_b,
               const nn::Call&) const override {
    const int64_t rows = x_btd.dim(1), width = x_btd.dim(2);
    Tensor places = Tensor::Empty(x_btd.shape(), DType::kFloat64);
    for (int64_t i = 0; i < places.numel(); ++i) {
      int64_t first = first_b[i / (rows * width)];
      if (lie_ == PlaceLie::kCountsFromTheCall && first > 0) first = 0;
      if (lie_ == PlaceLie::kCountsPadding && first < 0) first = 0;
      const int64_t place = lie_ == PlaceLie::kAllAlike ? 1 : first + i / width % rows;
      places.mutable_data<double>()[i] = 0.1 * static_cast<double>(place);
    }
    return Add(x_btd, places.To(x_btd.dtype()));
  }

 private:
  PlaceLie lie_;
};

TEST(SchemeChecksTest, CatchesThoseThatPlaceRowsWrongly) {
  const auto subject = [](PlaceLie lie) {
    SchemeSubject subject;
    subject.make = [lie](const BuildArgs&) { return std::make_unique<LyingPlaces>(lie); };
    return subject;
  };
  for (const SchemeCheck& check : SchemeChecks()) {
    const Verdict honest = check.run(subject(PlaceLie::kNone));
    EXPECT_FALSE(honest.failed()) << check.name << ": " << honest.why;
    if (std::string(check.name) != "PlacesAsManyAsDeclared") continue;
    for (const PlaceLie lie :
         {PlaceLie::kAllAlike, PlaceLie::kCountsFromTheCall, PlaceLie::kCountsPadding})
      EXPECT_TRUE(check.run(subject(lie)).failed()) << static_cast<int>(lie);
  }
}

enum class RuleLie {
  kNone,
  kOverlaps,
  kTwoBranchesAKey,
  kOffByOne,
  kOtherDistance,
  kOneBranchMore,
  kMovesAll,
  kSecretHeads,
  kForgetsTooMuch,
  kForgetsTheFirst,
  kClaimsFew
};

// The first two keys, beyond the window at distance 5, and a window of five.
class LyingRule : public AttentionRule {
 public:
  explicit LyingRule(RuleLie lie) : lie_(lie) {}

  int32_t branches() const override { return 2; }
  double QueryAt(int32_t branch, int64_t query) const override {
    if (branch == 1) return lie_ == RuleLie::kOtherDistance ? 4.5 : 5;
    return static_cast<double>(query) + (lie_ == RuleLie::kMovesAll ? 1 : 0);
  }
  double KeyAt(int32_t branch, int64_t key) const override {
    return branch == 1 ? 0 : static_cast<double>(key) + (lie_ == RuleLie::kMovesAll ? 1 : 0);
  }
  std::pair<int64_t, int64_t> Keep() const override {
    return {lie_ == RuleLie::kForgetsTheFirst ? 1 : 2, lie_ == RuleLie::kForgetsTooMuch ? 3 : 5};
  }
  Growth keys_seen() const override { return Growth::kConstant; }
  void Spans(int64_t head, int64_t query, int64_t keys, const nn::Call&,
             std::vector<Span>* out) const override {
    int64_t reach = lie_ == RuleLie::kOffByOne ? 6 : 5;
    if (lie_ == RuleLie::kSecretHeads) reach += head;
    if (lie_ == RuleLie::kClaimsFew) reach = keys;
    const int64_t begin = std::max<int64_t>(0, query - reach + 1), end = std::min(keys, query + 1);
    const int64_t far = lie_ == RuleLie::kTwoBranchesAKey ? end : std::min<int64_t>(2, begin);
    if (far > 0) out->push_back({0, far, lie_ == RuleLie::kOneBranchMore ? 2 : 1});
    out->push_back({begin, end});
    if (lie_ == RuleLie::kOverlaps) out->push_back({begin, end});
  }

 private:
  RuleLie lie_;
};

TEST(RuleChecksTest, CatchLiars) {
  Try<RuleCheck, RuleLie>(RuleChecks(),
                          {{"SpansAreInOrder", RuleLie::kOverlaps},
                           {"SpansAreInOrder", RuleLie::kTwoBranchesAKey},
                           {"EqualsDenseMask", RuleLie::kOffByOne},
                           {"EqualsDenseMask", RuleLie::kOtherDistance},
                           {"BranchesAreDeclared", RuleLie::kOneBranchMore},
                           {"BranchesAreDeclared", RuleLie::kMovesAll},
                           {"HeadsDifferAsDeclared", RuleLie::kSecretHeads},
                           {"KeepsWhatItNeeds", RuleLie::kForgetsTooMuch},
                           {"KeepsWhatItNeeds", RuleLie::kForgetsTheFirst},
                           {"SeesAsManyAsDeclared", RuleLie::kClaimsFew}},
                          [](RuleLie lie) {
                            RuleSubject subject;
                            subject.make = [lie](const BuildArgs&) {
                              return std::make_unique<LyingRule>(lie);
                            };
                            subject.reference = [](int64_t, int64_t query, int64_t key,
                                                   int64_t) -> std::optional<double> {
                              if (query - key < 5) return static_cast<double>(query - key);
                              if (key < 2) return 5;
                              return std::nullopt;
                            };
                            return subject;
                          });
}

TEST(RuleChecksTest, AMissingReferenceIsAFailure) {
  RuleSubject subject;
  subject.make = [](const BuildArgs&) { return std::make_unique<LyingRule>(RuleLie::kNone); };
  for (const RuleCheck& check : RuleChecks()) {
    const bool needs_it = std::string(check.name) == "EqualsDenseMask";
    EXPECT_EQ(check.run(subject).failed(), needs_it) << check.name;
  }
}

enum class TaskLie {
  kNone,
  kOneRowShort,
  kOneRoleShort,
  kForgetsTheSecond,
  kCountsExamples,
  kTrainsOnItsTest,
  kOracleErrs,
  kGuessesTooWell,
  kScoresNaN
};

// Noise, then a question whose answer, one of four letters, stands in the first row.
class LyingTask : public Task {
 public:
  explicit LyingTask(TaskLie lie) : lie_(lie) {
    traits_.chance = 0.25;
    traits_.two_documents = lie == TaskLie::kForgetsTheSecond;
  }

  const TaskTraits& traits() const override { return traits_; }
  std::vector<std::string> special_tokens() const override { return {"<question>"}; }

  absl::StatusOr<Example> Make(const ExampleRequest& request, int64_t index) const override {
    if (request.length < 3) return absl::InvalidArgumentError("length: expected 3 or more");
    if (lie_ == TaskLie::kCountsExamples) index = made_++;
    const int64_t split =
        lie_ == TaskLie::kTrainsOnItsTest ? 0 : static_cast<int64_t>(request.split);
    const Rng rng = request.rng.Child(split).Child(index);
    const int64_t rows = request.length - (lie_ == TaskLie::kOneRowShort ? 1 : 0);
    Example example;
    for (int64_t t = 0; t < rows; ++t)
      example.ids.push_back(static_cast<int32_t>('a' + rng.UniformInt(t, t == 0 ? 4 : 26)));
    example.ids.back() = 256;
    example.target.assign(rows, -1);
    example.target.back() = example.ids.front();
    example.answer_rows = {rows - 1};
    if (lie_ == TaskLie::kOneRoleShort) example.role.assign(rows - 1, 0);
    return example;
  }
  double Score(const Example&, const Reply& reply) const override {
    if (lie_ == TaskLie::kScoresNaN) return std::exp(reply.logprob[0]) + reply.is_argmax[0];
    return reply.is_argmax[0] != 0 ? 1 : 0;
  }
  Reply Oracle(const Example& example) const override {
    const bool errs = lie_ == TaskLie::kOracleErrs && example.ids[0] == 'a';
    return {{0.0}, {static_cast<uint8_t>(errs ? 0 : 1)}};
  }
  Reply Blind(const Example&, const Rng& rng) const override {
    const int64_t ways = lie_ == TaskLie::kGuessesTooWell ? 3 : 4;
    return {{std::log(0.25)}, {static_cast<uint8_t>(rng.UniformInt(0, ways) == 0 ? 1 : 0)}};
  }

 private:
  TaskLie lie_;
  TaskTraits traits_;
  mutable int64_t made_ = 0;
};

TEST(TaskChecksTest, CatchLiars) {
  Try<TaskCheck, TaskLie>(TaskChecks(),
                          {{"ExamplesAreWhole", TaskLie::kOneRowShort},
                           {"ExamplesAreWhole", TaskLie::kOneRoleShort},
                           {"ExamplesAreWhole", TaskLie::kForgetsTheSecond},
                           {"SameSeedSameExamples", TaskLie::kCountsExamples},
                           {"SplitsDiffer", TaskLie::kTrainsOnItsTest},
                           {"OracleScoresFull", TaskLie::kOracleErrs},
                           {"BlindScoresChance", TaskLie::kGuessesTooWell},
                           {"ScoresStayInRange", TaskLie::kScoresNaN}},
                          [](TaskLie lie) {
                            TaskSubject subject;
                            subject.make = [lie](const TaskArgs&) {
                              return std::make_unique<LyingTask>(lie);
                            };
                            return subject;
                          });
}

enum class ProbeLie { kNone, kNotANumber, kHidesItsNeed, kLooksAway, kTrains };

// The mean of the first key's share of attention.
class LyingProbe : public Probe {
 public:
  explicit LyingProbe(ProbeLie lie) : lie_(lie) {}

  std::vector<std::string> Needs() const override {
    if (lie_ == ProbeLie::kHidesItsNeed) return {};
    return {"attention"};
  }

 protected:
  absl::StatusOr<std::vector<Row>> Run(const Model& model, const ProbeArgs& args) const override {
    double sum = 0, count = 0;
    Look(model, args, "attention", [&](absl::string_view, const Tensor& p) {
      const std::vector<double> shares = p.ToDoubles();
      for (size_t i = 0; i < shares.size(); i += p.dim(-1)) {
        sum += shares[i];
        ++count;
      }
      return p;
    });
    if (lie_ == ProbeLie::kNotANumber) sum = std::nan("");
    if (lie_ == ProbeLie::kLooksAway) sum = count = 1;
    if (lie_ == ProbeLie::kTrains) model.parameters().all()[0].value.mutable_data<float>()[0] += 1;
    Row row;
    row.Set("figure", "share of the first key");
    row.Set("value", sum / count);
    return std::vector<Row>{row};
  }

 private:
  ProbeLie lie_;
};

enum class LikingLie { kNone, kCannotDoWithout, kMakesItUp, kHidesItsLiking };

// The mean of the first key's share where there is attention to look at, and the number of rows.
class LikingProbe : public Probe {
 public:
  explicit LikingProbe(LikingLie lie) : lie_(lie) {}

  std::vector<std::string> Needs() const override { return {}; }
  std::vector<std::string> MayLookAt() const override {
    if (lie_ == LikingLie::kHidesItsLiking) return {};
    return {"attention"};
  }

 protected:
  absl::StatusOr<std::vector<Row>> Run(const Model& model, const ProbeArgs& args) const override {
    std::vector<Row> rows = {
        Row().Set("figure", "rows").Set("value", static_cast<double>(args.ids_bt.numel()))};
    double sum = 0, count = 0;
    Look(model, args, "attention", [&](absl::string_view, const Tensor& p) {
      const std::vector<double> shares = p.ToDoubles();
      for (size_t i = 0; i < shares.size(); i += p.dim(-1)) {
        sum += shares[i];
        ++count;
      }
      return p;
    });
    if (count == 0 && lie_ == LikingLie::kCannotDoWithout)
      return absl::InvalidArgumentError("there is no attention");
    if (count > 0 || lie_ == LikingLie::kMakesItUp) {
      rows.push_back(
          Row().Set("figure", "share of the first key").Set("value", sum / std::max(count, 1.0)));
    }
    return rows;
  }

 private:
  LikingLie lie_;
};

TEST(ProbeChecksTest, CatchThoseThatDoNotDoWithout) {
  const std::pair<const char*, LikingLie> liars[] = {
      {"DoesWithoutWhatItMay", LikingLie::kCannotDoWithout},
      {"DoesWithoutWhatItMay", LikingLie::kMakesItUp},
      {"NeedsAreRefusedFirst", LikingLie::kHidesItsLiking}};
  for (const ProbeCheck& check : ProbeChecks()) {
    const auto subject = [](LikingLie lie) {
      return ProbeSubject{[lie] { return std::make_unique<LikingProbe>(lie); }};
    };
    const Verdict honest = check.run(subject(LikingLie::kNone));
    EXPECT_FALSE(honest.failed()) << check.name << ": " << honest.why;
    for (const auto& [name, lie] : liars) {
      if (std::string(check.name) != name) continue;
      EXPECT_TRUE(check.run(subject(lie)).failed()) << static_cast<int>(lie);
    }
  }
}

TEST(ProbeChecksTest, CatchLiars) {
  Try<ProbeCheck, ProbeLie>(ProbeChecks(),
                            {{"GivesFigures", ProbeLie::kNotANumber},
                             {"NeedsAreRefusedFirst", ProbeLie::kHidesItsNeed},
                             {"SeesWhatIsReplaced", ProbeLie::kLooksAway},
                             {"LeavesTheModelAlone", ProbeLie::kTrains}},
                            [](ProbeLie lie) {
                              ProbeSubject subject;
                              subject.make = [lie] { return std::make_unique<LyingProbe>(lie); };
                              return subject;
                            },
                            {"DoesWithoutWhatItMay"});
}

google::protobuf::Any Packed(const LiarConfig& config) {
  google::protobuf::Any any;
  any.PackFrom(config);
  return any;
}

TEST(ConfigChecksTest, NamesAndInstances) {
  EXPECT_FALSE(
      RegisteredUnderItsFolder("s4", {"s4", "s4_diagonal"}, {"s4", "s4_diagonal"}).failed());
  EXPECT_TRUE(RegisteredUnderItsFolder("s4", {"s4", "s4d"}, {"s4", "s4d"}).failed());
  EXPECT_TRUE(RegisteredUnderItsFolder("s4", {"s4", "s4_diagonal"}, {"s4"}).failed());
  EXPECT_TRUE(RegisteredUnderItsFolder("s4", {"s4"}, {"s4", "s5"}).failed());
  EXPECT_TRUE(RegisteredUnderItsFolder("s4", {}, {}).failed());
}

TEST(ConfigChecksTest, ADefaultWrittenOutIsTheDefault) {
  const auto behaviour = [](bool lies) {
    return [lies](const google::protobuf::Any& any) -> absl::StatusOr<std::string> {
      LiarConfig config;
      any.UnpackTo(&config);
      return absl::StrCat(lies && config.has_scale() ? 7 : config.scale());
    };
  };
  EXPECT_FALSE(ConfigRoundTrips(Packed(LiarConfig()), behaviour(false)).failed());
  EXPECT_TRUE(ConfigRoundTrips(Packed(LiarConfig()), behaviour(true)).failed());
}

TEST(ConfigChecksTest, BadValuesAreRefusedByName) {
  enum { kHonest, kTakesNaN, kTakesAnyCount, kTakesInfiniteParts, kNamesNothing };
  const auto create = [](int lie) {
    return [lie](const google::protobuf::Any& any) -> absl::Status {
      LiarConfig config;
      any.UnpackTo(&config);
      const char* name = lie == kNamesNothing ? "a number" : "scale";
      if (lie == kTakesNaN ? std::isinf(config.scale()) : !std::isfinite(config.scale()))
        return absl::InvalidArgumentError(absl::StrCat(name, ": bad"));
      if (lie != kTakesAnyCount && config.count() < 1)
        return absl::InvalidArgumentError("count: bad");
      for (const double part : config.part()) {
        if (lie != kTakesInfiniteParts && !std::isfinite(part))
          return absl::InvalidArgumentError("part: bad");
      }
      return absl::OkStatus();
    };
  };
  ConformanceInstance instance;
  EXPECT_FALSE(RefusesBadValues(instance, Packed(LiarConfig()), create(kHonest)).failed());
  for (const int lie : {kTakesNaN, kTakesAnyCount, kTakesInfiniteParts, kNamesNothing}) {
    EXPECT_TRUE(RefusesBadValues(instance, Packed(LiarConfig()), create(lie)).failed()) << lie;
  }
  // A value that the folder names.
  ConformanceInstance::Refused* refused = instance.add_refused();
  refused->set_field("count");
  LiarConfig bad;
  bad.set_count(0);
  *refused->mutable_config() = Packed(bad);
  EXPECT_FALSE(RefusesBadValues(instance, Packed(LiarConfig()), create(kHonest)).failed());
  bad.set_count(3);
  *refused->mutable_config() = Packed(bad);
  EXPECT_TRUE(RefusesBadValues(instance, Packed(LiarConfig()), create(kHonest)).failed());
}

}  // namespace
}  // namespace longrange::conformance
