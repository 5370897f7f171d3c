// How far attention looks back: the mean over queries t >= skip of sum_s p(t, s) (t - s), for each
// layer and head. B batch, H heads, T rows.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "papers/_skeleton/my_probe/my_probe.pb.h"
#include "plugins/probe.h"

namespace longrange {
namespace {

class MyProbe : public Probe {
 public:
  explicit MyProbe(const MyProbeConfig& config) : skip_(config.skip()) {}

  std::vector<std::string> Needs() const override { return {"attention"}; }

 protected:
  absl::StatusOr<std::vector<Row>> Run(const Model& model, const ProbeArgs& args) const override {
    const int64_t rows = args.ids_bt.dim(1);
    if (skip_ >= rows) {
      return absl::InvalidArgumentError(
          absl::StrCat("skip: ", skip_, " (expected less than the ", rows, " rows of a sequence)"));
    }
    std::vector<Row> figures;
    Look(model, args, "attention", [&](absl::string_view path, const Tensor& p_bhtt) {
      const std::vector<double> distance_h = MeanDistance(p_bhtt);
      for (size_t head = 0; head < distance_h.size(); ++head) {
        figures.push_back(Row()
                              .Set("figure", "attention_distance")
                              .Set("layer", absl::StripSuffix(path, "/attention"))
                              .Set("head", static_cast<int64_t>(head))
                              .Set("value", distance_h[head]));
      }
      return p_bhtt;
    });
    return figures;
  }

 private:
  std::vector<double> MeanDistance(const Tensor& p_bhtt) const {
    const int64_t batch = p_bhtt.dim(0), heads = p_bhtt.dim(1), rows = p_bhtt.dim(2);
    const std::vector<double> p = p_bhtt.ToDoubles();
    std::vector<double> sum_h(heads, 0);
    size_t at = 0;
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t t = 0; t < rows; ++t) {
          for (int64_t s = 0; s < rows; ++s, ++at)
            if (t >= skip_) sum_h[h] += p[at] * static_cast<double>(t - s);
        }
      }
    }
    for (double& sum : sum_h) sum /= static_cast<double>(batch * (rows - skip_));
    return sum_h;
  }

  int64_t skip_;
};

absl::StatusOr<std::unique_ptr<Probe>> CreateMyProbe(const MyProbeConfig& config,
                                                     const Probe::Args&) {
  if (config.skip() < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("skip: ", config.skip(), " (expected 0 or more)"));
  }
  return std::make_unique<MyProbe>(config);
}

LR_REGISTER_PLUGIN(Probe, MyProbeConfig, CreateMyProbe);

}  // namespace
}  // namespace longrange
