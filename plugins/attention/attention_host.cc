#include "plugins/attention/attention_host.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/autograd/ops.h"
#include "common/autograd/tape.h"
#include "plugins/attention/plain_attention.h"
#include "plugins/attention/rotation.h"

namespace longrange {
namespace {

// What a call needs besides its tensors; shared by all layers that ask alike.
struct Plans {
  // For all heads, or one each.
  std::vector<std::vector<kernels::SpanPlan>> by_branch;
};

template <typename T>
std::shared_ptr<const T> Memoized(const nn::Call& call, const std::string& key,
                                  const std::function<std::shared_ptr<const T>()>& make) {
  return call.memo != nullptr ? call.memo->Get<T>(key, make) : make();
}

std::vector<double> From(int64_t first, int64_t count) {
  std::vector<double> positions(count);
  for (int64_t i = 0; i < count; ++i) positions[i] = static_cast<double>(first + i);
  return positions;
}

std::shared_ptr<const Plans> PlansInDirection(nn::Direction direction, int64_t queries,
                                              int64_t keys) {
  auto plans = std::make_shared<Plans>();
  plans->by_branch.push_back({direction == nn::Direction::kCausal
                                  ? kernels::SpanPlan::Causal(queries, keys)
                                  : kernels::SpanPlan::Full(queries, keys)});
  return plans;
}

// Query q sees the keys before frontier_t[q].
std::shared_ptr<const Plans> PlansUpTo(const Tensor& frontier_t, int64_t queries, int64_t keys) {
  CHECK(frontier_t.shape() == Shape({queries}) && frontier_t.dtype() == DType::kInt32)
      << "a frontier " << frontier_t.shape() << " of " << Name(frontier_t.dtype()) << " for "
      << queries << " rows (expected int32)";
  std::vector<std::vector<kernels::KeySpan>> spans_q(queries);
  for (int64_t q = 0; q < queries; ++q) {
    const int64_t end = frontier_t.data<int32_t>()[q];
    CHECK(0 <= end && end <= keys)
        << "row " << q << ": a frontier of " << end << " where there are " << keys << " rows";
    spans_q[q] = {{0, end}};
  }
  auto plans = std::make_shared<Plans>();
  plans->by_branch.push_back({kernels::SpanPlan::FromSpans(keys, spans_q)});
  return plans;
}

// Plans for the queries at stream positions [first, first + queries), those before 0 being padding,
// and a cache of `keys` rows of which `runs` are real.
std::shared_ptr<const Plans> PlansOf(const AttentionRule& rule, nn::Direction direction,
                                     int64_t heads, int64_t first, int64_t queries,
                                     const std::vector<KeyRun>& runs, int64_t keys,
                                     const nn::Call& call) {
  auto plans = std::make_shared<Plans>();
  plans->by_branch.resize(rule.branches());
  const int64_t total = runs.back().position + runs.back().count;
  for (int64_t head = 0; head < (rule.by_head() ? heads : 1); ++head) {
    std::vector<std::vector<std::vector<kernels::KeySpan>>> spans_bq(
        rule.branches(), std::vector<std::vector<kernels::KeySpan>>(queries));
    std::vector<Span> spans;
    for (int64_t q = std::max<int64_t>(0, -first); q < queries; ++q) {
      spans.clear();
      rule.Spans(head, first + q, total, call, &spans);
      const int64_t limit =
          direction == nn::Direction::kCausal ? std::min(total, first + q + 1) : total;
      for (const Span& span : spans) {
        CHECK(span.branch >= 0 && span.branch < rule.branches())
            << "rule: branch " << span.branch << " of " << rule.branches();
        for (const KeyRun& run : runs) {
          const int64_t begin = std::max(span.begin, run.position),
                        end = std::min({span.end, limit, run.position + run.count});
          const int64_t shift = run.at - run.position;
          if (begin < end) spans_bq[span.branch][q].push_back({begin + shift, end + shift});
        }
      }
    }
    for (int32_t b = 0; b < rule.branches(); ++b)
      plans->by_branch[b].push_back(kernels::SpanPlan::FromSpans(keys, spans_bq[b]));
  }
  return plans;
}

// The padding on the left of each sample, of `rows` rows in all.
std::vector<int64_t> BeginOf(const Tensor& begin_b, int64_t batch, int64_t rows, bool is_meta) {
  std::vector<int64_t> begin(batch, 0);
  if (!begin_b.defined() || is_meta) return begin;
  for (int64_t b = 0; b < batch; ++b)
    begin[b] = std::min(std::max<int64_t>(begin_b.data<int64_t>()[b], 0), rows);
  return begin;
}

// Where the first row behind `seen` ones stands in each sample's text.
std::vector<int64_t> After(int64_t seen, const std::vector<int64_t>& begin_b) {
  std::vector<int64_t> first_b;
  for (const int64_t begin : begin_b) first_b.push_back(seen - begin);
  return first_b;
}

Tensor SamplesOf(const Tensor& t, int64_t begin, int64_t end) {
  return end - begin < t.dim(0) ? Narrow(t, 0, begin, end - begin) : t;
}

nn::Rows SamplesOf(const nn::Rows& rows, int64_t begin, int64_t end) {
  nn::Rows some;
  if (rows.begin_b.defined()) some.begin_b = rows.begin_b.ViewRows(begin, end);
  if (rows.end_b.defined()) some.end_b = rows.end_b.ViewRows(begin, end);
  some.frontier_t = rows.frontier_t;
  return some;
}

// fn(first sample, end, value) for each run of samples with one value, the results one behind the
// other. A rule's plans are the same for samples that begin at the same row.
Tensor BySamples(const std::vector<int64_t>& value_b,
                 const std::function<Tensor(int64_t, int64_t, int64_t)>& fn) {
  const int64_t batch = static_cast<int64_t>(value_b.size());
  if (batch == 0) return fn(0, 0, 0);
  std::vector<Tensor> parts;
  for (int64_t b = 0, end = 0; b < batch; b = end) {
    while (end < batch && value_b[end] == value_b[b]) ++end;
    parts.push_back(fn(b, end, value_b[b]));
  }
  return parts.size() == 1 ? parts[0] : Concat(parts, 0);
}

}  // namespace

absl::Status CreateParts(const google::protobuf::Any* position, const google::protobuf::Any* rule,
                         const BuildArgs& args, AttentionHostOptions* options) {
  BuildArgs part = args;
  part.width = options->head_width;
  part.host_width = args.width;
  part.heads = options->heads;
  if (position != nullptr) {
    part.scope = args.scope.Child("position");
    LR_ASSIGN_OR_RETURN(options->position, Registry<PositionScheme>::Get().Create(*position, part));
  }
  if (rule != nullptr) {
    part.scope = args.scope.Child("rule");
    LR_ASSIGN_OR_RETURN(options->rule, Registry<AttentionRule>::Get().Create(*rule, part));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<AttentionHost>> AttentionHost::Create(AttentionHostOptions options,
                                                                     const BuildArgs& args) {
  if (options.heads < 1)
    return absl::InvalidArgumentError(
        absl::StrCat("heads: ", options.heads, " (expected 1 or more)"));
  if (options.kv_heads < 1 || options.heads % options.kv_heads != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("kv_heads: ", options.kv_heads, " does not divide heads: ", options.heads));
  }
  if (options.head_width < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("head_width: ", options.head_width, " (expected 1 or more)"));
  }
  if (options.position != nullptr && (options.position->uses() & ~kHosts) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("position: attention carries out ",
                                                   UseNames(kHosts), "; this scheme asks for ",
                                                   UseNames(options.position->uses())));
  }
  if (options.position != nullptr && (options.position->uses() & kBias) != 0) {
    const ScoreBias bias = options.position->BiasFor(options.heads, nn::Call());
    CHECK(bias.slope_h.defined() != bias.table_hr.defined()) << "a bias is slopes or a table";
    const int64_t heads = bias.slope_h.defined() ? bias.slope_h.numel() : bias.table_hr.dim(0);
    if (heads != options.heads) {
      return absl::InvalidArgumentError(absl::StrCat("position: ", heads,
                                                     bias.slope_h.defined() ? " slopes" : " tables",
                                                     " for ", options.heads, " heads"));
    }
  }
  if (options.rule != nullptr && options.rule->branches() > 1) {
    if (options.position != nullptr && (options.position->uses() & (kBias | kAtQk)) != 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "rule: keys of its branches stand at other distances than their rows, which ",
          UseNames(options.position->uses() & (kBias | kAtQk)),
          " go by (expected rotary positions or none)"));
    }
    if (options.freeze_cached_keys) {
      return absl::InvalidArgumentError(
          "freeze_cached_keys: the rule moves cached keys (expected false)");
    }
  }
  std::unique_ptr<AttentionHost> host(new AttentionHost);
  host->width_ = args.width;
  host->traits_.direction = args.direction;
  host->traits_.streams = args.direction == nn::Direction::kCausal;
  const Growth seen = options.rule == nullptr ? Growth::kLinear : options.rule->keys_seen();
  CHECK(seen != Growth::kQuadratic) << "no query sees more keys than there are";
  host->traits_.flops = seen == Growth::kConstant ? Growth::kLinear : Growth::kQuadratic;
  host->traits_.padding = MixerTraits::kBothSides;
  host->traits_.frontier = args.direction == nn::Direction::kCausal && options.rule == nullptr;
  host->traits_.hosts = kHosts;
  host->traits_.taps = {"attention", "head_out"};
  if (options.position != nullptr) host->traits_.max_tokens = options.position->max_positions();
  const int64_t q_width = options.heads * options.head_width,
                kv_width = options.kv_heads * options.head_width;
  const nn::Init init = nn::Normal(options.init_std);
  host->w_q_ = args.scope.Linear("w_q", {q_width, args.width}, init);
  host->w_k_ = args.scope.Linear("w_k", {kv_width, args.width}, init);
  host->w_v_ = args.scope.Linear("w_v", {kv_width, args.width}, init);
  host->w_o_ = args.scope.Linear(
      "w_o", {args.width, q_width},
      nn::Normal(options.init_std / std::sqrt(2.0 * static_cast<double>(args.num_layers))));
  if (options.biases) {
    const nn::Tags no_decay = {"default", /*decay=*/false};
    host->b_q_ = args.scope.Param("b_q", {q_width}, nn::Zeros(), no_decay);
    host->b_k_ = args.scope.Param("b_k", {kv_width}, nn::Zeros(), no_decay);
    host->b_v_ = args.scope.Param("b_v", {kv_width}, nn::Zeros(), no_decay);
    host->b_o_ = args.scope.Param("b_o", {args.width}, nn::Zeros(), no_decay);
  }
  host->options_ = std::move(options);
  host->traits_.state = host->Forgets() ? Growth::kConstant : Growth::kLinear;
  return host;
}

