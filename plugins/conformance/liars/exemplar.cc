#include "plugins/conformance/liars/exemplar.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <utility>

#include "common/autograd/ops.h"
#include "common/autograd/tape.h"
#include "common/base/thread_pool.h"
#include "common/tensor/cost.h"

namespace longrange::conformance {
namespace {

constexpr int64_t kWidth = 8;

// The identity, whose gradient is what `backward` makes of it.
Tensor WithGradient(const Tensor& x, const std::function<Tensor(const Tensor&)>& backward) {
  const Tensor out = x.Detach().Clone();
  Record("lie", {x}, {out}, [backward](const std::vector<Tensor>& cotangents) {
    return std::vector<Tensor>{backward(cotangents[0])};
  });
  return out;
}

class ExemplarMixer : public Mixer {
 public:
  ExemplarMixer(const ExemplarOptions& options, const BuildArgs& args) : options_(options) {
    const nn::Init init = nn::Normal(0.3);
    w_in_ = args.scope.Param("w_in", {kWidth, kWidth}, init);
    w_out_ = args.scope.Param("w_out", {kWidth, kWidth}, init);
    nn::Tags tags;
    tags.group = Lies(Lie::kUnknownGroup) ? "secret" : "decay";
    tags.decay = false;
    decay_d_ = args.scope.Param("decay", {kWidth}, nn::Constant(1), tags);
    if (Lies(Lie::kMovesItsBuffer)) running_ = args.scope.Buffer("running", {1}, nn::Zeros());
    if (Lies(Lie::kOneMoreParameter)) args.scope.Param("spare", {1}, nn::Zeros());

    const bool causal = options.direction == nn::Direction::kCausal, grid = options.segment > 0;
    traits_.forms = {nn::Form::kParallel, nn::Form::kRecurrent};
    if (grid) traits_.forms = {nn::Form::kRecurrent};
    if (!causal) traits_.forms = {nn::Form::kParallel};
    traits_.direction =
        Lies(Lie::kClaimsBothWays) ? nn::Direction::kBidirectional : options.direction;
    traits_.streams = causal && traits_.direction == options.direction;
    traits_.segment = options.segment;
    traits_.gradient_crosses_segments = !grid;
    traits_.gradient_segments = options.gradient_segments;
    traits_.flops = grid || Lies(Lie::kClaimsLinearWork) ? Growth::kLinear : Growth::kQuadratic;
    traits_.documents = traits_.frontier = !grid && causal;
    traits_.roles = !causal;
    traits_.padding = grid ? MixerTraits::kNoPadding : MixerTraits::kBothSides;
    traits_.owns_residual = Lies(Lie::kClaimsResidual);
    if (Lies(Lie::kClaimsCoupling)) traits_.batch_coupled = MixerTraits::kTraining;
    if (!grid) traits_.taps = {"weights"};
  }

  const MixerTraits& traits() const override { return traits_; }

  absl::Status Supports(int64_t batch, int64_t tokens, const nn::Rows& rows,
                        const nn::Call& call) const override {
    if (Lies(Lie::kAgreesToEverything)) return absl::OkStatus();
    if (Lies(Lie::kRefusesADeclared) && call.form == nn::Form::kRecurrent)
      return absl::UnimplementedError("no recurrent form");
    return Mixer::Supports(batch, tokens, rows, call);
  }

  Tensor Forward(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call) const override {
    const bool recurrent = call.form == nn::Form::kRecurrent || options_.segment > 0;
    GiveLoss(call);
    nn::State state;
    if (recurrent) state = NewState(x_btd.dim(0));
    Tensor y = recurrent ? Recur(x_btd, rows, &state) : Parallel(x_btd, rows, call);
    if (recurrent && Lies(Lie::kOtherRecurrence)) y = Scale(y, 1.001);
    return Spoil(x_btd, y, call);
  }

  nn::State NewState(int64_t batch) const override {
    nn::State state;
    const auto zeros = [&](int64_t width) {
      return Tensor::Zeros({batch, width}, w_in_.dtype(), w_in_.device());
    };
    state.Set("m", zeros(kWidth));
    state.Set("seen", Tensor::Zeros({1}, DType::kInt64));
    if (Lies(Lie::kStateOfOtherSize)) state.Set("spare", zeros(1));
    hidden_ = zeros(kWidth);
    return state;
  }

