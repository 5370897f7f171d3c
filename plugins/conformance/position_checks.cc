#include "plugins/conformance/position_checks.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "plugins/attention/attention_host.h"
#include "plugins/conformance/reference.h"

namespace longrange::conformance {
namespace {

constexpr int64_t kHeads = 4;  // that a scheme is asked for

struct BuiltScheme {
  std::unique_ptr<nn::ParameterStore> store = std::make_unique<nn::ParameterStore>();
  std::unique_ptr<PositionScheme> scheme;
};

absl::StatusOr<BuiltScheme> Build(const SchemeSubject& subject, int64_t heads = kHeads) {
  BuiltScheme built;
  BuildArgs args{nn::Scope(built.store.get(), Rng(1))};
  args.width = subject.width;
  args.heads = heads;
  args.host_width = kHostWidth;
  LR_ASSIGN_OR_RETURN(built.scheme, subject.make(args));
  return built;
}

nn::Call At(int64_t horizon) {
  nn::Call call;
  call.horizon = horizon;
  call.rng = Rng(2);
  return call;
}

bool AllFinite(const std::vector<double>& values) {
  return std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); });
}

// Everything a scheme says for a length, as numbers.
std::vector<double> Says(const PositionScheme& scheme, int64_t width, int64_t length) {
  std::vector<double> numbers;
  if ((scheme.uses() & kRotary) != 0) {
    const RotaryAngles angles = scheme.RotaryFor(length, At(length));
    numbers = angles.inv_freq.ToDoubles();
    numbers.push_back(angles.magnitude);
  }
  if ((scheme.uses() & (kAtInput | kAtQk)) != 0) {
    const int64_t rows = (scheme.uses() & kAtQk) != 0 ? kHostWidth : width;
    const std::vector<double> added =
        scheme.AddTo(Tensor::Zeros({1, 3, rows}), {0}, At(length)).ToDoubles();
    numbers.insert(numbers.end(), added.begin(), added.end());
  }
  if ((scheme.uses() & kBias) != 0) {
    const ScoreBias bias = scheme.BiasFor(kHeads, At(length));
    for (const Tensor& t : {bias.slope_h, bias.table_hr}) {
      if (!t.defined()) continue;
      const std::vector<double> said = t.ToDoubles();
      numbers.insert(numbers.end(), said.begin(), said.end());
    }
  }
  return numbers;
}

Verdict ServesItsUses(const SchemeSubject& subject) {
  LR_CHECK_ASSIGN(const BuiltScheme built, Build(subject));
  const PositionScheme& scheme = *built.scheme;
  if (scheme.uses() == 0 || (scheme.uses() & ~(kAtInput | kRotary | kBias | kAtQk)) != 0)
    return Failed("uses() is ", scheme.uses(), ", not a sum of PositionUse values");
  for (const int64_t length : {1, 7, 1000, 1000000}) {
    if ((scheme.uses() & kRotary) != 0) {
      const RotaryAngles angles = scheme.RotaryFor(length, At(length));
      if (!angles.inv_freq.defined() || angles.inv_freq.dtype() != DType::kFloat64)
        return Failed("rotary frequencies are no float64 tensor");
      if (2 * angles.inv_freq.numel() > subject.width)
        return Failed(angles.inv_freq.numel(), " pairs of channels are rotated, a head has ",
                      subject.width, " channels");
      if (!(angles.magnitude > 0)) return Failed("the magnitude is ", angles.magnitude);
    }
    if ((scheme.uses() & kBias) != 0) {
      const ScoreBias bias = scheme.BiasFor(kHeads, At(length));
      if (bias.slope_h.defined() == bias.table_hr.defined())
        return Failed("declares a bias, but does not give one of slopes and a table");
      if (bias.slope_h.defined() && bias.slope_h.shape() != Shape({kHeads}))
        return Failed("declares a bias, but gives no slopes for ", kHeads, " heads");
      if (bias.table_hr.defined() &&
          (bias.table_hr.rank() != 2 || bias.table_hr.dim(0) != kHeads || bias.table_hr.dim(1) < 1))
        return Failed("declares a bias, but its table of ", bias.table_hr.shape().ToString(),
                      " is not of ", kHeads, " heads");
    }
    if (!AllFinite(Says(scheme, subject.width, length)))
      return Failed("not finite for ", length, " rows");
  }
  return Passed();
}

