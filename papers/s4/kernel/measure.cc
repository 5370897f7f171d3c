#include "papers/s4/kernel/measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/autograd/fft_convolution.h"
#include "common/autograd/ops.h"
#include "common/autograd/tape.h"
#include "common/base/status_macros.h"
#include "common/base/thread_pool.h"
#include "common/nn/parameters.h"
#include "common/tensor/cost.h"
#include "papers/s4/init.h"
#include "papers/s4/recurrence.h"
#include "papers/s4/system.h"
#include "plugins/mixer.h"

namespace longrange {
namespace {

constexpr int64_t kMost = int64_t{1} << 22;  // of any size

template <typename Fn>
double Fastest(double seconds, Fn&& fn) {
  double best = std::numeric_limits<double>::infinity(), spent = 0;
  while (spent < seconds) {
    const auto start = std::chrono::steady_clock::now();
    fn();
    const double took =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::min(best, took);
    spent += std::max(took, 1e-9);
  }
  return best;
}

Tensor Noise(const Shape& shape, absl::string_view name) {
  const Tensor t = Tensor::Empty(shape, DType::kFloat32);
  const Rng rng = Rng(1).Child(name);
  for (int64_t i = 0; i < t.numel(); ++i)
    t.mutable_data<float>()[i] = static_cast<float>(rng.Normal(i));
  return t;
}

// The same numbers in float64, without a tape.
s4::System Widened(const s4::System& system) {
  s4::System wide = system;
  for (Tensor* t : {&wide.dt_raw_h, &wide.a_real_sm, &wide.a_imag_sm, &wide.b_sm2, &wide.p_rsm2,
                    &wide.c_chm2}) {
    if (t->defined()) *t = t->Detach().To(DType::kFloat64);
  }
  return wide;
}

Tensor RunRecurrence(const s4::Recurrence& step, const Tensor& u_bth) {
  const Tensor at_rest =
      Tensor::Zeros({u_bth.dim(0), step.delta_m2h.dim(0), 2, u_bth.dim(2)}, u_bth.dtype());
  return s4::Recur(step, u_bth, at_rest).y_btch.View(u_bth.shape());
}

struct Difference {
  double rms = 0, largest = 0;  // as in S4KernelRow
};

Difference Between(const Tensor& actual, const Tensor& expected) {
  const std::vector<double> a = actual.ToDoubles(), e = expected.ToDoubles();
  double difference = 0, value = 0, largest_difference = 0, largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - e[i]) * (a[i] - e[i]);
    value += e[i] * e[i];
    const double off = std::abs(a[i] - e[i]);
    if (!(off <= largest_difference)) largest_difference = off;  // NaN stays
    largest = std::max(largest, std::abs(e[i]));
  }
  return {std::sqrt(difference / value), largest_difference / largest};
}

template <typename Fn>
double FlopsOf(Fn&& fn) {
  const CostScope scope;
  fn();
  return scope.cost().flops;
}