bool AttentionHost::Uses(PositionUse use) const {
  return options_.position != nullptr && (options_.position->uses() & use) != 0;
}

AttentionHost::Projected AttentionHost::Project(const Tensor& x_btd,
                                                const std::vector<int64_t>& first_b,
                                                const nn::Call& call) const {
  std::vector<Tensor> qkv;
  if (Uses(kAtQk)) {
    qkv =
        Linears(options_.position->AddTo(x_btd, first_b, call.Child("position")), {w_q_(), w_k_()});
    qkv.push_back(Linear(x_btd, w_v_()));
  } else {
    qkv = Linears(x_btd, {w_q_(), w_k_(), w_v_()});
  }
  if (b_q_.defined()) qkv = {Add(qkv[0], b_q_), Add(qkv[1], b_k_), Add(qkv[2], b_v_)};
  const int64_t batch = x_btd.dim(0), rows = x_btd.dim(1);
  return {Reshape(qkv[0], {batch, rows, options_.heads, options_.head_width}),
          Reshape(qkv[1], {batch, rows, options_.kv_heads, options_.head_width}),
          Reshape(qkv[2], {batch, rows, options_.kv_heads, options_.head_width})};
}

bool AttentionHost::Forgets() const {
  const AttentionRule* rule = options_.rule.get();
  if (rule == nullptr || rule->Keep().second < 0) return false;
  // A bias counts distances in the rows of the cache, which stand side by side only without first
  // ones.
  return !Uses(kBias) || rule->Keep().first == 0;
}