  Tensor Extend(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call,
                nn::State* state) const override {
    if (Lies(Lie::kDropsStateGradient)) state->Detach();
    if (Lies(Lie::kFadesBetweenPieces)) state->Set("m", Scale(state->Get("m"), 0.999));
    if (Lies(Lie::kStateGrows)) state->Append("rows", x_btd);
    if (Lies(Lie::kHidesItsState)) state->Set("m", hidden_);
    if (Lies(Lie::kDerivesItsState) && state->Has("kept")) state->Set("m", state->Get("kept"));
    Tensor y = Recur(x_btd, Lies(Lie::kStreamsWithoutFrontier) ? nn::Rows() : rows, state);
    if (Lies(Lie::kRoundsItsState) && y.dtype() == DType::kFloat32)
      state->Set("m", Cast(Cast(state->Get("m"), DType::kBFloat16), DType::kFloat32));
    if (Lies(Lie::kHidesItsState)) {
      hidden_ = state->Get("m");
      state->Set("m", Tensor::ZerosLike(hidden_));
    }
    if (Lies(Lie::kDerivesItsState)) {
      state->Set("kept", state->Get("m"), nn::State::Kind::kDerived);
      state->Set("m", Tensor::ZerosLike(state->Get("m")));
    }
    return Spoil(x_btd, y, call);
  }

 private:
  bool Lies(Lie lie) const { return options_.lie == lie; }

  // value(i) for element i, on the device of the layer.
  Tensor Table(const Shape& shape, const std::function<double(int64_t)>& value) const {
    Tensor table = Tensor::Empty(shape, DType::kFloat64);
    for (int64_t i = 0; i < table.numel(); ++i) table.mutable_data<double>()[i] = value(i);
    return table.To(w_in_.dtype()).To(w_in_.device());
  }

  Tensor Parallel(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call) const {
    const int64_t batch = x_btd.dim(0), n = x_btd.dim(1);
    const bool causal = options_.direction == nn::Direction::kCausal;
    const auto is_global = [&](int64_t b, int64_t t) {
      if (!rows.role_bt.defined() || Lies(Lie::kIgnoresRoles)) return false;
      const int64_t of = Lies(Lie::kRolesOfTheFirst) ? 0 : b;
      return rows.role_bt.data<int32_t>()[of * n + t] == nn::kGlobalRole;
    };
    const Tensor distance = Table({batch, n, n, 1}, [&](int64_t i) {
      const int64_t b = i / (n * n), t = i / n % n, s = i % n;
      return is_global(b, t) || is_global(b, s) ? 0.0 : std::abs(static_cast<double>(t - s));
    });
    const Tensor visible = Table({batch, n, n, 1}, [&](int64_t i) {
      const int64_t b = i / (n * n), t = i / n % n, s = i % n;
      const bool real = Lies(Lie::kIgnoresPadding) ||
                        ((!rows.begin_b.defined() || s >= rows.begin_b.data<int64_t>()[b]) &&
                         (!rows.end_b.defined() || s < rows.end_b.data<int64_t>()[b]));
      const bool together = Lies(Lie::kIgnoresDocuments) || !rows.document_bt.defined() ||
                            rows.document_bt.data<int32_t>()[b * n + s] ==
                                rows.document_bt.data<int32_t>()[b * n + t];
      const int64_t frontier = !Lies(Lie::kIgnoresFrontier) && rows.frontier_t.defined()
                                   ? rows.frontier_t.data<int32_t>()[t]
                                   : t + 1;
      const bool own = !Lies(Lie::kStaysInItsRow) || s == t;
      return real && together && own && (!causal || s < frontier) ? 1.0 : 0.0;
    });
    Tensor weights = Mul(visible, Exp(Mul(distance, Log(Sigmoid(decay_d_)))));
    if (!Lies(Lie::kNeverOffers)) {
      const Tensor tapped = call.Tap("weights", weights);
      if (!Lies(Lie::kIgnoresReplacement)) weights = tapped;
    }
    const Tensor u = Reshape(Linear(x_btd, w_in_), {batch, 1, n, kWidth});
    return Linear(Reshape(SumTo(Mul(weights, u), {batch, n, 1, kWidth}), {batch, n, kWidth}),
                  w_out_);
  }

