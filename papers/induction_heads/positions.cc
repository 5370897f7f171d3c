// Learned positions that queries and keys know of and values do not (Press et al. 2020, with a
// learned table in the place of sinusoids).

#include <algorithm>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/autograd/ops.h"
#include "common/base/refuse.h"
#include "papers/induction_heads/induction_heads.pb.h"
#include "plugins/position.h"

namespace longrange {
namespace {

class LearnedPositions : public PositionScheme {
 public:
  LearnedPositions(const InductionHeadsPositionsConfig& config, const BuildArgs& args)
      : table_nd_(args.shared.Child("induction_heads_positions")
                      .SharedParam("table", {config.positions(), args.host_width},
                                   nn::Normal(config.init_std()), TableTags())) {}

  uint32_t uses() const override { return kAtQk; }
  int64_t max_positions() const override { return table_nd_.dim(0); }

  Tensor AddTo(const Tensor& x_btd, const std::vector<int64_t>& first_b,
               const nn::Call&) const override {
    const int64_t batch = x_btd.dim(0), rows = x_btd.dim(1);
    const bool alike = std::all_of(first_b.begin(), first_b.end(),
                                   [&](int64_t first) { return first == first_b[0]; });
    const int64_t tables = alike ? std::min<int64_t>(batch, 1) : batch;
    Tensor place_bt = Tensor::Empty({tables, rows}, DType::kInt64);
    for (int64_t b = 0; b < tables; ++b) {
      CHECK_LE(first_b[b] + rows, max_positions()) << "more rows than there are positions";
      for (int64_t t = 0; t < rows; ++t)  // padding stands anywhere
        place_bt.mutable_data<int64_t>()[b * rows + t] = std::max<int64_t>(0, first_b[b] + t);
    }
    return Add(x_btd, Embedding(table_nd_, place_bt.To(x_btd.device())));
  }

 private:
  static nn::Tags TableTags() {
    nn::Tags tags;
    tags.may_be_new = true;
    return tags;
  }

  Tensor table_nd_;
};

absl::StatusOr<std::unique_ptr<PositionScheme>> CreatePositions(
    const InductionHeadsPositionsConfig& config, const BuildArgs& args) {
  constexpr int64_t kMost = int64_t{1} << 24;
  if (config.positions() < 1 || config.positions() > kMost) {
    return Refuse("positions", config.positions(), absl::StrCat("1 to ", kMost));
  }
  if (!(config.init_std() >= 0)) return Refuse("init_std", config.init_std(), "0 or more");
  if (args.host_width < 1) {
    return absl::InvalidArgumentError(
        "position: learned positions need to know how wide the rows of their host are");
  }
  return std::make_unique<LearnedPositions>(config, args);
}

LR_REGISTER_PLUGIN(PositionScheme, InductionHeadsPositionsConfig, CreatePositions);

}  // namespace
}  // namespace longrange
