// Numbers behind claims.textproto.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "common/autograd/tape.h"
#include "common/base/rng.h"
#include "common/nn/parameters.h"
#include "papers/claim_figure.h"
#include "papers/s4/init.h"
#include "papers/s4/recurrence.h"
#include "papers/s4/system.h"

namespace longrange {
namespace {

// |K - K'| / |K'| over 8 features whose memory is as long as the kernel; K from Cauchy sums in
// float32, K' by the recurrence in float64.
double KernelErrorAt16384() {
  constexpr int64_t kRows = 16384, kFeatures = 8;
  const NoGradScope no_grad;
  S4Config config;
  config.set_kernel_length(kRows);
  config.set_dt_min(1.0 / kRows);
  nn::ParameterStore store, wide_store;
  const s4::System system = s4::CreateSystem(config, kFeatures, 1, nn::Scope(&store, Rng(1)));
  const s4::System wide =
      s4::CreateSystem(config, kFeatures, 1, nn::Scope(&wide_store, Rng(1), DType::kFloat64));
  for (const nn::Parameter& p : wide_store.all())
    p.value.CopyFrom(store.Find(p.name)->value.To(DType::kFloat64));
  const Tensor impulse = Tensor::Zeros({1, kRows, kFeatures}, DType::kFloat64);
  std::fill_n(impulse.mutable_data<double>(), kFeatures, 1.0);
  const s4::Recurrence step = s4::Discretise(wide);
  const Tensor at_rest = Tensor::Zeros({1, config.d_state() / 2, 2, kFeatures}, DType::kFloat64);
  const std::vector<double> expected = s4::Recur(step, impulse, at_rest).y_btch.ToDoubles(),
                            actual = s4::KernelOf(system, kRows).ToDoubles();
  double difference = 0, size = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    difference += std::pow(actual[i] - expected[i], 2);
    size += std::pow(expected[i], 2);
  }
  return std::sqrt(difference / size);
}

LR_REGISTER_CLAIM_FIGURE("s4", KernelErrorAt16384);

}  // namespace
}  // namespace longrange