AttentionHost::Stand AttentionHost::StandOf(int64_t queries, int64_t keys, int64_t total,
                                            int64_t begin, bool rotated) const {
  Stand stand;
  stand.query = total - queries - begin;
  stand.begin = begin;
  stand.keys_are_rotated = rotated;
  const int64_t real = total - begin;
  if (real <= keys) {
    stand.keys = {{0, keys - real, real}};
  } else {
    const int64_t first =
        options_.rule == nullptr ? 0 : std::max<int64_t>(0, options_.rule->Keep().first);
    stand.keys = {{0, 0, first}, {real - (keys - first), first, keys - first}};
  }
  return stand;
}

Tensor AttentionHost::Kept(const Tensor& cached_bskp, int64_t total,
                           const std::vector<int64_t>& begin_b) const {
  const auto [first, last] = options_.rule->Keep();
  const int64_t keys = cached_bskp.dim(1);
  if (keys <= first + last) return cached_bskp;
  return BySamples(begin_b, [&, f = first, l = last](int64_t b, int64_t end, int64_t begin) {
    const Tensor cached = SamplesOf(cached_bskp, b, end);
    const int64_t real = total - begin;
    if (f == 0 || real <= f + l) return Narrow(cached, 1, keys - f - l, f + l);
    return Concat(
        {Narrow(cached, 1, std::max<int64_t>(0, keys - real), f), Narrow(cached, 1, keys - l, l)},
        1);
  });
}

