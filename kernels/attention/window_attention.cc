#include "kernels/attention/window_attention.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <set>

#include "common/base/thread_pool.h"
#include "common/base/trace.h"
#include "common/tensor/cost.h"
#include "kernels/attention/joint_softmax.h"
#include "kernels/elementwise/elementwise.h"

namespace longrange::kernels {
namespace {

int64_t DilationOf(const WindowAttentionInputs& in, int64_t h) {
  return in.dilation_h[in.dilation_h.size() == 1 ? 0 : h];
}

bool HasGlobals(const WindowAttentionInputs& in) {
  return std::any_of(in.global_b.begin(), in.global_b.end(),
                     [](const std::vector<int64_t>& rows) { return !rows.empty(); });
}

void Check(const WindowAttentionInputs& in) {
  CHECK(in.q_bthd.rank() == 4 && in.k_bshd.rank() == 4 && in.v_bshe.rank() == 4 &&
        in.k_bshd.dim(2) == in.q_bthd.dim(2))
      << "window attention: want q [B,T,H,D], k [B,S,H,D], v [B,S,H,E], got " << in.q_bthd.shape()
      << ", " << in.k_bshd.shape() << ", " << in.v_bshe.shape();
  CHECK(in.back >= 0 && in.ahead >= 0)
      << "window attention: " << in.back << " back, " << in.ahead << " ahead";
  CHECK(in.dilation_h.size() == 1 || static_cast<int64_t>(in.dilation_h.size()) == in.q_bthd.dim(2))
      << "window attention: " << in.dilation_h.size() << " dilations for " << in.q_bthd.dim(2)
      << " heads; want 1 or one a head";
  for (const int64_t d : in.dilation_h) CHECK_GE(d, 1) << "window attention: dilation";
  if (in.global_b.empty()) return;
  CHECK_EQ(static_cast<int64_t>(in.global_b.size()), in.q_bthd.dim(0))
      << "window attention: global keys of another number of samples";
  for (const std::vector<int64_t>& rows : in.global_b) {
    for (size_t g = 0; g < rows.size(); ++g) {
      CHECK(rows[g] >= (g == 0 ? 0 : rows[g - 1] + 1) && rows[g] < in.k_bshd.dim(1))
          << "window attention: global key " << rows[g] << " of " << in.k_bshd.dim(1)
          << " (expected ascending)";
    }
  }
}

int64_t At(const Tensor& bound_b, int64_t b, int64_t otherwise) {
  return bound_b.defined() ? bound_b.data<int64_t>()[b] : otherwise;
}

// ---- The window ----

// The rows of a sequence by their distance from the last one modulo `dilation`: class c holds those
// of remainder c, in order. All have `length` places; where there are fewer rows the first are
// empty, so that queries and keys of a class end together, as in a SpanPlan.
struct Classes {
  Classes(int64_t all_rows, int64_t by, int64_t num)
      : rows(all_rows), dilation(by), count(num), length((all_rows + by - 1) / by) {}

  // The row at a place; < 0: empty.
  int64_t Row(int64_t c, int64_t place) const {
    return rows - 1 - c - (length - 1 - place) * dilation;
  }
  // The first place whose row is `row` or later.
  int64_t FirstFrom(int64_t c, int64_t row) const {
    const int64_t behind = rows - 1 - c - std::max<int64_t>(row, 0);
    return behind < 0 ? length : length - 1 - behind / dilation;
  }

  int64_t rows, dilation, count, length;
};

// The places of real rows, [B count] each: those that `begin_b` and `end_b` leave of a sequence's.
struct Bounds {
  Tensor begin, end;
};

Bounds BoundsOf(const Classes& classes, int64_t batch, const Tensor& begin_b, const Tensor& end_b,
                bool is_meta) {
  if (is_meta || (classes.rows % classes.dilation == 0 && !begin_b.defined() && !end_b.defined()))
    return {};
  const Bounds bounds = {Tensor::Empty({batch * classes.count}, DType::kInt64),
                         Tensor::Empty({batch * classes.count}, DType::kInt64)};
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t c = 0; c < classes.count; ++c) {
      bounds.begin.mutable_data<int64_t>()[b * classes.count + c] =
          classes.FirstFrom(c, At(begin_b, b, 0));
      bounds.end.mutable_data<int64_t>()[b * classes.count + c] =
          classes.FirstFrom(c, At(end_b, b, classes.rows));
    }
  }
  return bounds;
}