S4KernelRow MeasureRow(const S4KernelSettings& settings, const S4KernelArm& arm, int64_t length) {
  S4Config config = arm.config();
  config.set_kernel_length(length);
  config.set_dt_min(std::min(config.dt_max(), 1.0 / static_cast<double>(length)));
  nn::ParameterStore store;
  const int64_t features = settings.features();
  const s4::System system =
      s4::CreateSystem(config, features, 1, nn::Scope(&store, Rng(2).Child(arm.name())));
  const Tensor x_btd = Noise({settings.batch(), length, features}, "x");
  S4KernelRow row;
  row.arm = arm.name();
  row.length = length;

  const auto kernel_of = [&](const s4::System& s) {
    return Reshape(s4::KernelOf(s, length), {length, features});
  };
  const auto convolve = [&](const Tensor& x, const Tensor& kernel) {
    return FftConvolution(x, kernel, Tensor(), Tensor());
  };
  const auto both_ways = [&](const auto& fn) {
    const Tensor out = fn();
    Backward({out}, {out.Detach()});
    store.ClearGradients();
  };
  Tensor kernel;
  {
    const NoGradScope no_grad;
    const s4::System wide = Widened(system);
    const s4::Recurrence step = s4::Discretise(wide), narrow = s4::CastTo(step, DType::kFloat32);
    const Tensor impulse = Tensor::Zeros({1, length, features}, DType::kFloat64);
    std::fill_n(impulse.mutable_data<double>(), features, 1.0);
    const Tensor expected = RunRecurrence(step, impulse).View({length, features});
    kernel = kernel_of(system);
    const Difference difference = Between(kernel, expected);
    row.kernel_rms = difference.rms;
    row.kernel_largest = difference.largest;
    row.kernel_wide_rms = Between(kernel_of(wide), expected).rms;
    const Tensor y_btd = RunRecurrence(step, x_btd.To(DType::kFloat64));
    row.output_rms = Between(convolve(x_btd, kernel), y_btd).rms;
    row.recurrence_rms = Between(RunRecurrence(narrow, x_btd), y_btd).rms;

    row.kernel_flops = FlopsOf([&] { kernel_of(system); });
    row.convolution_flops = FlopsOf([&] { convolve(x_btd, kernel); });
    row.recurrence_flops = FlopsOf([&] { RunRecurrence(narrow, x_btd); });
    row.kernel_seconds = Fastest(settings.seconds(), [&] { kernel_of(system); });
    row.convolution_seconds = Fastest(settings.seconds(), [&] { convolve(x_btd, kernel); });
    row.recurrence_seconds = Fastest(settings.seconds(), [&] { RunRecurrence(narrow, x_btd); });
    const Tensor one = Noise({settings.batch(), 1, features}, "one");
    Tensor state =
        s4::Recur(narrow, x_btd,
                  Tensor::Zeros({settings.batch(), narrow.delta_m2h.dim(0), 2, features}))
            .state_bm2h;
    row.step_seconds =
        Fastest(settings.seconds(), [&] { state = s4::Recur(narrow, one, state).state_bm2h; });
  }
  row.kernel_both_seconds =
      Fastest(settings.seconds(), [&] { both_ways([&] { return kernel_of(system); }); });
  row.convolution_both_seconds = Fastest(
      settings.seconds(), [&] { both_ways([&] { return convolve(Leaf(x_btd), Leaf(kernel)); }); });
  return row;
}

}  // namespace

absl::Status CheckSettings(const S4KernelSettings& settings) {
  const auto refuse = [](absl::string_view field, const absl::AlphaNum& got,
                         absl::string_view expected) {
    return absl::InvalidArgumentError(absl::StrCat(field, ": ", got, " (expected ", expected, ")"));
  };
  for (const auto& [field, value] :
       {std::pair("features", settings.features()), {"batch", settings.batch()}}) {
    if (value < 1 || value > kMost) return refuse(field, value, absl::StrCat("1 to ", kMost));
  }
  if (!(settings.seconds() > 0 && settings.seconds() <= 3600))
    return refuse("seconds", settings.seconds(), "above 0, 3600 at most");
  int64_t before = 0;
  for (const int64_t length : settings.length()) {
    if (length <= before || length > kMost)
      return refuse("length", length, absl::StrCat("ascending, 1 to ", kMost));
    before = length;
  }
  if (before == 0) return refuse("length", "none", "one or more");
  std::set<std::string> names;
  for (const S4KernelArm& arm : settings.arm()) {
    if (arm.name().empty() || !names.insert(arm.name()).second)
      return refuse("arm.name", absl::StrCat("'", arm.name(), "'"), "a name of its own");
    // The layer says what is wrong with a config.
    nn::ParameterStore store;
    BuildArgs args{nn::Scope(&store, Rng(), DType::kFloat32, Device::kMeta)};
    args.width = settings.features();
    google::protobuf::Any any;
    any.PackFrom(arm.config());
    LR_RETURN_IF_ERROR(Annotate(Registry<Mixer>::Get().Create(any, args).status(),
                                absl::StrCat("arm ", arm.name())));
  }
  if (names.empty()) return refuse("arm", "none", "one or more");
  return absl::OkStatus();
}

double MemoryOf(const S4KernelSettings& settings) {
  // Rows in float64 and float32, their spectra and gradients; a matrix or two of every feature.
  const auto length = static_cast<double>(*settings.length().rbegin()),
             features = static_cast<double>(settings.features());
  double state = 0;
  for (const S4KernelArm& arm : settings.arm())
    state = std::max(state, static_cast<double>(arm.config().d_state()));
  return 80 * length * features * static_cast<double>(settings.batch() + 2) +
         32 * features * state * state;
}

absl::StatusOr<S4KernelResults> MeasureS4Kernels(const S4KernelSettings& settings,
                                                 const OnS4KernelRow& on_row) {
  S4KernelResults results{settings, NumThreads(), {}};
  for (const S4KernelArm& arm : settings.arm()) {
    for (const int64_t length : settings.length()) {
      results.rows.push_back(MeasureRow(settings, arm, length));
      if (!on_row(absl::StrCat(arm.name(), ", ", length, " rows")))
        return absl::CancelledError("stopped");
    }
  }
  return results;
}

}  // namespace longrange