  // A frontier may let a row see those of the call that come after it.
  Tensor Recur(const Tensor& x_btd, const nn::Rows& rows, nn::State* state) const {
    const int64_t batch = x_btd.dim(0), n = x_btd.dim(1);
    const int64_t before = state->Get("seen").ToInts()[0];
    const bool forgets = Lies(Lie::kForgetsAParameter) && before > 0;
    const Tensor u = Linear(x_btd, forgets ? w_in_.Detach() : w_in_), a = Sigmoid(decay_d_);
    const auto row = [&](int64_t t) { return Reshape(Narrow(u, 1, t, 1), {batch, kWidth}); };
    Tensor m = state->Get("m");
    std::vector<Tensor> mixed;
    for (int64_t t = 0; t < n; ++t) {
      const int64_t every =
          options_.segment * (Lies(Lie::kDetachesMore) ? 1 : options_.gradient_segments);
      const bool border = every > 0 && (before + t) % every == 0;
      if (border && !Lies(Lie::kClaimsNoGradient)) m = m.Detach();
      m = Add(Mul(m, a), row(t));
      Tensor sum = m;
      const int64_t end =
          rows.frontier_t.defined() ? rows.frontier_t.data<int32_t>()[t] - before : t + 1;
      Tensor weight = a;
      for (int64_t s = t + 1; s < end; ++s, weight = Mul(weight, a))
        sum = Add(sum, Mul(row(s), weight));
      mixed.push_back(Reshape(sum, {batch, 1, kWidth}));
    }
    state->Set("m", m);
    state->Set("seen", Tensor::Full({1}, static_cast<double>(before + n), DType::kInt64));
    return Linear(Concat(mixed, 1), w_out_);
  }

  // A further loss of training: the size of the decay.
  void GiveLoss(const nn::Call& call) const {
    if (call.sink == nullptr) return;
    if (!call.training && !Lies(Lie::kLossWithoutTraining)) return;
    const Tensor loss = Mean(Square(decay_d_));
    call.sink->Loss("size", Lies(Lie::kLossWithoutGradient) ? loss.Detach() : loss, 0.1);
  }

  // What the lies do to a result.
  Tensor Spoil(const Tensor& x, const Tensor& y, const nn::Call& call) const {
    const int64_t batch = y.dim(0), n = y.dim(1);
    switch (options_.lie) {
      case Lie::kDropsARow:
        return n % 2 == 1 && n > 1 ? Narrow(y, 1, 0, n - 1) : y;
      case Lie::kCountsItsCalls:
        return Scale(y, 1 + 1e-3 * static_cast<double>(++calls_));
      case Lie::kCountsThreads:
        return Scale(y, 1 + 1e-3 * NumThreads());
      case Lie::kMixesTheBatch:
        return Add(y, Scale(BroadcastTo(SumTo(y, {1, n, kWidth}), y.shape()),
                            1e-3 / static_cast<double>(batch)));
      case Lie::kOverflows:
        return Add(y, Scale(Exp(y), 1e-6));
      case Lie::kReadsUnwritten:
        return Add(y, Scale(Tensor::EmptyLike(y), 1e-3));
      case Lie::kWritesItsInput:
        if (x.is_meta()) return y;
        x.CopyFrom(y.Detach());
        return x;
      case Lie::kReusesItsOutput:
        if (!buffer_.defined() || buffer_.shape() != y.shape()) buffer_ = Tensor::EmptyLike(y);
        buffer_.CopyFrom(y.Detach());
        return buffer_.Detach();
      case Lie::kMovesItsBuffer:
        if (call.training && !x.is_meta()) running_.Fill(running_.item() + 1);
        return y;
      case Lie::kPeeks:
        return Add(y, Scale(SumTo(x, {batch, 1, kWidth}), 1e-3));
      case Lie::kPeeksBackwards:
        return WithGradient(y, [n](const Tensor& g) {
          return Add(g, Scale(BroadcastTo(SumTo(g, {g.dim(0), 1, kWidth}), g.shape()),
                              1e-3 / static_cast<double>(n)));
        });
      case Lie::kOffByAThousandth:
        return Scale(y, 1.001);
      case Lie::kWrongGradient:
        return WithGradient(y, [](const Tensor& g) { return Scale(g, 1.01); });
      case Lie::kMindsListeners:
        return call.sink != nullptr ? Scale(y, 1.001) : y;
      case Lie::kCountsNothingDry:
        if (!y.is_meta()) RecordCost(1000, 0);
        return y;
      default:
        return y;
    }
  }