Tensor AttentionHost::Rotate(const Tensor& x_bthp, const std::vector<double>& positions,
                             int64_t length, const nn::Call& call) const {
  return RotateTo(options_.position.get(), x_bthp, positions, length, call);
}

std::vector<kernels::AttentionInputs> AttentionHost::Branches(
    const Tensor& q_bthp, const Tensor& k_bskp, const Tensor& v_bskp, const Stand& stand,
    const nn::Rows& rows, int64_t length, const nn::Call& call,
    std::shared_ptr<const void>* owner) const {
  const int64_t queries = q_bthp.dim(1), keys = k_bskp.dim(1);
  const AttentionRule* rule = options_.rule.get();
  std::string key = absl::StrCat("plans ", rule == nullptr ? "all" : call.path, " ", queries, " ",
                                 keys, " ", stand.query);
  for (const KeyRun& run : stand.keys)
    absl::StrAppend(&key, " ", run.position, " ", run.at, " ", run.count);
  const bool frontier = rows.frontier_t.defined();
  if (frontier) {
    CHECK(traits_.frontier) << "this attention does not take a frontier";
    absl::StrAppend(&key, " up to ", absl::StrJoin(rows.frontier_t.ToInts(), " "));
  }
  const auto plans = Memoized<Plans>(call, key, [&] {
    if (frontier) return PlansUpTo(rows.frontier_t, queries, keys);
    return rule == nullptr ? PlansInDirection(traits_.direction, queries, keys)
                           : PlansOf(*rule, traits_.direction, options_.heads, stand.query, queries,
                                     stand.keys, keys, call);
  });
  *owner = plans;

  kernels::AttentionInputs in;
  in.v_bshe = v_bskp;
  in.begin_b = rows.begin_b;
  in.end_b = rows.end_b;
  if (queries == keys) {
    in.query_begin_b = rows.begin_b;
    in.query_end_b = rows.end_b;
  }
  if (Uses(kBias)) {
    const ScoreBias bias = options_.position->BiasFor(options_.heads, call);
    in.slope_h = bias.slope_h;
    in.table_hr = bias.table_hr;
  }
  std::vector<kernels::AttentionInputs> branches;
  for (size_t branch = 0; branch < plans->by_branch.size(); ++branch) {
    const std::vector<kernels::SpanPlan>& by_head = plans->by_branch[branch];
    const bool empty =
        std::all_of(by_head.begin(), by_head.end(),
                    [](const kernels::SpanPlan& plan) { return plan.VisiblePairs() == 0; });
    const bool last = branch + 1 == plans->by_branch.size();
    if (empty && !(last && branches.empty())) continue;
    // What is padding stands anywhere. The common offset does not matter; with it, keys that were
    // rotated when they came, at the row of the stream, fit.
    std::vector<double> query_at = From(stand.begin + stand.query, queries),
                        key_at(keys, static_cast<double>(stand.begin));
    const int32_t b = static_cast<int32_t>(branch);
    if (rule != nullptr) {
      for (int64_t q = std::max<int64_t>(0, -stand.query); q < queries; ++q)
        query_at[q] = static_cast<double>(stand.begin) + rule->QueryAt(b, stand.query + q);
    }
    for (const KeyRun& run : stand.keys) {
      for (int64_t i = 0; i < run.count; ++i) {
        const int64_t position = run.position + i;
        key_at[run.at + i] =
            static_cast<double>(stand.begin) +
            (rule != nullptr ? rule->KeyAt(b, position) : static_cast<double>(position));
      }
    }
    in.q_bthd = Rotate(q_bthp, query_at, length, call);
    in.k_bshd = stand.keys_are_rotated ? k_bskp : Rotate(k_bskp, key_at, length, call);
    in.plans.clear();
    for (const kernels::SpanPlan& plan : by_head) in.plans.push_back(&plan);
    branches.push_back(in);
  }
  return branches;
}