// Calls fn(b, c, place, row) for all places, several at a time.
template <typename Fn>
void ForPlaces(const Classes& classes, int64_t batch, Fn&& fn) {
  constexpr int64_t kGrain = 64;
  ParallelForRange(batch * classes.count * classes.length, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t place = i % classes.length, c = i / classes.length % classes.count;
      fn(i / classes.length / classes.count, c, place, classes.Row(c, place));
    }
  });
}

// The heads of one dilation.
struct Group {
  int64_t dilation;
  std::vector<int64_t> heads;
};

std::vector<Group> GroupsOf(const WindowAttentionInputs& in) {
  std::vector<Group> groups;
  for (int64_t h = 0; h < in.q_bthd.dim(2); ++h) {
    const int64_t dilation = DilationOf(in, h);
    auto group = std::find_if(groups.begin(), groups.end(),
                              [&](const Group& g) { return g.dilation == dilation; });
    if (group == groups.end()) group = groups.insert(groups.end(), {dilation, {}});
    group->heads.push_back(h);
  }
  return groups;
}

// x [B, N, H, W] -> [B count, length, heads of the group, W]; empty places are 0.
Tensor Gather(const Tensor& x, const Group& group, const Classes& classes) {
  const int64_t batch = x.dim(0), heads = static_cast<int64_t>(group.heads.size());
  const Tensor y = Tensor::Empty({batch * classes.count, classes.length, heads, x.dim(3)},
                                 x.dtype(), x.device());
  RecordCost(0, 2.0 * static_cast<double>(y.bytes()));
  if (x.is_meta()) return y;
  const int64_t row_bytes = x.dim(3) * SizeOf(x.dtype());
  const char* from = static_cast<const char*>(x.raw_data());
  char* to = static_cast<char*>(y.mutable_raw_data());
  ForPlaces(classes, batch, [&](int64_t b, int64_t c, int64_t place, int64_t row) {
    char* at = to + ((b * classes.count + c) * classes.length + place) * heads * row_bytes;
    if (row < 0) {
      std::memset(at, 0, heads * row_bytes);
      return;
    }
    for (int64_t h = 0; h < heads; ++h) {
      std::memcpy(at + h * row_bytes,
                  from + ((b * classes.rows + row) * x.dim(2) + group.heads[h]) * row_bytes,
                  row_bytes);
    }
  });
  return y;
}

// The reverse, into x.
void Scatter(const Tensor& y, const Group& group, const Classes& classes, const Tensor& x) {
  RecordCost(0, 2.0 * static_cast<double>(y.bytes()));
  if (x.is_meta()) return;
  const int64_t heads = static_cast<int64_t>(group.heads.size()),
                row_bytes = x.dim(3) * SizeOf(x.dtype());
  const char* from = static_cast<const char*>(y.raw_data());
  char* to = static_cast<char*>(x.mutable_raw_data());
  ForPlaces(classes, x.dim(0), [&](int64_t b, int64_t c, int64_t place, int64_t row) {
    if (row < 0) return;
    const char* at = from + ((b * classes.count + c) * classes.length + place) * heads * row_bytes;
    for (int64_t h = 0; h < heads; ++h) {
      std::memcpy(to + ((b * classes.rows + row) * x.dim(2) + group.heads[h]) * row_bytes,
                  at + h * row_bytes, row_bytes);
    }
  });
}

// lse [B, H, T] -> [B count, heads of the group, length]; empty places are -inf.
template <typename T>
void GatherLse(const Tensor& lse_bht, const Group& group, const Classes& classes,
               const Tensor& to) {
  const int64_t heads = static_cast<int64_t>(group.heads.size());
  ForPlaces(classes, lse_bht.dim(0), [&](int64_t b, int64_t c, int64_t place, int64_t row) {
    for (int64_t h = 0; h < heads; ++h) {
      to.mutable_data<T>()[((b * classes.count + c) * heads + h) * classes.length + place] =
          row < 0 ? -std::numeric_limits<T>::infinity()
                  : lse_bht.data<T>()[(b * lse_bht.dim(1) + group.heads[h]) * classes.rows + row];
    }
  });
}

