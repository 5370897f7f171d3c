#include "papers/transformer_xl/evaluation_speed/measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/autograd/tape.h"
#include "common/base/refuse.h"
#include "common/base/status_macros.h"
#include "common/base/thread_pool.h"
#include "common/tensor/cost.h"
#include "papers/transformer_xl/transformer_xl.pb.h"
#include "plugins/model/model.h"
#include "plugins/stack/stack.pb.h"

namespace longrange {
namespace {

constexpr int64_t kMost = int64_t{1} << 20;  // of any size
constexpr int64_t kMostRounds = 10000;
constexpr double kSame = 1e-4;  // between two ways in float32

const Rng kRng(1);

absl::StatusOr<std::unique_ptr<Model>> CreateModel(const EvaluationSpeedSettings& settings,
                                                   ReadingWay way, int64_t attention,
                                                   int64_t layers) {
  TransformerXlConfig mixer;
  mixer.set_heads(settings.heads());
  mixer.set_segment(way == ReadingWay::kMemory     ? 1
                    : way == ReadingWay::kSegments ? settings.segment()
                                                   : attention);
  mixer.set_memory(way == ReadingWay::kWindow ? 0 : attention);
  mixer.set_same_length(way != ReadingWay::kWindow);
  StackConfig stack;
  stack.set_layers(layers);
  stack.mutable_mixer()->PackFrom(mixer);
  stack.mutable_feed_forward()->set_kind(FeedForwardConfig::RELU);
  stack.mutable_feed_forward()->set_width(settings.feed_forward_width());
  stack.mutable_feed_forward()->set_biases(true);
  stack.mutable_norm()->set_kind(NormConfig::LAYER);
  stack.set_norm_place(StackConfig::POST);
  ModelConfig config;
  config.set_vocabulary(settings.vocabulary());
  config.set_width(settings.width());
  config.set_tied(true);
  config.set_embedding_scale(0);
  config.mutable_backbone()->PackFrom(stack);
  ModelArgs args;
  args.init = kRng.Child("init");
  return Model::Create(config, args);
}

// Tokens [begin, begin + count) of the texts.
Tensor Tokens(const EvaluationSpeedSettings& settings, int64_t begin, int64_t count) {
  const Tensor ids = Tensor::Empty({settings.batch(), count}, DType::kInt32);
  for (int64_t b = 0; b < settings.batch(); ++b) {
    for (int64_t t = 0; t < count; ++t) {
      ids.mutable_data<int32_t>()[b * count + t] = static_cast<int32_t>(
          kRng.Child("text").Child(b).UniformInt(begin + t, settings.vocabulary()));
    }
  }
  return ids;
}

// One way at one attention length, ready to be measured again and again.
class Reader {
 public:
  static absl::StatusOr<std::unique_ptr<Reader>> Create(const EvaluationSpeedSettings& settings,
                                                        ReadingWay way, int64_t attention,
                                                        int64_t layers) {
    auto reader = std::unique_ptr<Reader>(new Reader(settings, way, attention));
    LR_ASSIGN_OR_RETURN(reader->model_, CreateModel(settings, way, attention, layers));
    if (way == ReadingWay::kWindow) return reader;
    // The memory is full.
    reader->state_ = reader->model_->NewState(settings.batch());
    const int64_t grid = way == ReadingWay::kSegments ? settings.segment() : 1;
    const int64_t filled = (attention + grid - 1) / grid * grid;
    reader->Read(filled);
    return reader;
  }

  // Reads on; how many tokens a measurement takes, and how many of them are timed as one.
  int64_t tokens() const {
    return way_ == ReadingWay::kMemory     ? settings_.steps()
           : way_ == ReadingWay::kSegments ? settings_.segment()
                                           : 1;
  }
  void Measure() {
    switch (way_) {
      case ReadingWay::kMemory:
        for (int64_t i = 0; i < settings_.steps(); ++i) Read(1);
        break;
      case ReadingWay::kSegments:
        Read(settings_.segment());
        break;
      case ReadingWay::kWindow: {
        const NoGradScope no_grad;
        const int64_t begin = read_ - attention_ + 1;
        ++read_;
        // The scores of the last token alone are wanted.
        const Tensor target = Tensor::Full({settings_.batch(), attention_}, -1, DType::kInt32);
        for (int64_t b = 0; b < settings_.batch(); ++b)
          target.mutable_data<int32_t>()[b * attention_ + attention_ - 1] = 0;
        model_->Score(Tokens(settings_, begin, attention_), target, nn::Rows(), nn::Call());
        break;
      }
    }
  }

  const Model& model() const { return *model_; }
  int64_t state_bytes() const { return state_.bytes(); }

 private:
  Reader(const EvaluationSpeedSettings& settings, ReadingWay way, int64_t attention)
      : settings_(settings), way_(way), attention_(attention), read_(attention) {
    if (way != ReadingWay::kWindow) read_ = 0;
  }

  void Read(int64_t count) {
    model_->ExtendScores(Tokens(settings_, read_, count),
                         Tensor::Full({settings_.batch(), count}, 0, DType::kInt32), nn::Rows(),
                         nn::Call(), &state_);
    read_ += count;
  }