Tensor AttentionHost::Attend(const Attended& all, const nn::Call& call) const {
  const int64_t queries = all.q_bthp.dim(1), keys = all.k_bskp.dim(1);
  const bool plain = call.Wants("attention");
  // Without a rule nothing depends on where padding ends, and the samples go together.
  const std::vector<int64_t> apart =
      options_.rule != nullptr ? all.begin_b : std::vector<int64_t>(all.begin_b.size(), 0);
  Tensor mixed_bthp = BySamples(apart, [&](int64_t b, int64_t end, int64_t begin) {
    std::shared_ptr<const void> plans;
    const std::vector<kernels::AttentionInputs> branches = Branches(
        SamplesOf(all.q_bthp, b, end), SamplesOf(all.k_bskp, b, end), SamplesOf(all.v_bskp, b, end),
        StandOf(queries, keys, all.total, begin, all.keys_are_rotated), SamplesOf(all.rows, b, end),
        all.length, call, &plans);
    if (plain) return PlainProbabilities(branches);
    return branches.size() == 1 ? Attention(branches[0], plans).out_bthe
                                : BranchedAttention(branches, plans).out_bthe;
  });
  if (plain) mixed_bthp = PlainMix(call.Tap("attention", mixed_bthp), all.v_bskp);
  if (call.Wants("head_out")) mixed_bthp = call.Tap("head_out", mixed_bthp);
  return Linear(
      Reshape(mixed_bthp, {mixed_bthp.dim(0), queries, options_.heads * options_.head_width}),
      w_o_(), b_o_);
}

Tensor AttentionHost::Forward(const Tensor& x_btd, const nn::Rows& rows,
                              const nn::Call& call) const {
  const int64_t total = x_btd.dim(1);
  const std::vector<int64_t> begin_b = BeginOf(rows.begin_b, x_btd.dim(0), total, x_btd.is_meta());
  const std::vector<int64_t> first_b = After(0, begin_b);
  Projected p = Project(x_btd, first_b, call);
  if (options_.key_filter != nullptr)
    p.k_btkp =
        options_.key_filter->Filter(Concat({NoneBefore(x_btd.dim(0)), p.k_btkp}, 1), first_b);
  return Attend({p.q_bthp, p.k_btkp, p.v_btkp, total, begin_b, rows, /*keys_are_rotated=*/false,
                 call.horizon > 0 ? call.horizon : total},
                call);
}