// Of a host: one that places fewer rows than it is asked for refuses them.
Verdict PlacesAsManyAsDeclared(const SchemeSubject& subject) {
  LR_CHECK_ASSIGN(const BuiltScheme built, Build(subject));
  const PositionScheme& scheme = *built.scheme;
  const int64_t most = scheme.max_positions();
  if (most < 0) return Failed("max_positions() is ", most);
  if ((scheme.uses() & (kAtInput | kAtQk)) == 0)
    return most == 0 ? DoesNotApply("adds nothing to rows")
                     : Failed("max_positions() is ", most, ", but it adds nothing to rows");
  constexpr int64_t kFar = 1000;
  const int64_t rows = most > 0 ? most : kFar,
                width = (scheme.uses() & kAtQk) != 0 ? kHostWidth : subject.width;
  const auto places = [&](int64_t first, int64_t count) {
    return scheme.AddTo(Tensor::Zeros({1, count, width}), {first}, At(rows)).ToDoubles();
  };
  const std::vector<double> all = places(0, rows), last = places(rows - 1, 1);
  if (!AllFinite(all)) return Failed("not finite for ", rows, " rows");
  if (!std::equal(last.begin(), last.end(), all.end() - width))
    return Failed("places row ", rows - 1, " elsewhere when it comes alone");
  if (rows > 1 && std::equal(last.begin(), last.end(), all.begin()))
    return Failed("places row ", rows - 1, " where row 0 is");
  // Padding in front has no place, whatever stands there.
  const std::vector<double> padded = places(-3, std::min<int64_t>(rows, 4) + 3);
  if (!AllFinite(padded)) return Failed("not finite for padding");
  if (!std::equal(all.begin(), all.begin() + width, padded.begin() + 3 * width))
    return Failed("places row 0 elsewhere behind padding");
  return Passed();
}

Verdict DependsOnLengthAsDeclared(const SchemeSubject& subject) {
  LR_CHECK_ASSIGN(const BuiltScheme built, Build(subject));
  const std::vector<double> shortest = Says(*built.scheme, subject.width, 1);
  bool depends = false;
  for (const int64_t length : {8, 64, 4096, 1000000})
    depends = depends || Says(*built.scheme, subject.width, length) != shortest;
  if (depends && !built.scheme->depends_on_length())
    return Failed("changes with the length, but depends_on_length() says no");
  if (!depends && built.scheme->depends_on_length())
    return Failed("depends_on_length() says yes, but from 1 to a million rows nothing changes");
  return Passed();
}

Verdict SaysTheSameTwice(const SchemeSubject& subject) {
  LR_CHECK_ASSIGN(const BuiltScheme one, Build(subject));
  LR_CHECK_ASSIGN(const BuiltScheme two, Build(subject));
  const std::vector<double> expected = Says(*two.scheme, subject.width, 100);
  for (const int64_t length : {100, 3, 100}) {
    const std::vector<double> said = Says(*one.scheme, subject.width, length);
    if (length == 100 && said != expected)
      return Failed("says other numbers for 100 rows than a scheme built like it");
  }
  return Passed();
}

Verdict IsRefusedByName(const SchemeSubject& subject) {
  LR_CHECK_ASSIGN(BuiltScheme built, Build(subject, /*heads=*/2));
  const uint32_t uses = built.scheme->uses();
  nn::ParameterStore store;
  BuildArgs args{nn::Scope(&store, Rng(1))};
  args.width = kHostWidth;
  AttentionHostOptions options;
  options.heads = 2;
  options.kv_heads = 1;
  options.head_width = subject.width;
  options.position = std::move(built.scheme);
  const absl::Status status = AttentionHost::Create(std::move(options), args).status();
  const bool served = (uses & ~AttentionHost::kHosts) == 0;
  if (served && !status.ok()) return Failed("attention refuses what it serves: ", status.message());
  if (!served && status.ok())
    return Failed("attention takes a scheme that asks for ", UseNames(uses));
  if (!served && !absl::StrContains(status.message(), UseNames(uses)))
    return Failed("refused without a name: ", status.message());
  return Passed();
}

struct BuiltRule {
  std::unique_ptr<nn::ParameterStore> store = std::make_unique<nn::ParameterStore>();
  std::unique_ptr<AttentionRule> rule;
};