template <typename T>
void ScatterLse(const Tensor& from, const Group& group, const Classes& classes,
                const Tensor& lse_bht) {
  const int64_t heads = static_cast<int64_t>(group.heads.size());
  ForPlaces(classes, lse_bht.dim(0), [&](int64_t b, int64_t c, int64_t place, int64_t row) {
    if (row < 0) return;
    for (int64_t h = 0; h < heads; ++h) {
      lse_bht.mutable_data<T>()[(b * lse_bht.dim(1) + group.heads[h]) * classes.rows + row] =
          from.data<T>()[((b * classes.count + c) * heads + h) * classes.length + place];
    }
  });
}

// The window of a group's heads as plain attention, a class of a sample being a sample.
struct WindowCall {
  // Heads of dilation 1 that are all the heads there are need no rearranging.
  WindowCall(const WindowAttentionInputs& in, Group heads)
      : group(std::move(heads)),
        as_it_is(group.dilation == 1 &&
                 static_cast<int64_t>(group.heads.size()) == in.q_bthd.dim(2)),
        // Later classes have no query.
        query_classes(in.q_bthd.dim(1), group.dilation,
                      std::min(group.dilation, std::max<int64_t>(in.q_bthd.dim(1), 1))),
        key_classes(in.k_bshd.dim(1), group.dilation, query_classes.count),
        plan(SpanPlan::Around(query_classes.length, key_classes.length, in.back, in.ahead)) {
    call.plans = {&plan};
    call.scale = in.scale;
    if (as_it_is) {
      call.q_bthd = in.q_bthd;
      call.k_bshd = in.k_bshd;
      call.v_bshe = in.v_bshe;
      call.begin_b = in.begin_b;
      call.end_b = in.end_b;
      call.query_begin_b = in.query_begin_b;
      call.query_end_b = in.query_end_b;
      return;
    }
    call.q_bthd = Gather(in.q_bthd, group, query_classes);
    call.k_bshd = Gather(in.k_bshd, group, key_classes);
    call.v_bshe = Gather(in.v_bshe, group, key_classes);
    const int64_t batch = in.q_bthd.dim(0);
    const bool is_meta = in.q_bthd.is_meta();
    const Bounds keys = BoundsOf(key_classes, batch, in.begin_b, in.end_b, is_meta),
                 queries =
                     BoundsOf(query_classes, batch, in.query_begin_b, in.query_end_b, is_meta);
    call.begin_b = keys.begin;
    call.end_b = keys.end;
    call.query_begin_b = queries.begin;
    call.query_end_b = queries.end;
  }
  WindowCall(const WindowCall&) = delete;

  const Group group;
  const bool as_it_is;
  const Classes query_classes, key_classes;
  const SpanPlan plan;
  AttentionInputs call;
};

AttentionOutputs WindowForward(const WindowAttentionInputs& in) {
  const std::vector<Group> groups = GroupsOf(in);
  const Tensor& q = in.q_bthd;
  AttentionOutputs all;
  for (const Group& group : groups) {
    const WindowCall window(in, group);
    const AttentionOutputs part = AttentionForward(window.call);
    if (window.as_it_is) return part;
    if (!all.out_bthe.defined()) {
      all.out_bthe =
          Tensor::Empty({q.dim(0), q.dim(1), q.dim(2), in.v_bshe.dim(3)}, q.dtype(), q.device());
      all.lse_bht = Tensor::Empty({q.dim(0), q.dim(2), q.dim(1)}, q.dtype(), q.device());
    }
    Scatter(part.out_bthe, group, window.query_classes, all.out_bthe);
    if (q.is_meta()) continue;
    (q.dtype() == DType::kFloat64 ? ScatterLse<double> : ScatterLse<float>)(part.lse_bht, group,
                                                                            window.query_classes,
                                                                            all.lse_bht);
  }
  return all;
}

AttentionGradients WindowBackward(const WindowAttentionInputs& in, const AttentionOutputs& outputs,
                                  const Tensor& dout) {
  const Tensor& q = in.q_bthd;
  AttentionGradients all;
  for (const Group& group : GroupsOf(in)) {
    const WindowCall window(in, group);
    if (window.as_it_is) return AttentionBackward(window.call, outputs, dout);
    if (!all.dq_bthd.defined()) {
      all.dq_bthd = Tensor::EmptyLike(q);
      // Keys of classes without a query get no gradient.
      all.dk_bshd = Tensor::ZerosLike(in.k_bshd);
      all.dv_bshe = Tensor::ZerosLike(in.v_bshe);
    }
    const AttentionOutputs part = {
        Gather(outputs.out_bthe, group, window.query_classes),
        Tensor::Empty(
            {window.call.q_bthd.dim(0), window.call.q_bthd.dim(2), window.query_classes.length},
            q.dtype(), q.device())};
    if (!q.is_meta()) {
      (q.dtype() == DType::kFloat64 ? GatherLse<double> : GatherLse<float>)(outputs.lse_bht, group,
                                                                            window.query_classes,
                                                                            part.lse_bht);
    }
    const AttentionGradients gradients =
        AttentionBackward(window.call, part, Gather(dout, group, window.query_classes));
    Scatter(gradients.dq_bthd, group, window.query_classes, all.dq_bthd);
    Scatter(gradients.dk_bshd, group, window.key_classes, all.dk_bshd);
    Scatter(gradients.dv_bshe, group, window.key_classes, all.dv_bshe);
  }
  return all;
}