nn::State AttentionHost::NewState(int64_t batch) const {
  nn::State state;
  const Shape none = {batch, 0, options_.kv_heads, options_.head_width};
  state.Set("k", Tensor::Empty(none, w_k_.dtype(), w_k_.device()));
  state.Set("v", Tensor::Empty(none, w_k_.dtype(), w_k_.device()));
  state.Set("seen", Tensor::Zeros({batch}, DType::kInt64));
  state.Set("begin", Tensor::Zeros({batch}, DType::kInt64));
  if (options_.key_filter != nullptr) state.Set("before", NoneBefore(batch));
  return state;
}

Tensor AttentionHost::NoneBefore(int64_t batch) const {
  return Tensor::Zeros(
      {batch, options_.key_filter->reach(), options_.kv_heads, options_.head_width}, w_k_.dtype(),
      w_k_.device());
}

Tensor AttentionHost::Extend(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call,
                             nn::State* state) const {
  CHECK(!rows.end_b.defined()) << "a stream is not padded on the right";
  const int64_t batch = x_btd.dim(0), new_rows = x_btd.dim(1);
  const int64_t seen = state->Get("seen").data<int64_t>()[0];
  const int64_t length = call.horizon > 0 ? call.horizon : seen + new_rows;
  if (rows.begin_b.defined()) {
    CHECK_EQ(seen, 0) << "padding on the left belongs to the first rows of a stream";
    state->Set("begin", rows.begin_b.Clone());
  }

  const int64_t total = seen + new_rows;
  const std::vector<int64_t> begin_b = BeginOf(state->Get("begin"), batch, total, x_btd.is_meta());
  const std::vector<int64_t> first_b = After(seen, begin_b);
  Projected p = Project(x_btd, first_b, call);
  if (options_.key_filter != nullptr) {
    const Tensor projected = Concat({state->Get("before"), p.k_btkp}, 1);
    const int64_t reach = options_.key_filter->reach();
    state->Set("before", Narrow(projected, 1, new_rows, reach));
    p.k_btkp = options_.key_filter->Filter(projected, first_b);
  }
  const bool rotated = options_.freeze_cached_keys ||
                       ((options_.position == nullptr || !options_.position->depends_on_length()) &&
                        (options_.rule == nullptr || options_.rule->branches() == 1));
  state->Append("k", rotated ? Rotate(p.k_btkp, From(seen, new_rows), length, call) : p.k_btkp);
  state->Append("v", p.v_btkp);
  const Tensor k_bskp = state->Get("k"), v_bskp = state->Get("v");
  const int64_t keys = k_bskp.dim(1);
  const bool padded = std::any_of(begin_b.begin(), begin_b.end(), [](int64_t b) { return b > 0; });
  nn::Rows key_rows;  // left padding, counted in the keys that are kept
  key_rows.frontier_t = rows.frontier_t;
  if (padded) {
    key_rows.begin_b = Tensor::Empty({batch}, DType::kInt64);
    for (int64_t b = 0; b < batch; ++b)
      key_rows.begin_b.mutable_data<int64_t>()[b] =
          std::max<int64_t>(0, keys - (total - begin_b[b]));
  }
  const Tensor y =
      Attend({p.q_bthp, k_bskp, v_bskp, total, begin_b, key_rows, rotated, length}, call);
  // A later query needs no more than what the rule names.
  if (Forgets()) {
    state->Set("k", Kept(k_bskp, total, begin_b));
    state->Set("v", Kept(v_bskp, total, begin_b));
  }
  state->Set("seen", Tensor::Full({batch}, static_cast<double>(total), DType::kInt64));
  return y;
}

HeadMaps AttentionHost::Heads() const {
  const NoGradScope no_grad;
  const int64_t heads = options_.heads, kv_heads = options_.kv_heads, p = options_.head_width;
  const auto by_head = [&](const Tensor& w) {
    const int64_t width = w.dim(1);
    return Reshape(
        BroadcastTo(Reshape(w, {kv_heads, 1, p, width}), {kv_heads, heads / kv_heads, p, width}),
        {heads, p, width});
  };
  return {Reshape(w_q_(), {heads, p, width_}), by_head(w_k_()), by_head(w_v_()),
          Permute(Reshape(w_o_(), {width_, heads, p}), {1, 0, 2})};
}

}  // namespace longrange