absl::StatusOr<BuiltRule> Build(const RuleSubject& subject) {
  BuiltRule built;
  BuildArgs args{nn::Scope(built.store.get(), Rng(1))};
  args.width = 8;
  args.heads = kRuleHeads;
  LR_ASSIGN_OR_RETURN(built.rule, subject.make(args));
  return built;
}

std::vector<Span> SpansOf(const AttentionRule& rule, int64_t head, int64_t query, int64_t keys) {
  std::vector<Span> spans;
  rule.Spans(head, query, keys, At(keys), &spans);
  return spans;
}

constexpr int64_t kKeys[] = {1, 2, 7, 40, 130};

Verdict SpansAreInOrder(const RuleSubject& subject) {
  LR_CHECK_ASSIGN(const BuiltRule built, Build(subject));
  for (const int64_t keys : kKeys) {
    for (int64_t head = 0; head < kRuleHeads; ++head) {
      for (int64_t query = 0; query < keys; ++query) {
        int64_t last = 0;
        bool any = false;
        for (const Span& span : SpansOf(*built.rule, head, query, keys)) {
          if (span.begin < last || span.end <= span.begin || span.end > keys) {
            return Failed("query ", query, " of ", keys, ": span [", span.begin, ", ", span.end,
                          ") is empty, out of order or out of range");
          }
          any = any || span.begin <= query;
          last = span.end;
        }
        if (!any) return Failed("query ", query, " of ", keys, " sees no key up to itself");
      }
    }
  }
  return Passed();
}

Verdict EqualsDenseMask(const RuleSubject& subject) {
  if (subject.reference == nullptr)
    return Failed(
        "has no reference: register one in reference.cc (plugins/conformance/reference.h)");
  LR_CHECK_ASSIGN(const BuiltRule built, Build(subject));
  const AttentionRule& rule = *built.rule;
  for (const int64_t keys : kKeys) {
    for (int64_t head = 0; head < (rule.by_head() ? kRuleHeads : 1); ++head) {
      for (int64_t query = 0; query < keys; ++query) {
        std::vector<std::optional<double>> distance(keys);
        for (const Span& span : SpansOf(rule, head, query, keys)) {
          for (int64_t key = span.begin; key < std::min(span.end, query + 1); ++key)
            distance[key] = rule.QueryAt(span.branch, query) - rule.KeyAt(span.branch, key);
        }
        for (int64_t key = 0; key <= query; ++key) {
          const std::optional<double> wanted = subject.reference(head, query, key, keys);
          if (distance[key].has_value() != wanted.has_value()) {
            return Failed("head ", head, ", query ", query, " of ", keys,
                          wanted.has_value() ? " does not see" : " sees", " key ", key,
                          "; the reference says otherwise");
          }
          if (wanted.has_value() && !(std::abs(*distance[key] - *wanted) <= 1e-9)) {
            return Failed("head ", head, ", query ", query, " of ", keys, " sees key ", key,
                          " at distance ", *distance[key], "; the reference says ", *wanted);
          }
        }
      }
    }
  }
  return Passed();
}

// Branches beyond those declared have no positions, and branch 0 is where rows stand by themselves.
Verdict BranchesAreDeclared(const RuleSubject& subject) {
  LR_CHECK_ASSIGN(const BuiltRule built, Build(subject));
  const AttentionRule& rule = *built.rule;
  if (rule.branches() < 1) return Failed("branches() is ", rule.branches());
  for (const int64_t keys : kKeys) {
    for (int64_t head = 0; head < (rule.by_head() ? kRuleHeads : 1); ++head) {
      for (int64_t query = 0; query < keys; ++query) {
        for (const Span& span : SpansOf(rule, head, query, keys)) {
          if (span.branch < 0 || span.branch >= rule.branches())
            return Failed("query ", query, " of ", keys, " names branch ", span.branch, " of ",
                          rule.branches());
        }
      }
    }
  }
  for (const int64_t row : {0, 1, 7, 1000, 1000000}) {
    if (rule.QueryAt(0, row) != static_cast<double>(row) ||
        rule.KeyAt(0, row) != static_cast<double>(row))
      return Failed("branch 0 moves row ", row);
    for (int32_t branch = 0; branch < rule.branches(); ++branch) {
      if (!std::isfinite(rule.QueryAt(branch, row)) || !std::isfinite(rule.KeyAt(branch, row)))
        return Failed("branch ", branch, " puts row ", row, " at no finite position");
    }
  }
  return Passed();
}

