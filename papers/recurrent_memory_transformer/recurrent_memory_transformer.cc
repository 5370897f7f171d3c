#include "papers/recurrent_memory_transformer/recurrent_memory_transformer.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/autograd/ops.h"
#include "common/base/refuse.h"
#include "common/base/status_macros.h"
#include "common/nn/recompute.h"

namespace longrange {
namespace {

using Config = RecurrentMemoryTransformerConfig;

constexpr int64_t kMostRows = 1 << 24;

// Some rows of one segment, and what stands around them.
struct Piece {
  int64_t first = 0, size = 0;  // rows [first, first + size) of the segment
  bool read = false;            // the memory stands before them
  bool write = false;           // and behind them
};

// Streaming state: "memory" [B, M, D] as the open segment has read it, "seen" [B] (int64) rows of
// the stream, and "backbone", the wrapped one's stream of the open segment.
class RecurrentMemory : public Backbone {
 public:
  static absl::StatusOr<std::unique_ptr<Backbone>> Create(const Config& config,
                                                          const BuildArgs& args);
  static absl::StatusOr<std::unique_ptr<Backbone>> Wrap(const Config& config,
                                                        std::unique_ptr<Backbone> inner,
                                                        const BuildArgs& args);

  const BackboneTraits& traits() const override { return traits_; }
  absl::Status Supports(int64_t batch, int64_t tokens, const nn::Rows& rows,
                        const nn::Call& call) const override;
  Sequence Forward(const Sequence& in, const nn::Call& call) const override;
  nn::State NewState(int64_t batch) const override;
  Sequence Extend(const Sequence& in, const nn::Call& call, nn::State* state) const override;

 private:
  bool both_ways() const { return traits_.direction == nn::Direction::kBidirectional; }
  bool in_front() const { return config_.placement() == Config::FRONT; }
  int64_t memory_rows() const { return config_.memory_tokens(); }

  // What the piece becomes for the wrapped backbone, and what comes out of it.
  int64_t InsideRows(const Piece& piece) const {
    return piece.size + memory_rows() * ((piece.read ? 1 : 0) + (piece.write ? 1 : 0));
  }
  Tensor Insert(const Tensor& x_btd, const Tensor& memory_bmd, const Piece& piece) const;
  nn::Rows Inside(const Piece& piece, const nn::Rows& rows, int64_t at) const;
  nn::Call Inside(nn::Call call) const;
  Tensor TokensOf(const Tensor& y_bud, const Piece& piece) const;
  Tensor WrittenIn(const Tensor& y_bud, const Piece& piece) const;

  // All of a segment at once: the wrapped backbone's rows.
  Tensor Run(const Tensor& x_btd, const Tensor& memory_bmd, const Piece& piece,
             const nn::Rows& inside, const nn::Call& call) const;
  Tensor FirstMemory(int64_t batch) const;
  // The memory as segment number `next` reads it, from what the one before wrote.
  Tensor HandOn(const Tensor& written_bmd, int64_t next, const nn::Call& call,
                std::vector<Tensor>* losses) const;
  void GiveLoss(const std::vector<Tensor>& losses, const nn::Call& call) const;
  bool Listens(const nn::Call& call) const {
    return memory_rows() > 0 && call.Child("memory").Wants("written");
  }

