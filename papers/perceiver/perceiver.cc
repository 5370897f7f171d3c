#include "papers/perceiver/perceiver.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/autograd/ops.h"
#include "common/base/refuse.h"
#include "common/base/status_macros.h"
#include "common/nn/padding.h"
#include "papers/perceiver/positions.h"

namespace longrange::perceiver {
namespace {

constexpr double kEpsilon = 1e-5;
constexpr int64_t kMostPlaces = int64_t{1} << 24;

nn::Tags NoDecay() { return {"default", /*decay=*/false}; }

// Normal, drawn again where it is beyond ±bound.
nn::Init TruncatedNormal(double std, double bound) {
  return [=](const Rng& rng, const Tensor& value) {
    if (value.is_meta()) return;
    for (int64_t i = 0; i < value.numel(); ++i) {
      double drawn = std * rng.Child(0).Normal(i);
      for (int64_t again = 1; std::abs(drawn) > bound; ++again)
        drawn = std * rng.Child(again).Normal(i);
      if (value.dtype() == DType::kFloat64) {
        value.mutable_data<double>()[i] = drawn;
      } else {
        value.mutable_data<float>()[i] = static_cast<float>(drawn);
      }
    }
  };
}

// Variance scale / fan_in, cut at two deviations of the normal distribution that it is cut from:
// the authors' initializer (Haiku's VarianceScaling).
nn::Init OfFanIn(double scale, int64_t fan_in) {
  constexpr double kDeviationLeft = 0.87962566103423978;
  const double std = std::sqrt(scale / static_cast<double>(fan_in)) / kDeviationLeft;
  return TruncatedNormal(std, 2 * std);
}

absl::Status Whole(absl::string_view field, int64_t value, int64_t least, int64_t most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return Refuse(field, value, absl::StrCat(least, " to ", most));
}

absl::Status Between(absl::string_view field, double value, double least, double most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return Refuse(field, value, absl::StrCat(least, " to ", most));
}

absl::Status CheckConfig(const PerceiverConfig& config, const BuildArgs& args) {
  if (args.direction != nn::Direction::kBidirectional) {
    return Refuse(
        "direction", "causal",
        "bidirectional: a latent of perceiver has read all rows, so that it answers for a "
        "sequence and tells no next token");
  }
  constexpr int64_t kMostLatents = 1 << 20, kWidest = 1 << 16, kDeepest = 1 << 10;
  LR_RETURN_IF_ERROR(Whole("latents", config.latents(), 1, kMostLatents));
  LR_RETURN_IF_ERROR(Whole("latent_width", config.latent_width(), 1, kWidest));
  LR_RETURN_IF_ERROR(Whole("cross_attends", config.cross_attends(), 1, kDeepest));
  LR_RETURN_IF_ERROR(Whole("latent_layers", config.latent_layers(), 0, kDeepest));
  LR_RETURN_IF_ERROR(Whole("cross_heads", config.cross_heads(), 1, kWidest));
  LR_RETURN_IF_ERROR(Whole("latent_heads", config.latent_heads(), 1, kWidest));
  LR_RETURN_IF_ERROR(Whole("cross_head_width", config.cross_head_width(), 0, kWidest));
  LR_RETURN_IF_ERROR(Whole("latent_head_width", config.latent_head_width(), 0, kWidest));
  LR_RETURN_IF_ERROR(Whole("widening", config.widening(), 1, kDeepest));
  LR_RETURN_IF_ERROR(Whole("bands", config.bands(), 1, kWidest));
  LR_RETURN_IF_ERROR(Whole("learned_channels", config.learned_channels(), 1, kWidest));
  LR_RETURN_IF_ERROR(Whole("permutation", config.permutation(), 0, int64_t{1} << 31));
  constexpr double kLargestStd = 100;  // of which 2 is not so small that drawing again takes long
  LR_RETURN_IF_ERROR(Between("latent_std", config.latent_std(), 0, kLargestStd));
  LR_RETURN_IF_ERROR(Between("learned_std", config.learned_std(), 0, kLargestStd));
  LR_RETURN_IF_ERROR(Between("init_scale", config.init_scale(), 0, kLargestStd));
  if (config.latent_layers() > 0 && config.latent_head_width() == 0 &&
      config.latent_width() % config.latent_heads() != 0) {
    return Refuse("latent_heads", config.latent_heads(),
                  absl::StrCat("a divisor of latent_width, ", config.latent_width(),
                               "; or set latent_head_width"));
  }
  return absl::OkStatus();
}

// The axes, and how many places they have; 0: any number.
struct Grid {
  std::vector<int64_t> axis;
  int64_t places = 1;
};

absl::StatusOr<Grid> GridOf(const PerceiverConfig& config, const BuildArgs& args) {
  Grid grid;
  grid.axis = {config.axis().begin(), config.axis().end()};
  if (grid.axis.empty()) grid.axis = {0};
  for (size_t a = 0; a < grid.axis.size(); ++a) {
    const int64_t length = grid.axis[a];
    LR_RETURN_IF_ERROR(Whole("axis", length, a == 0 ? 0 : 1, kMostPlaces));
    if (length == 0) continue;
    if (grid.places > kMostPlaces / length) {
      return Refuse("axis", absl::StrJoin(grid.axis, ", "),
                    absl::StrCat(kMostPlaces, " places at most"));
    }
    grid.places *= length;
  }
  if (grid.axis[0] == 0) grid.places = 0;
  const bool learned = config.positions() == PerceiverConfig::LEARNED;
  if (grid.places == 0 && (learned || config.permutation() > 0)) {
    return Refuse("axis", 0,
                  learned ? "its length: learned positions have one row for each place"
                          : "its length: a permutation shuffles all places");
  }
  if (grid.places > 0 && args.max_tokens > grid.places) {
    return Refuse("axis", absl::StrJoin(grid.axis, ", "),
                  absl::StrCat("places for ", args.max_tokens, " rows, the longest call planned"));
  }
  return grid;
}

absl::StatusOr<std::vector<double>> MaxResolution(const PerceiverConfig& config, size_t axes) {
  constexpr double kLargest = 1e9;
  std::vector<double> all(config.max_resolution().begin(), config.max_resolution().end());
  for (const double resolution : all) {
    if (!(resolution > 0 && resolution <= kLargest))
      return Refuse("max_resolution", resolution, absl::StrCat("more than 0, to ", kLargest));
  }
  if (all.empty()) return std::vector<double>(axes, 0);
  if (all.size() == 1) return std::vector<double>(axes, all[0]);
  if (all.size() != axes) {
    return Refuse("max_resolution", absl::StrCat(all.size(), " of them"),
                  absl::StrCat("one for each of ", axes, " axes, one for all, or none"));
  }
  return all;
}

int64_t BeginOf(const nn::Rows& rows, int64_t b) {
  return rows.begin_b.defined() ? rows.begin_b.data<int64_t>()[b] : 0;
}

int64_t EndOf(const nn::Rows& rows, int64_t b, int64_t length) {
  return rows.end_b.defined() ? std::min(rows.end_b.data<int64_t>()[b], length) : length;
}

bool IsPadded(const nn::Rows& rows) { return rows.begin_b.defined() || rows.end_b.defined(); }

}  // namespace

Tensor Block::Norm::operator()(const Tensor& x) const {
  return LayerNorm(x, weight, bias, kEpsilon);
}

Tensor Block::Map::operator()(const Tensor& x) const { return Linear(x, weight(), bias); }

Block::Norm Block::MakeNorm(const char* name, int64_t width, const nn::Scope& scope) const {
  const nn::Scope norm = scope.Child(name);
  return {norm.Param("weight", {width}, nn::Constant(1), NoDecay()),
          norm.Param("bias", {width}, nn::Zeros(), NoDecay())};
}

Block::Map Block::MakeMap(const char* name, int64_t out, int64_t in, bool bias,
                          const nn::Scope& scope) const {
  Map map;
  map.weight = scope.Linear(absl::StrCat("w_", name), {out, in}, OfFanIn(options_.init_scale, in));
  if (bias) map.bias = scope.Param(absl::StrCat("b_", name), {out}, nn::Zeros(), NoDecay());
  return map;
}

Block::Block(const BlockOptions& options, const nn::Scope& scope) : options_(options) {
  const int64_t width = options.latent_width, inside = options.heads * options.head_width,
                input = options.input_width > 0 ? options.input_width : width,
                hidden = options.widening * width;
  const bool gated = options.feed_forward == PerceiverConfig::GEGLU;
  norm_q_ = MakeNorm("norm_latents", width, scope);
  if (options.input_width > 0) norm_kv_ = MakeNorm("norm_input", input, scope);
  q_ = MakeMap("q", inside, width, options.qkv_biases, scope);
  k_ = MakeMap("k", inside, input, options.qkv_biases, scope);
  v_ = MakeMap("v", inside, input, options.qkv_biases, scope);
  o_ = MakeMap("o", width, inside, true, scope);
  norm_ff_ = MakeNorm("norm_feed_forward", width, scope);
  up_ = MakeMap("up", gated ? 2 * hidden : hidden, width, true, scope);
  down_ = MakeMap("down", width, hidden, true, scope);
}

Block::KeysAndValues Block::KeysOfNormed(const Tensor& n_bmc) const {
  const Shape by_head = {n_bmc.dim(0), n_bmc.dim(1), options_.heads, options_.head_width};
  return {Reshape(k_(n_bmc), by_head), Reshape(v_(n_bmc), by_head)};
}

Block::KeysAndValues Block::KeysOf(const Tensor& x_bmc) const {
  CHECK_GT(options_.input_width, 0) << "latents that attend to each other have no other input";
  return KeysOfNormed(norm_kv_(x_bmc));
}

Tensor Block::Attend(const Tensor& z_bnd, const Tensor& n_bnd, const KeysAndValues& keys,
                     const nn::Rows& rows) const {
  const int64_t batch = z_bnd.dim(0), latents = z_bnd.dim(1);
  kernels::AttentionInputs in;
  in.q_bthd = Reshape(q_(n_bnd), {batch, latents, options_.heads, options_.head_width});
  in.k_bshd = keys.k_bmhp;
  in.v_bshe = keys.v_bmhp;
  in.begin_b = rows.begin_b;
  in.end_b = rows.end_b;
  const auto plan = std::make_shared<const kernels::SpanPlan>(
      kernels::SpanPlan::Full(latents, keys.k_bmhp.dim(1)));
  in.plans = {plan.get()};
  const Tensor mixed =
      Reshape(Attention(in, plan).out_bthe, {batch, latents, options_.heads * options_.head_width});
  const Tensor seen = Add(z_bnd, o_(mixed)), up = up_(norm_ff_(seen));
  if (options_.feed_forward == PerceiverConfig::GELU) return Add(seen, down_(Gelu(up)));
  const int64_t hidden = up.dim(2) / 2;
  return Add(seen, down_(Mul(Narrow(up, 2, 0, hidden), Gelu(Narrow(up, 2, hidden, hidden)))));
}

Tensor Block::Cross(const Tensor& z_bnd, const KeysAndValues& keys, const nn::Rows& rows) const {
  return Attend(z_bnd, norm_q_(z_bnd), keys, rows);
}

Tensor Block::Self(const Tensor& z_bnd) const {
  CHECK_EQ(options_.input_width, 0) << "a cross-attend is of other rows";
  const Tensor n_bnd = norm_q_(z_bnd);
  return Attend(z_bnd, n_bnd, KeysOfNormed(n_bnd), nn::Rows());
}

absl::StatusOr<std::unique_ptr<Perceiver>> Perceiver::Create(const PerceiverConfig& config,
                                                             const BuildArgs& args) {
  LR_RETURN_IF_ERROR(CheckConfig(config, args));
  LR_ASSIGN_OR_RETURN(Grid grid, GridOf(config, args));
  const int64_t axes = static_cast<int64_t>(grid.axis.size());
  LR_ASSIGN_OR_RETURN(std::vector<double> max_resolution, MaxResolution(config, grid.axis.size()));
  int64_t input_width = args.width;
  if (config.positions() == PerceiverConfig::FOURIER)
    input_width += FourierWidth(axes, config.bands());
  if (config.positions() == PerceiverConfig::LEARNED) input_width += config.learned_channels();

  BlockOptions latent;
  latent.latent_width = config.latent_width();
  latent.heads = config.latent_heads();
  latent.head_width = config.latent_head_width() > 0
                          ? config.latent_head_width()
                          : config.latent_width() / config.latent_heads();
  latent.qkv_biases = config.qkv_biases();
  latent.feed_forward = config.feed_forward();
  latent.widening = config.widening();
  latent.init_scale = config.init_scale();
  BlockOptions cross = latent;
  cross.input_width = input_width;
  cross.heads = config.cross_heads();
  cross.head_width = config.cross_head_width();
  if (cross.head_width == 0) {
    const int64_t inside = config.cross_width() == PerceiverConfig::OF_LATENTS ? latent.latent_width
                           : config.cross_width() == PerceiverConfig::OF_INPUTS
                               ? input_width
                               : std::min(latent.latent_width, input_width);
    if (inside % cross.heads != 0) {
      return Refuse("cross_heads", cross.heads,
                    absl::StrCat("a divisor of ", inside,
                                 ", the channels of cross_width; or set cross_head_width"));
    }
    cross.head_width = inside / cross.heads;
  }

  auto made = std::make_unique<Perceiver>();
  made->config_ = config;
  made->axis_ = std::move(grid.axis);
  made->max_resolution_ = std::move(max_resolution);
  if (config.permutation() > 0) made->place_ = Permutation(grid.places, config.permutation());
  BackboneTraits& traits = made->traits_;
  traits.direction = args.direction;
  traits.padding = MixerTraits::kBothSides;
  traits.max_tokens = grid.places;
  traits.output_rows = config.latents();
  traits.output_width = config.latent_width();

  constexpr double kLatentBound = 2;
  made->latents_nd_ = args.scope.Param("latents", {config.latents(), config.latent_width()},
                                       TruncatedNormal(config.latent_std(), kLatentBound));
  if (config.positions() == PerceiverConfig::LEARNED) {
    made->learned_re_ =
        args.scope.Param("positions", {grid.places, config.learned_channels()},
                         TruncatedNormal(config.learned_std(), 2 * config.learned_std()));
  } else if (config.positions() == PerceiverConfig::FOURIER && grid.places > 0) {
    made->fixed_codes_re_ = made->CodesOf(
        made->axis_[0], grid.places, Tensor::Empty({0}, args.scope.dtype(), args.scope.device()));
  }
  const int64_t last = config.cross_attends() - 1;
  for (int64_t set = 0; set <= made->CrossSetOf(last); ++set) {
    made->cross_.push_back(
        std::make_unique<Block>(cross, args.scope.Child(absl::StrCat("cross.", set))));
  }
  for (int64_t set = 0; set <= made->BlockSetOf(last); ++set) {
    made->latent_.emplace_back();
    for (int64_t layer = 0; layer < config.latent_layers(); ++layer) {
      made->latent_.back().push_back(std::make_unique<Block>(
          latent, args.scope.Child(absl::StrCat("latent.", set, ".layers.", layer))));
    }
  }
  return made;
}

int64_t Perceiver::CrossSetOf(int64_t t) const {
  switch (config_.sharing()) {
    case PerceiverConfig::ALL_BUT_FIRST_CROSS:
    case PerceiverConfig::ALL_BUT_FIRST:
      return std::min<int64_t>(t, 1);
    case PerceiverConfig::NONE:
      return t;
    case PerceiverConfig::ALL:
      return 0;
  }
  return t;
}

int64_t Perceiver::BlockSetOf(int64_t t) const {
  return config_.sharing() == PerceiverConfig::ALL_BUT_FIRST_CROSS ? 0 : CrossSetOf(t);
}

Tensor Perceiver::CodesOf(int64_t lines, int64_t places, const Tensor& like) const {
  const Shape shape = {places, FourierWidth(static_cast<int64_t>(axis_.size()), config_.bands())};
  if (like.is_meta()) return Tensor::Empty(shape, like.dtype(), like.device());
  std::vector<int64_t> axis = axis_;
  axis[0] = lines;
  std::vector<double> max_resolution = max_resolution_;
  for (size_t a = 0; a < axis.size(); ++a) {
    if (max_resolution[a] == 0) max_resolution[a] = static_cast<double>(axis[a]);
  }
  return Tensor::FromVector(shape, FourierCodes(GridCoordinates(axis, places), max_resolution,
                                                config_.bands(), config_.order()))
      .To(like.dtype());
}

Tensor Perceiver::WithPositions(const Tensor& x_bmw, const nn::Rows& given) const {
  if (config_.positions() == PerceiverConfig::NOWHERE) return x_bmw;
  const nn::Rows rows = x_bmw.is_meta() ? nn::Rows() : given;
  const int64_t batch = x_bmw.dim(0), length = x_bmw.dim(1);
  const Tensor table_re = learned_re_.defined() ? learned_re_ : fixed_codes_re_;
  Tensor codes;  // [M, E] of all samples, or [B, M, E]
  if (table_re.defined()) {
    const bool padded = rows.begin_b.defined();
    if (!padded && place_.empty()) {
      codes = Narrow(table_re, 0, 0, length);
    } else {
      const int64_t samples = padded ? batch : 1;
      Tensor place_sm = Tensor::Zeros({samples, length}, DType::kInt64);
      for (int64_t b = 0; b < samples; ++b) {
        const int64_t begin = padded ? BeginOf(rows, b) : 0;
        for (int64_t t = begin; t < length; ++t) {
          place_sm.mutable_data<int64_t>()[b * length + t] =
              place_.empty() ? t - begin : place_[t - begin];
        }
      }
      codes = Embedding(table_re, x_bmw.is_meta() ? place_sm.To(Device::kMeta) : place_sm);
    }
  } else {
    int64_t of_line = 1;
    for (size_t a = 1; a < axis_.size(); ++a) of_line *= axis_[a];
    // Places for the real rows, from the first of them on; padding gets whatever is there.
    const auto codes_of = [&](int64_t real) {
      const int64_t places = std::max<int64_t>(real, 1);
      return CodesOf((places + of_line - 1) / of_line, places, x_bmw);
    };
    if (!IsPadded(rows)) {
      codes = codes_of(length);
    } else {
      std::vector<Tensor> all;
      for (int64_t b = 0; b < batch; ++b) {
        const int64_t begin = std::min(BeginOf(rows, b), length),
                      end = std::max(EndOf(rows, b, length), begin);
        const Tensor real = codes_of(end - begin);
        const Shape sample = {1, length, real.dim(1)};
        Tensor placed = Tensor::Zeros(sample, x_bmw.dtype());
        if (end > begin) placed.View({length, real.dim(1)}).ViewRows(begin, end).CopyFrom(real);
        all.push_back(placed);
      }
      codes = Concat(all, 0);
    }
  }
  const int64_t width = codes.dim(codes.rank() - 1);
  if (codes.rank() == 2) codes = Reshape(codes, {1, length, width});
  if (codes.dim(0) != batch) codes = BroadcastTo(codes, {batch, length, width});
  return Concat({x_bmw, codes}, 2);
}

Tensor Perceiver::Read(const Tensor& given_bmc, const nn::Rows& rows) const {
  // Attention reads no padding, but a weight's gradient would: 0 times whatever stands there.
  const Tensor x_bmc = nn::WithoutPadding(given_bmc, rows);
  const int64_t batch = x_bmc.dim(0), latents = config_.latents(), width = config_.latent_width();
  Tensor z = BroadcastTo(Reshape(latents_nd_, {1, latents, width}), {batch, latents, width});
  Block::KeysAndValues keys;
  for (int64_t t = 0; t < config_.cross_attends(); ++t) {
    const int64_t set = CrossSetOf(t);
    if (t == 0 || set != CrossSetOf(t - 1)) keys = cross_[set]->KeysOf(x_bmc);
    z = cross_[set]->Cross(z, keys, rows);
    for (const std::unique_ptr<Block>& layer : latent_[BlockSetOf(t)]) z = layer->Self(z);
  }
  return z;
}

Sequence Perceiver::Forward(const Sequence& in, const nn::Call& /*call*/) const {
  return {Read(WithPositions(in.x_btd, in.rows), in.rows), nn::Rows()};
}

LR_REGISTER_PLUGIN(Backbone, PerceiverConfig, Perceiver::Create);

}  // namespace longrange::perceiver