  ExemplarOptions options_;
  MixerTraits traits_;
  Tensor w_in_, w_out_, decay_d_;
  // What no honest layer has.
  mutable int64_t calls_ = 0;
  mutable Tensor hidden_, buffer_;
  Tensor running_;
};

// A learned row goes in before the first one, and comes out again.
class ExemplarBackbone : public Backbone {
 public:
  ExemplarBackbone(const ExemplarOptions& options, const BuildArgs& args)
      : options_(options), inner_(options, args) {
    row_d_ = args.scope.Param("row", {kWidth}, nn::Normal(0.3));
    traits_ = {inner_.traits()};
    traits_.padding = std::min(traits_.padding, MixerTraits::kRight);
    traits_.documents = traits_.frontier = traits_.roles = false;
  }

  const BackboneTraits& traits() const override { return traits_; }

  Sequence Forward(const Sequence& in, const nn::Call& call) const override {
    const nn::Rows inside = Inside(in.rows);
    const int64_t n = in.x_btd.dim(1);
    return {Narrow(inner_.Forward(Insert(in.x_btd), inside, call), 1, 1, n), Told(in.rows, inside)};
  }

  nn::State NewState(int64_t batch) const override {
    nn::State state = inner_.NewState(batch);
    state.Set("started", Tensor::Zeros({batch}, DType::kInt64));
    return state;
  }

  Sequence Extend(const Sequence& in, const nn::Call& call, nn::State* state) const override {
    const bool first = state->Get("started").ToInts()[0] == 0;
    const int64_t batch = in.x_btd.dim(0), n = in.x_btd.dim(1);
    const Tensor x = first ? Insert(in.x_btd) : in.x_btd;
    const Tensor y = inner_.Extend(x, nn::Rows(), call, state);
    state->Set("started", Tensor::Full({batch}, 1, DType::kInt64));
    return {first ? Narrow(y, 1, 1, n) : y, in.rows};
  }

 private:
  Tensor Insert(const Tensor& x_btd) const {
    const Tensor row = BroadcastTo(Reshape(row_d_, {1, 1, kWidth}), {x_btd.dim(0), 1, kWidth});
    return Concat({row, x_btd}, 1);
  }
  static nn::Rows Inside(nn::Rows rows) {
    if (!rows.end_b.defined()) return rows;
    rows.end_b = rows.end_b.Clone();
    for (int64_t b = 0; b < rows.end_b.numel(); ++b) ++rows.end_b.mutable_data<int64_t>()[b];
    return rows;
  }
  const nn::Rows& Told(const nn::Rows& given, const nn::Rows& inside) const {
    return options_.lie == Lie::kGivesInnerRows ? inside : given;
  }

  ExemplarOptions options_;
  ExemplarMixer inner_;
  Tensor row_d_;
  BackboneTraits traits_;
};

// Gives back rows of its own, r_j * m: r_j learned, m the mean of what the mixer makes of the rows.
class ExemplarOwnRows : public Backbone {
 public:
  ExemplarOwnRows(const ExemplarOptions& options, const BuildArgs& args)
      : options_(options), inner_(options, args) {
    own_rd_ = args.scope.Param("own", {kOwnRows, kOwnWidth}, nn::Normal(1));
    traits_ = {inner_.traits()};
    traits_.output_rows = kOwnRows - (options.lie == Lie::kMoreOwnRows ? 1 : 0);
    traits_.output_width = kOwnWidth;
    traits_.roles = false;
  }

  const BackboneTraits& traits() const override { return traits_; }