Verdict HeadsDifferAsDeclared(const RuleSubject& subject) {
  LR_CHECK_ASSIGN(const BuiltRule built, Build(subject));
  bool differ = false;
  for (int64_t head = 1; head < kRuleHeads; ++head) {
    for (int64_t query = 0; query < 130; ++query) {
      const std::vector<Span> a = SpansOf(*built.rule, 0, query, 130),
                              b = SpansOf(*built.rule, head, query, 130);
      differ =
          differ ||
          !std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Span& x, const Span& y) {
            return x.begin == y.begin && x.end == y.end && x.branch == y.branch;
          });
    }
  }
  if (differ && !built.rule->by_head())
    return Failed("heads see different keys, but by_head() says no");
  return Passed();
}

// What a cache may forget once `seen` rows went by is not named by any later query.
Verdict KeepsWhatItNeeds(const RuleSubject& subject) {
  LR_CHECK_ASSIGN(const BuiltRule built, Build(subject));
  const auto [first, last] = built.rule->Keep();
  if (first < 0 || last < 0)
    return first == last ? Passed() : Failed("Keep() is half bounded: {", first, ", ", last, "}");
  constexpr int64_t kRows = 130;
  for (int64_t seen = 1; seen < kRows; ++seen) {
    for (int64_t query = seen; query < kRows; ++query) {
      for (int64_t head = 0; head < (built.rule->by_head() ? kRuleHeads : 1); ++head) {
        for (const Span& span : SpansOf(*built.rule, head, query, query + 1)) {
          const int64_t begin = std::max(span.begin, first), end = std::min(span.end, seen - last);
          if (begin < end) {
            return Failed("after ", seen, " rows key ", begin, " may be forgotten (Keep() is {",
                          first, ", ", last, "}), but query ", query, " sees it");
          }
        }
      }
    }
  }
  return Passed();
}

Verdict SeesAsManyAsDeclared(const RuleSubject& subject) {
  LR_CHECK_ASSIGN(const BuiltRule built, Build(subject));
  const auto count = [&](int64_t keys) {
    int64_t sum = 0;
    for (const Span& span : SpansOf(*built.rule, 0, keys - 1, keys))
      sum += std::min(span.end, keys) - span.begin;
    return sum;
  };
  const bool constant = count(1024) == count(4096);
  if (constant != (built.rule->keys_seen() == Growth::kConstant)) {
    return Failed("the last of 1024 and of 4096 queries sees ", count(1024), " and ", count(4096),
                  " keys, which is not what keys_seen() declares");
  }
  return Passed();
}

}  // namespace

const std::vector<SchemeCheck>& SchemeChecks() {
  static const auto* checks = new std::vector<SchemeCheck>{
      {"ServesItsUses", "gives what its uses declare, finite at any length", ServesItsUses},
      {"PlacesAsManyAsDeclared", "places each row by itself, up to as many as declared",
       PlacesAsManyAsDeclared},
      {"DependsOnLengthAsDeclared", "depends on the length only if declared",
       DependsOnLengthAsDeclared},
      {"SaysTheSameTwice", "what it says depends on the question alone", SaysTheSameTwice},
      {"IsRefusedByName", "a host that cannot serve it says what it asks for", IsRefusedByName},
  };
  return *checks;
}

const std::vector<RuleCheck>& RuleChecks() {
  static const auto* checks = new std::vector<RuleCheck>{
      {"SpansAreInOrder", "spans ascend, do not overlap, and leave no query without a key",
       SpansAreInOrder},
      {"EqualsDenseMask", "spans and distances are the reference's", EqualsDenseMask},
      {"BranchesAreDeclared", "spans name branches there are, and branch 0 moves nothing",
       BranchesAreDeclared},
      {"HeadsDifferAsDeclared", "heads differ only if declared", HeadsDifferAsDeclared},
      {"KeepsWhatItNeeds", "a cache forgets nothing that a later query sees", KeepsWhatItNeeds},
      {"SeesAsManyAsDeclared", "the number of keys seen grows as declared", SeesAsManyAsDeclared},
  };
  return *checks;
}

}  // namespace longrange::conformance