  Config config_;
  std::unique_ptr<Backbone> inner_;
  Tensor memory_md_;     // undefined without memory
  nn::Weight loss_out_;  // of the memory's own loss
  BackboneTraits traits_;
};

absl::Status CheckConfig(const Config& config) {
  if (config.segment() < 1 || config.segment() > kMostRows)
    return Refuse("segment", config.segment(), absl::StrCat("1 to ", kMostRows, " rows"));
  if (config.memory_tokens() < 0 || config.memory_tokens() > kMostRows) {
    return Refuse("memory_tokens", config.memory_tokens(),
                  absl::StrCat("0, for none, to ", kMostRows, " rows"));
  }
  if (config.depth() < -1 || config.depth() > kMostRows)
    return Refuse("depth", config.depth(), absl::StrCat("-1, for all, to ", kMostRows, " borders"));
  if (!(config.init_std() >= 0)) return Refuse("init_std", config.init_std(), "0 or more");
  if (!(config.memory_loss_weight() >= 0))
    return Refuse("memory_loss_weight", config.memory_loss_weight(), "0, for none, or more");
  if (config.memory_loss_tokens() < 2 || config.memory_loss_tokens() > kMostRows) {
    return Refuse("memory_loss_tokens", config.memory_loss_tokens(),
                  absl::StrCat("2 to ", kMostRows));
  }
  return absl::OkStatus();
}

// Can a backbone with these facts be read in such segments?
absl::Status CheckInner(const Config& config, const BackboneTraits& inner) {
  if (inner.output_rows > 0 || inner.output_width > 0) {
    return absl::InvalidArgumentError(
        "backbone: gives back rows of its own, among which the memory's are not (expected the rows "
        "that it is given)");
  }
  if (inner.segment > 0) {
    return absl::InvalidArgumentError(absl::StrCat("backbone: has segments of its own, of ",
                                                   inner.segment, " rows (expected none)"));
  }
  if (inner.min_tokens > 1 || inner.multiple_of > 1) {
    return absl::InvalidArgumentError(absl::StrCat("backbone: takes multiples of ",
                                                   inner.multiple_of, " rows, ", inner.min_tokens,
                                                   " or more (expected any number)"));
  }
  const int64_t rows = RecurrentMemoryRows(config);
  if (inner.max_tokens > 0 && inner.max_tokens < rows) {
    return Refuse("segment", config.segment(),
                  absl::StrCat("one that fits the backbone's ", inner.max_tokens,
                               " rows: it makes ", rows, " with the memory"));
  }
  const bool causal = inner.direction == nn::Direction::kCausal;
  if (causal && config.placement() == Config::FRONT) {
    return Refuse("placement", "FRONT",
                  "READ_WRITE: in a causal backbone the rows in front see none of the segment");
  }
  if (causal && config.mask() == Config::PAPER && config.memory_tokens() > 0 && !inner.frontier) {
    return Refuse("mask", "PAPER",
                  "CAUSAL: a mixer of this backbone takes no frontier, so that memory rows cannot "
                  "see those behind them");
  }
  if (!causal && config.mask() == Config::CAUSAL)
    return Refuse("mask", "CAUSAL", "PAPER: this backbone sees both ways");
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Backbone>> RecurrentMemory::Create(const Config& config,
                                                                  const BuildArgs& args) {
  LR_RETURN_IF_ERROR(CheckConfig(config));
  BuildArgs inside = args;
  inside.max_tokens = RecurrentMemoryRows(config);
  LR_ASSIGN_OR_RETURN(std::unique_ptr<Backbone> inner,
                      Registry<Backbone>::Get().Create(config.backbone(), inside));
  return Wrap(config, std::move(inner), args);
}

absl::StatusOr<std::unique_ptr<Backbone>> RecurrentMemory::Wrap(const Config& config,
                                                                std::unique_ptr<Backbone> inner,
                                                                const BuildArgs& args) {
  LR_RETURN_IF_ERROR(CheckConfig(config));
  LR_RETURN_IF_ERROR(CheckInner(config, inner->traits()));
  auto made = std::make_unique<RecurrentMemory>();
  made->config_ = config;
  made->inner_ = std::move(inner);
  BackboneTraits& traits = made->traits_;
  traits = made->inner_->traits();
  const bool causal = traits.direction == nn::Direction::kCausal;
  const bool left = config.alignment() == Config::LEFT, memory = config.memory_tokens() > 0;
  traits.segment = config.segment();
  traits.gradient_crosses_segments = memory && config.depth() < 0;
  traits.gradient_segments = memory && config.depth() >= 0 ? config.depth() + 1 : 1;
  traits.streams = traits.streams && left;
  traits.state = Growth::kConstant;
  traits.flops = Growth::kLinear;
  traits.max_tokens = 0;
  traits.documents = traits.frontier = traits.roles = false;
  traits.hosts = 0;
  // Padding behind a sequence is behind all that a causal row sees, and at an end of what the
  // wrapped backbone gets unless rows to be written stand there.
  const bool pads = left && (causal || config.placement() == Config::FRONT);
  traits.padding = pads ? std::min(traits.padding, MixerTraits::kRight) : MixerTraits::kNoPadding;
  if (memory) {
    traits.taps.push_back("memory/written");
    nn::Tags tags;
    tags.may_be_new = true;
    const nn::Init normal = nn::Normal(config.init_std());
    const nn::Init same = [normal](const Rng& rng, const Tensor& value) {
      if (value.is_meta()) return;
      const Tensor first = value.ViewRows(0, 1);
      normal(rng, first);
      for (int64_t m = 1; m < value.dim(0); ++m) value.ViewRows(m, m + 1).CopyFrom(first);
    };
    made->memory_md_ = args.scope.Param("memory", {config.memory_tokens(), args.width},
                                        config.init() == Config::SAME ? same : normal, tags);
    if (config.memory_loss_weight() > 0) {
      made->loss_out_ = args.scope.Linear("memory_loss", {config.memory_loss_tokens(), args.width},
                                          nn::FanInUniform(), tags);
    }
  }
  return made;
}

absl::Status RecurrentMemory::Supports(int64_t batch, int64_t tokens, const nn::Rows& rows,
                                       const nn::Call& call) const {
  LR_RETURN_IF_ERROR(SupportedBy(traits_, tokens, rows, call));
  const Piece piece = {0, std::min(tokens, config_.segment()), memory_rows() > 0,
                       memory_rows() > 0 && !in_front()};
  nn::Rows inside = Inside(piece, nn::Rows(), 0);
  // Of which rows it is does not matter here.
  if (rows.end_b.defined()) inside.end_b = rows.end_b;
  return inner_->Supports(batch, InsideRows(piece), inside, Inside(call));
}

Tensor RecurrentMemory::FirstMemory(int64_t batch) const {
  const int64_t rows = memory_rows(), width = memory_md_.dim(1);
  return BroadcastTo(Reshape(memory_md_, {1, rows, width}), {batch, rows, width});
}

Tensor RecurrentMemory::Insert(const Tensor& x_btd, const Tensor& memory_bmd,
                               const Piece& piece) const {
  if (!piece.read && !piece.write) return x_btd;
  std::vector<Tensor> parts = {x_btd};
  if (piece.read) parts.insert(parts.begin(), memory_bmd);
  if (piece.write) parts.push_back(memory_bmd);
  return Concat(parts, 1);
}

// The frontier of the paper's mask (section 3), in rows of the segment's stream; and
// the padding, of a piece whose rows begin at row `at` of the sequence.
nn::Rows RecurrentMemory::Inside(const Piece& piece, const nn::Rows& rows, int64_t at) const {
  nn::Rows inside;
  const int64_t memory = memory_rows();
  if (memory > 0 && config_.mask() == Config::PAPER && !both_ways()) {
    std::vector<int32_t> frontier;
    if (piece.read) frontier.assign(memory, static_cast<int32_t>(memory));
    const int64_t before = memory + piece.first;
    for (int64_t t = 1; t <= piece.size; ++t) frontier.push_back(static_cast<int32_t>(before + t));
    if (piece.write) {
      frontier.insert(frontier.end(), memory, static_cast<int32_t>(before + piece.size + memory));
    }
    inside.frontier_t =
        Tensor::FromVector<int32_t>({static_cast<int64_t>(frontier.size())}, frontier);
  }
  if (!rows.end_b.defined() || rows.end_b.is_meta()) return inside;
  Tensor end_b = Tensor::EmptyLike(rows.end_b);
  bool padded = false;
  for (int64_t b = 0; b < end_b.numel(); ++b) {
    const int64_t real =
        std::min(std::max<int64_t>(rows.end_b.data<int64_t>()[b] - at, 0), piece.size);
    const bool whole = real == piece.size;
    padded |= !whole;
    end_b.mutable_data<int64_t>()[b] = whole ? InsideRows(piece) : real + (piece.read ? memory : 0);
  }
  if (padded) inside.end_b = end_b;
  return inside;
}

nn::Call RecurrentMemory::Inside(nn::Call call) const {
  // What depends on the length goes by a whole segment, however much of it has come.
  call.horizon = RecurrentMemoryRows(config_);
  return call;
}

Tensor RecurrentMemory::TokensOf(const Tensor& y_bud, const Piece& piece) const {
  if (!piece.read && !piece.write) return y_bud;
  return Narrow(y_bud, 1, piece.read ? memory_rows() : 0, piece.size);
}

Tensor RecurrentMemory::WrittenIn(const Tensor& y_bud, const Piece& piece) const {
  return Narrow(y_bud, 1, in_front() ? 0 : InsideRows(piece) - memory_rows(), memory_rows());
}

Tensor RecurrentMemory::Run(const Tensor& x_btd, const Tensor& memory_bmd, const Piece& piece,
                            const nn::Rows& inside, const nn::Call& call) const {
  const auto run = [this, piece, inside](const std::vector<Tensor>& inputs, const nn::Call& at) {
    const Tensor memory = inputs.size() > 1 ? inputs[1] : Tensor();
    return inner_->Forward({Insert(inputs[0], memory, piece), inside}, at).x_btd;
  };
  std::vector<Tensor> inputs = {x_btd};
  if (memory_bmd.defined()) inputs.push_back(memory_bmd);
  return config_.recompute() && call.training ? nn::RecomputePart(run, inputs, Inside(call))
                                              : run(inputs, Inside(call));
}

Tensor RecurrentMemory::HandOn(const Tensor& written_bmd, int64_t next, const nn::Call& call,
                               std::vector<Tensor>* losses) const {
  const Tensor memory = call.Child("memory").Tap("written", written_bmd);
  if (config_.memory_loss_weight() > 0 && call.training && call.sink != nullptr) {
    const int64_t rows = memory.dim(0) * memory.dim(1);
    const Tensor logits = Linear(Reshape(memory, {rows, memory.dim(2)}), loss_out_());
    losses->push_back(
        Mean(CrossEntropy(logits, Tensor::Zeros({rows}, DType::kInt32, memory.device()))));
  }
  const bool detaches = config_.depth() >= 0 && next % (config_.depth() + 1) == 0;
  return detaches ? memory.Detach() : memory;
}

void RecurrentMemory::GiveLoss(const std::vector<Tensor>& losses, const nn::Call& call) const {
  if (losses.empty()) return;
  Tensor sum = losses[0];
  for (size_t i = 1; i < losses.size(); ++i) sum = Add(sum, losses[i]);
  call.sink->Loss(call.Child("memory").path, Scale(sum, 1 / static_cast<double>(losses.size())),
                  config_.memory_loss_weight());
}

Sequence RecurrentMemory::Forward(const Sequence& in, const nn::Call& call) const {
  const std::vector<int64_t> sizes = RecurrentMemorySegments(config_, in.x_btd.dim(1));
  const bool memory = memory_rows() > 0, listens = Listens(call);
  Tensor memory_bmd = memory ? FirstMemory(in.x_btd.dim(0)) : Tensor();
  std::vector<Tensor> parts, losses;
  int64_t at = 0;
  for (size_t s = 0; s < sizes.size(); at += sizes[s], ++s) {
    // Nobody reads what the last segment would write. Where rows see both ways, its rows do.
    const bool hands_on = memory && (s + 1 < sizes.size() || listens);
    const Piece piece = {0, sizes[s], memory, memory && !in_front() && (hands_on || both_ways())};
    const Tensor y_bud = Run(Narrow(in.x_btd, 1, at, piece.size), memory_bmd, piece,
                             Inside(piece, in.rows, at), call);
    parts.push_back(TokensOf(y_bud, piece));
    if (hands_on) {
      memory_bmd = HandOn(WrittenIn(y_bud, piece), static_cast<int64_t>(s) + 1, call, &losses);
    }
  }
  GiveLoss(losses, call);
  return {parts.size() == 1 ? parts[0] : Concat(parts, 1), in.rows};
}

nn::State RecurrentMemory::NewState(int64_t batch) const {
  nn::State state;
  if (memory_rows() > 0) state.Set("memory", FirstMemory(batch));
  state.Set("seen", Tensor::Zeros({batch}, DType::kInt64));
  *state.Child("backbone") = inner_->NewState(batch);
  return state;
}

Sequence RecurrentMemory::Extend(const Sequence& in, const nn::Call& call, nn::State* state) const {
  CHECK(!in.rows.begin_b.defined() && !in.rows.end_b.defined()) << "a stream of whole rows";
  const int64_t batch = in.x_btd.dim(0), rows = in.x_btd.dim(1), segment = config_.segment();
  const bool memory = memory_rows() > 0;
  int64_t seen = state->Get("seen").data<int64_t>()[0];
  std::vector<Tensor> parts, losses;
  for (int64_t at = 0; at < rows;) {
    const int64_t first = seen % segment, size = std::min(rows - at, segment - first);
    const bool closes = first + size == segment;
    const Piece piece = {first, size, memory && first == 0, memory && closes};
    const Tensor memory_bmd = memory ? state->Get("memory") : Tensor();
    nn::State* const inner = state->Child("backbone");
    const Tensor x_btd = Narrow(in.x_btd, 1, at, size);
    const nn::Rows inside = Inside(piece, nn::Rows(), 0);
    const Tensor y_bud =
        first == 0 && closes
            ? Run(x_btd, memory_bmd, piece, inside, call)
            : inner_->Extend({Insert(x_btd, memory_bmd, piece), inside}, Inside(call), inner).x_btd;
    parts.push_back(TokensOf(y_bud, piece));
    at += size;
    seen += size;
    if (!closes) continue;
    if (memory)
      state->Set("memory", HandOn(WrittenIn(y_bud, piece), seen / segment, call, &losses));
    if (first > 0) *inner = inner_->NewState(batch);
  }
  GiveLoss(losses, call);
  state->Set("seen", Tensor::Full({batch}, static_cast<double>(seen), DType::kInt64));
  return {parts.size() == 1 ? parts[0] : Concat(parts, 1), in.rows};
}

LR_REGISTER_PLUGIN(Backbone, RecurrentMemoryTransformerConfig, RecurrentMemory::Create);

}  // namespace

int64_t RecurrentMemoryRows(const RecurrentMemoryTransformerConfig& config) {
  const int64_t blocks = config.placement() == Config::FRONT ? 1 : 2;
  return config.segment() + blocks * config.memory_tokens();
}

std::vector<int64_t> RecurrentMemorySegments(const RecurrentMemoryTransformerConfig& config,
                                             int64_t rows) {
  CHECK_GE(rows, 1);
  const int64_t count = (rows + config.segment() - 1) / config.segment();
  const bool center = config.alignment() == Config::CENTER;
  const int64_t size = center ? (rows + count - 1) / count : config.segment();
  std::vector<int64_t> sizes;
  for (int64_t left = rows; left > 0; left -= sizes.back()) sizes.push_back(std::min(left, size));
  if (config.alignment() == Config::RIGHT) std::reverse(sizes.begin(), sizes.end());
  return sizes;
}

absl::StatusOr<std::unique_ptr<Backbone>> WrapInRecurrentMemory(
    const RecurrentMemoryTransformerConfig& config, std::unique_ptr<Backbone> inner,
    const BuildArgs& args) {
  return RecurrentMemory::Wrap(config, std::move(inner), args);
}

}  // namespace longrange