  Sequence Forward(const Sequence& in, const nn::Call& call) const override {
    const Tensor y = inner_.Forward(in.x_btd, in.rows, call);
    const int64_t batch = y.dim(0), n = y.dim(1);
    Tensor share_b1n = Tensor::Empty({batch, 1, n}, DType::kFloat64);
    for (int64_t i = 0; i < batch * n; ++i) {
      const nn::Rows& rows = in.rows;
      const int64_t b = i / n, t = i % n,
                    begin = rows.begin_b.defined() ? rows.begin_b.data<int64_t>()[b] : 0,
                    end = rows.end_b.defined() ? rows.end_b.data<int64_t>()[b] : n;
      share_b1n.mutable_data<double>()[i] =
          t >= begin && t < end ? 1 / static_cast<double>(end - begin) : 0;
    }
    const Tensor mean = options_.lie == Lie::kReadsOneRow
                            ? Narrow(in.x_btd, 1, 0, 1)
                            : MatMul(share_b1n.To(y.dtype()).To(y.device()), y);
    const Tensor own = Mul(Narrow(mean, 2, 0, kOwnWidth), own_rd_);
    return {own, options_.lie == Lie::kTellsOfItsInput ? in.rows : nn::Rows()};
  }

  static constexpr int64_t kOwnRows = 3, kOwnWidth = 6;

 private:
  ExemplarOptions options_;
  ExemplarMixer inner_;
  Tensor own_rd_;
  BackboneTraits traits_;
};

// Element by element, in the order of the formulas above.
Tensor Reference(const ExemplarOptions& options, const TensorMap& parameters, const Tensor& x_btd) {
  const int64_t batch = x_btd.dim(0), n = x_btd.dim(1);
  const double *x = x_btd.data<double>(), *w_in = parameters.at("w_in").data<double>(),
               *w_out = parameters.at("w_out").data<double>(),
               *decay = parameters.at("decay").data<double>();
  Tensor y = Tensor::Zeros(x_btd.shape(), DType::kFloat64);
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t t = 0; t < n; ++t) {
      for (int64_t s = 0; s < n; ++s) {
        if (s > t && options.direction == nn::Direction::kCausal) continue;
        for (int64_t c = 0; c < kWidth; ++c) {
          const double a = 1 / (1 + std::exp(-decay[c]));
          double u = 0;
          for (int64_t d = 0; d < kWidth; ++d)
            u += w_in[c * kWidth + d] * x[(b * n + s) * kWidth + d];
          const double m = std::pow(a, static_cast<double>(std::abs(t - s))) * u;
          for (int64_t d = 0; d < kWidth; ++d)
            y.mutable_data<double>()[(b * n + t) * kWidth + d] += w_out[d * kWidth + c] * m;
        }
      }
    }
  }
  return y;
}

std::function<absl::StatusOr<BuiltLayer>(DType, Device)> Maker(const ExemplarOptions& options) {
  return [options](DType dtype, Device device) -> absl::StatusOr<BuiltLayer> {
    BuiltLayer layer;
    BuildArgs args{nn::Scope(layer.store.get(), Rng(1), dtype, device)};
    args.width = kWidth;
    args.direction = options.direction;
    if (options.inserts) {
      layer.backbone = std::make_unique<ExemplarBackbone>(options, args);
    } else if (options.own_rows) {
      layer.backbone = std::make_unique<ExemplarOwnRows>(options, args);
    } else {
      layer.mixer = std::make_unique<ExemplarMixer>(options, args);
    }
    return layer;
  };
}

}  // namespace

LayerSubject Exemplar(const ExemplarOptions& options) {
  LayerSubject subject;
  subject.width = kWidth;
  subject.parameters = 2 * kWidth * kWidth + kWidth;
  subject.groups = {"decay"};
  subject.state_bytes = kWidth * 4 + 8;
  if (options.inserts) {
    subject.parameters += kWidth;
    subject.state_bytes += 8;
  } else if (options.own_rows) {
    subject.parameters += ExemplarOwnRows::kOwnRows * ExemplarOwnRows::kOwnWidth;
  } else {
    subject.needs_reference = true;
    subject.reference = [options](const TensorMap& parameters, const Tensor& x_btd) {
      return Reference(options, parameters, x_btd);
    };
  }
  subject.make = Maker(options);
  ExemplarOptions other = options;
  if (options.lie == Lie::kOtherTree) other.lie = Lie::kOneMoreParameter;
  subject.same_parameters = {[make = Maker(other)] { return make(DType::kFloat32, Device::kCpu); }};
  return subject;
}

}  // namespace longrange::conformance