// ---- The keys that all see ----

// Query i sees those of `global`, counted as they stand there, that its window does not hold.
SpanPlan BesideTheWindow(const WindowAttentionInputs& in, const std::vector<int64_t>& global,
                         int64_t dilation) {
  const int64_t queries = in.q_bthd.dim(1), first = in.k_bshd.dim(1) - queries,
                count = static_cast<int64_t>(global.size());
  std::vector<std::vector<KeySpan>> rows(static_cast<size_t>(queries));
  for (int64_t i = 0; i < queries; ++i) {
    for (int64_t g = 0; g < count; ++g) {
      const int64_t away = global[g] - (first + i);
      const bool in_window =
          away % dilation == 0 && away / dilation >= -in.back && away / dilation <= in.ahead;
      if (!in_window) rows[i].push_back({g, g + 1});
    }
  }
  return SpanPlan::FromSpans(count, rows);
}

// Samples [begin, end), which have the same global keys, and these keys gathered.
struct GlobalCall {
  GlobalCall(const WindowAttentionInputs& in, int64_t b0, int64_t b1)
      : begin(b0), end(b1), global(in.global_b[b0]) {
    const int64_t heads = in.q_bthd.dim(2), samples = end - begin,
                  count = static_cast<int64_t>(global.size());
    const std::set<int64_t> dilations(in.dilation_h.begin(), in.dilation_h.end());
    plans.reserve(dilations.size());
    for (const int64_t dilation : dilations) plans.push_back(BesideTheWindow(in, global, dilation));
    for (int64_t h = 0; h < (dilations.size() == 1 ? 1 : heads); ++h) {
      const auto at = dilations.find(DilationOf(in, h));
      call.plans.push_back(&plans[std::distance(dilations.begin(), at)]);
    }
    call.scale = in.scale;
    call.q_bthd = Samples(in.q_bthd);
    call.k_bshd = Rows(in.k_bshd);
    call.v_bshe = Rows(in.v_bshe);
    if (in.q_bthd.is_meta()) return;
    if (in.query_begin_b.defined()) call.query_begin_b = in.query_begin_b.ViewRows(begin, end);
    if (in.query_end_b.defined()) call.query_end_b = in.query_end_b.ViewRows(begin, end);
    if (!in.begin_b.defined() && !in.end_b.defined()) return;
    call.begin_b = Tensor::Empty({samples}, DType::kInt64);
    call.end_b = Tensor::Empty({samples}, DType::kInt64);
    for (int64_t b = 0; b < samples; ++b) {
      const auto from = [&](int64_t row) {
        return std::lower_bound(global.begin(), global.end(), row) - global.begin();
      };
      call.begin_b.mutable_data<int64_t>()[b] = from(At(in.begin_b, begin + b, 0));
      call.end_b.mutable_data<int64_t>()[b] =
          in.end_b.defined() ? from(in.end_b.data<int64_t>()[begin + b]) : count;
    }
  }
  GlobalCall(const GlobalCall&) = delete;