  EvaluationSpeedSettings settings_;
  ReadingWay way_;
  int64_t attention_;
  int64_t read_;  // tokens so far
  std::unique_ptr<Model> model_;
  nn::State state_;
};

// Scores behind `attention` tokens by one layer, with the memory and with the window.
absl::StatusOr<double> DifferenceOfWays(const EvaluationSpeedSettings& settings,
                                        int64_t attention) {
  const NoGradScope no_grad;
  std::vector<std::vector<double>> logits;
  for (const ReadingWay way : {ReadingWay::kMemory, ReadingWay::kWindow}) {
    LR_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                        CreateModel(settings, way, attention, /*layers=*/1));
    constexpr int64_t kBefore = 3;  // tokens that no longer matter
    if (way == ReadingWay::kWindow) {
      const Tensor all =
          model->Logits(Tokens(settings, kBefore, attention), nn::Rows(), nn::Call());
      std::vector<double> last;
      const std::vector<double> values = all.ToDoubles();
      const int64_t row = settings.vocabulary();
      for (int64_t b = 0; b < settings.batch(); ++b) {
        const auto end = values.begin() + (b + 1) * attention * row;
        last.insert(last.end(), end - row, end);
      }
      logits.push_back(std::move(last));
      continue;
    }
    nn::State state = model->NewState(settings.batch());
    const int64_t total = kBefore + attention;
    model->Extend(Tokens(settings, 0, total - 1), nn::Rows(), nn::Call(), &state);
    logits.push_back(
        model->Extend(Tokens(settings, total - 1, 1), nn::Rows(), nn::Call(), &state).ToDoubles());
  }
  double error = 0, norm = 0;
  for (size_t i = 0; i < logits[0].size(); ++i) {
    error += (logits[0][i] - logits[1][i]) * (logits[0][i] - logits[1][i]);
    norm += logits[1][i] * logits[1][i];
  }
  return std::sqrt(error / norm);
}

}  // namespace

const char* NameOf(ReadingWay way) {
  switch (way) {
    case ReadingWay::kMemory:
      return "memory, token by token";
    case ReadingWay::kSegments:
      return "memory, by segments";
    case ReadingWay::kWindow:
      return "window read anew";
  }
  LOG(FATAL) << "no such way";
}

const EvaluationSpeedRow& EvaluationSpeedResults::At(ReadingWay way, int64_t attention) const {
  for (const EvaluationSpeedRow& row : rows) {
    if (row.way == way && row.attention == attention) return row;
  }
  LOG(FATAL) << NameOf(way) << " was not measured at " << attention;
}

absl::Status CheckSettings(const EvaluationSpeedSettings& settings) {
  for (const auto& [field, value] : {std::pair("width", settings.width()),
                                     {"layers", settings.layers()},
                                     {"feed_forward_width", settings.feed_forward_width()},
                                     {"vocabulary", settings.vocabulary()},
                                     {"batch", settings.batch()},
                                     {"segment", settings.segment()},
                                     {"steps", settings.steps()}}) {
    if (value < 1 || value > kMost) return Refuse(field, value, absl::StrCat("1 to ", kMost));
  }
  if (settings.rounds() < 1 || settings.rounds() > kMostRounds)
    return Refuse("rounds", settings.rounds(), absl::StrCat("1 to ", kMostRounds));
  int64_t before = 0;
  for (const int64_t attention : settings.attention()) {
    if (attention <= before || attention > kMost)
      return Refuse("attention", attention, absl::StrCat("ascending, 1 to ", kMost));
    before = attention;
  }
  if (settings.attention_size() < 2)
    return Refuse("attention", absl::StrCat(settings.attention_size(), " lengths"), "two or more");
  // The layer says what is wrong with its heads.
  return CreateModel(settings, ReadingWay::kMemory, settings.attention(0), 1).status();
}

absl::StatusOr<EvaluationSpeedResults> MeasureEvaluationSpeed(
    const EvaluationSpeedSettings& settings, const OnRound& on_round) {
  EvaluationSpeedResults results;
  results.settings = settings;
  results.threads = NumThreads();
  for (const int64_t attention : settings.attention()) {
    LR_ASSIGN_OR_RETURN(const double difference, DifferenceOfWays(settings, attention));
    if (!(difference <= results.difference)) results.difference = difference;  // NaN stays
  }
  if (!(results.difference <= kSame)) {
    return absl::InternalError(
        absl::StrCat("a token behind the memory and one behind its window "
                     "differ by an RMS ratio of ",
                     results.difference));
  }
  std::vector<std::unique_ptr<Reader>> readers;
  std::vector<std::vector<double>> seconds;
  for (const int64_t attention : settings.attention()) {
    for (const ReadingWay way : kReadingWays) {
      LR_ASSIGN_OR_RETURN(std::unique_ptr<Reader> reader,
                          Reader::Create(settings, way, attention, settings.layers()));
      EvaluationSpeedRow row;
      row.way = way;
      row.attention = attention;
      const CostScope cost;  // and a first run that is not timed
      reader->Measure();
      row.flops = cost.cost().flops / static_cast<double>(reader->tokens());
      row.state_bytes = reader->state_bytes();
      results.rows.push_back(row);
      readers.push_back(std::move(reader));
    }
    if (!on_round(absl::StrCat("attention to ", attention))) return absl::CancelledError("stopped");
  }
  seconds.resize(readers.size());
  for (int64_t round = 0; round < settings.rounds(); ++round) {
    for (size_t i = 0; i < readers.size(); ++i) {
      const auto start = std::chrono::steady_clock::now();
      readers[i]->Measure();
      seconds[i].push_back(
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() /
          static_cast<double>(readers[i]->tokens()));
    }
    if (!on_round(absl::StrCat("round ", round + 1))) return absl::CancelledError("stopped");
  }
  for (size_t i = 0; i < readers.size(); ++i) {
    std::sort(seconds[i].begin(), seconds[i].end());
    results.rows[i].seconds = seconds[i][seconds[i].size() / 2];
    results.rows[i].least = seconds[i].front();
    results.rows[i].most = seconds[i].back();
  }
  return results;
}

}  // namespace longrange