  Tensor Samples(const Tensor& t) const {
    return end - begin < t.dim(0) ? t.ViewRows(begin, end) : t;
  }
  // [B, S, ..] -> [samples, G, ..]
  Tensor Rows(const Tensor& x) const {
    Shape shape = x.shape();
    shape.set(0, end - begin);
    shape.set(1, static_cast<int64_t>(global.size()));
    const Tensor y = Tensor::Empty(shape, x.dtype(), x.device());
    RecordCost(0, 2.0 * static_cast<double>(y.bytes()));
    if (x.is_meta()) return y;
    const int64_t row_bytes = x.dim(2) * x.dim(3) * SizeOf(x.dtype());
    char* to = static_cast<char*>(y.mutable_raw_data());
    for (int64_t b = begin; b < end; ++b) {
      for (const int64_t row : global) {
        std::memcpy(to, static_cast<const char*>(x.raw_data()) + (b * x.dim(1) + row) * row_bytes,
                    row_bytes);
        to += row_bytes;
      }
    }
    return y;
  }
  // The reverse: adds them to x.
  template <typename T>
  void AddRows(const Tensor& y, const Tensor& x) const {
    const int64_t width = x.dim(2) * x.dim(3);
    const T* from = y.data<T>();
    for (int64_t b = begin; b < end; ++b) {
      for (const int64_t row : global) {
        T* to = x.mutable_data<T>() + (b * x.dim(1) + row) * width;
        for (int64_t i = 0; i < width; ++i) to[i] += from[i];
        from += width;
      }
    }
  }

  const int64_t begin, end;
  const std::vector<int64_t>& global;
  std::vector<SpanPlan> plans;
  AttentionInputs call;
};

// Samples side by side with the same global keys, as one call; samples without any are left out.
std::vector<std::unique_ptr<GlobalCall>> GlobalCalls(const WindowAttentionInputs& in) {
  std::vector<std::unique_ptr<GlobalCall>> calls;
  const int64_t batch = static_cast<int64_t>(in.global_b.size());
  for (int64_t b = 0, end = 0; b < batch; b = end) {
    while (end < batch && in.global_b[end] == in.global_b[b]) ++end;
    if (!in.global_b[b].empty()) calls.push_back(std::make_unique<GlobalCall>(in, b, end));
  }
  return calls;
}

AttentionOutputs GlobalForward(const WindowAttentionInputs& in) {
  const Tensor& q = in.q_bthd;
  AttentionOutputs all;
  for (const auto& global : GlobalCalls(in)) {
    const AttentionOutputs part = AttentionForward(global->call);
    if (part.out_bthe.dim(0) == q.dim(0)) return part;
    if (!all.out_bthe.defined()) {
      Shape shape = part.out_bthe.shape(), lse_shape = part.lse_bht.shape();
      shape.set(0, q.dim(0));
      lse_shape.set(0, q.dim(0));
      all.out_bthe = Tensor::Zeros(shape, q.dtype(), q.device());
      all.lse_bht =
          Tensor::Full(lse_shape, -std::numeric_limits<double>::infinity(), q.dtype(), q.device());
    }
    if (q.is_meta()) continue;
    all.out_bthe.ViewRows(global->begin, global->end).CopyFrom(part.out_bthe);
    all.lse_bht.ViewRows(global->begin, global->end).CopyFrom(part.lse_bht);
  }
  return all;
}

// Adds to `all`.
void GlobalBackward(const WindowAttentionInputs& in, const AttentionOutputs& outputs,
                    const Tensor& dout, const AttentionGradients& all) {
  for (const auto& global : GlobalCalls(in)) {
    const AttentionGradients g = AttentionBackward(
        global->call, {global->Samples(outputs.out_bthe), global->Samples(outputs.lse_bht)},
        global->Samples(dout));
    AddScaled(g.dq_bthd, 1, global->Samples(all.dq_bthd));
    if (dout.is_meta()) continue;
    const auto add = [&](const Tensor& rows, const Tensor& to) {
      dout.dtype() == DType::kFloat64 ? global->AddRows<double>(rows, to)
                                      : global->AddRows<float>(rows, to);
    };
    add(g.dk_bshd, all.dk_bshd);
    add(g.dv_bshe, all.dv_bshe);
  }
}

}  // namespace

AttentionOutputs WindowAttentionForward(const WindowAttentionInputs& in) {
  Check(in);
  const TraceSpan span("WindowAttentionForward");
  const AttentionOutputs window = WindowForward(in);
  return HasGlobals(in) ? JoinSoftmax({window, GlobalForward(in)}) : window;
}

AttentionGradients WindowAttentionBackward(const WindowAttentionInputs& in,
                                           const AttentionOutputs& outputs,
                                           const Tensor& dout_bthe) {
  Check(in);
  const TraceSpan span("WindowAttentionBackward");
  const AttentionGradients gradients = WindowBackward(in, outputs, dout_bthe);
  if (HasGlobals(in)) GlobalBackward(in, outputs, dout_bthe, gradients);
  return gradients;
}

}  // namespace longrange::kernels
