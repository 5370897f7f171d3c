// Golden cases of s4: HiPPO matrices and their normal forms, kernels of systems with low rank, a
// whole layer, and a diagonal system over two segments. B batch, L rows, H features, S copies, M
// modes, C outputs a feature, R rank; layouts of the cases are the reference's.

#include "plugins/golden/golden_adapter.h"

#include <complex>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/autograd/fft_convolution.h"
#include "common/autograd/ops.h"
#include "common/autograd/tape.h"
#include "common/base/status_macros.h"
#include "common/hippo/hippo.h"
#include "common/io/name_map.h"
#include "papers/s4/s4.pb.h"
#include "papers/s4/system.h"
#include "plugins/golden/comparison.h"
#include "plugins/hugging_face/json_fields.h"
#include "plugins/mixer.h"

namespace longrange {
namespace {

using Complex = std::complex<double>;
absl::Status Expected(absl::string_view where, absl::string_view got, absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": '", got, "' (expected ", expected, ")"));
}

// The columns of V, turned as those of the case are: any phase is an eigenvector's.
Tensor Phases(const Tensor& v_nm2, const Tensor& theirs_nm2) {
  const int64_t n = v_nm2.dim(0), modes = v_nm2.dim(1);
  const Tensor wide = theirs_nm2.To(DType::kFloat64);
  const auto* ours = reinterpret_cast<const Complex*>(v_nm2.data<double>());
  const auto* theirs = reinterpret_cast<const Complex*>(wide.data<double>());
  const Tensor phase_m2 = Tensor::Empty({modes, 2}, DType::kFloat64);
  for (int64_t m = 0; m < modes; ++m) {
    Complex dot = 0;
    for (int64_t i = 0; i < n; ++i) dot += std::conj(ours[i * modes + m]) * theirs[i * modes + m];
    reinterpret_cast<Complex*>(phase_m2.mutable_data<double>())[m] = dot / std::abs(dot);
  }
  return phase_m2;
}

// Each row of x [.., M, 2] times phase [M, 2], or its conjugate.
Tensor Turned(const Tensor& x, const Tensor& phase_m2, bool conjugate) {
  const Tensor y = x.Clone();
  const int64_t modes = phase_m2.dim(0);
  auto* values = reinterpret_cast<Complex*>(y.mutable_data<double>());
  const auto* phase = reinterpret_cast<const Complex*>(phase_m2.data<double>());
  for (int64_t i = 0; i < y.numel() / 2; ++i)
    values[i] *= conjugate ? std::conj(phase[i % modes]) : phase[i % modes];
  return y;
}

Tensor Magnitude(const Tensor& x) {
  const Shape& shape = x.shape();
  const Tensor y = Tensor::Empty(Shape(shape.dims().subspan(0, shape.rank() - 1)), x.dtype());
  for (int64_t i = 0; i < y.numel(); ++i) {
    y.mutable_data<double>()[i] = std::abs(reinterpret_cast<const Complex*>(x.data<double>())[i]);
  }
  return y;
}

// B conj(P_0), whose phases cancel.
Tensor BTimesConjP(const hippo::NormalForm& form) {
  const Tensor y = form.b_m2.Clone();
  for (int64_t m = 0; m < y.dim(0); ++m) {
    reinterpret_cast<Complex*>(y.mutable_data<double>())[m] *=
        std::conj(reinterpret_cast<const Complex*>(form.p_rm2.data<double>())[m]);
  }
  return y;
}

struct SystemName {
  const char* name;
  hippo::Measure measure;
};
constexpr SystemName kSystems[] = {{"legs", hippo::Measure::kLegS},
                                   {"legt", hippo::Measure::kLegT},
                                   {"fourier", hippo::Measure::kFourier}};
struct DiagonalName {
  const char* name;
  hippo::Diagonal kind;
};
constexpr DiagonalName kDiagonals[] = {{"s4d_lin", hippo::Diagonal::kLin},
                                       {"s4d_inv", hippo::Diagonal::kInv},
                                       {"s4d_quad", hippo::Diagonal::kQuad},
                                       {"s4d_real", hippo::Diagonal::kReal},
                                       {"s4d_legs", hippo::Diagonal::kLegS}};

// Results "out.<system>.<what>"; a number behind the system's name is its size, else N's.
absl::Status RunHippo(const GoldenCase& golden, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(golden.config(), "config"));
  LR_ASSIGN_OR_RETURN(const int64_t state_size, fields.Integer("N"));
  fields.Skip({"B_clip", "N_large", "rank"});  // the names and the tensors say the same
  LR_RETURN_IF_ERROR(fields.Done());
  for (const std::string& full : golden.ResultNames()) {
    const std::vector<std::string> parts = absl::StrSplit(full, '.');
    if (parts.size() != 3) return Expected(full, full, "out.<system>.<what>");
    const std::string &system = parts[1], &what = parts[2];
    const auto size_behind = [&](absl::string_view name) -> int64_t {
      absl::string_view rest = system;
      int64_t n = state_size;
      if (!absl::ConsumePrefix(&rest, name)) return 0;
      if (!rest.empty() && !absl::SimpleAtoi(rest, &n)) return 0;
      return n >= 2 && n % 2 == 0 && n <= 1024 ? n : 0;
    };
    Tensor result;
    for (const DiagonalName& d : kDiagonals) {
      if (const int64_t n = size_behind(d.name); n > 0 && what == "A")
        result = hippo::DiagonalModes(d.kind, n);
    }
    for (const SystemName& s : kSystems) {
      const int64_t n = size_behind(s.name);
      if (n == 0) continue;
      const hippo::System matrices = hippo::MakeSystem(s.measure, n);
      const hippo::NormalForm form = hippo::Diagonalise(matrices, hippo::Modes::kHalf);
      if (what == "A") result = matrices.a_nn;
      if (what == "B") result = matrices.b_n;
      if (what == "P") result = matrices.p_rn;
      if (what == "Lambda") result = form.lambda_m2;
      if (what == "absP_rot") result = Magnitude(form.p_rm2);
      if (what == "absB_rot") result = Magnitude(form.b_m2);
      if (what == "BconjP_rot") result = BTimesConjP(form);
      if (what == "V" || what == "P_rot" || what == "B_rot") {
        LR_ASSIGN_OR_RETURN(const Tensor v, golden.Get(absl::StrCat("out.", system, ".V")));
        if (v.shape() != form.v_nm2.shape())
          return Expected(absl::StrCat("out.", system, ".V"), v.shape().ToString(), "[N, N/2, 2]");
        const Tensor phase = Phases(form.v_nm2, v);
        if (what == "V") result = Turned(form.v_nm2, phase, false);
        if (what == "P_rot") result = Turned(form.p_rm2, phase, true);
        if (what == "B_rot") result = Turned(form.b_m2, phase, true);
      }
    }
    if (!result.defined()) return Expected(full, full, "a system and a quantity of HiPPO");
    check->Check(full, result);
  }
  return absl::OkStatus();
}

// Theirs -> ours, of the systems' parameters. What the recurrence's C is follows from C~.
NameMap SystemNames(const std::string& prefix, int64_t modes) {
  NameMap names;
  names.Add(absl::StrCat(prefix, "inv_dt"), "dt_raw", {Transform::Reshape({-1, 1}, {-1})})
      .Add(absl::StrCat(prefix, "A_real"), "a_real")
      .Add(absl::StrCat(prefix, "A_imag"), "a_imag")
      .Add(absl::StrCat(prefix, "B"), "b", {Transform::Reshape({1, -1, modes, 2}, {-1, modes, 2})})
      .Add(absl::StrCat(prefix, "C"), "c")
      .Ignore(absl::StrCat(prefix, "C_untruncated"));
  return names;
}

// A system whose tensors are leaves, from the case's, as it asks for them.
struct LoadedSystem {
  s4::System system;
  NameMap names;
  TensorMap leaves;  // by our names

  // The gradients of the leaves under the case's names.
  absl::StatusOr<TensorMap> Gradients() const {
    TensorMap ours;
    for (const auto& [name, leaf] : leaves) {
      const Tensor gradient = Gradient(leaf);
      ours[name] = gradient.defined() ? gradient : Tensor::ZerosLike(leaf);
    }
    return names.Export(ours);
  }
};

absl::StatusOr<int64_t> Size(const GoldenCase& golden, const std::string& name, int dim) {
  LR_ASSIGN_OR_RETURN(const Tensor t, golden.Get(name));
  if (dim >= t.rank() || -dim > t.rank())
    return Expected(name, t.shape().ToString(), "more dimensions");
  return t.dim(dim);
}

// What the config says of every system.
absl::Status ReadSystem(JsonFields* fields, s4::System* system) {
  LR_ASSIGN_OR_RETURN(const std::string dt, fields->String("dt_transform", "exp"));
  LR_ASSIGN_OR_RETURN(const std::string re, fields->String("real_transform", "exp"));
  LR_ASSIGN_OR_RETURN(const std::string im, fields->String("imag_transform", "none"));
  if (dt != "exp" && dt != "softplus")
    return Expected("config.dt_transform", dt, "exp or softplus");
  if (re != "exp") return Expected("config.real_transform", re, "exp");
  if (im != "none") return Expected("config.imag_transform", im, "none");
  system->softplus = dt == "softplus";
  fields->Skip({"A_noise", "d_model", "d_state", "init", "rank"});  // stated by the tensors
  return absl::OkStatus();
}

absl::StatusOr<LoadedSystem> LoadSystem(const GoldenCase& golden, const s4::System& options,
                                        DType dtype) {
  LR_ASSIGN_OR_RETURN(const int64_t features, Size(golden, "param.inv_dt", 0));
  LR_ASSIGN_OR_RETURN(const int64_t copies, Size(golden, "param.A_real", 0));
  LR_ASSIGN_OR_RETURN(const int64_t modes, Size(golden, "param.A_real", -1));
  LR_ASSIGN_OR_RETURN(const int64_t outputs, Size(golden, "param.C", 0));
  if (copies < 1 || features % copies != 0)
    return Expected("param.A_real", absl::StrCat(copies, " copies"), "a divisor of the features");
  LoadedSystem loaded{options, SystemNames("", modes), {}};
  std::vector<WantedTensor> wanted = {{"dt_raw", {features}, dtype},
                                      {"a_real", {copies, modes}, dtype},
                                      {"a_imag", {copies, modes}, dtype},
                                      {"b", {copies, modes, 2}, dtype},
                                      {"c", {outputs, features, modes, 2}, dtype}};
  if (golden.Has("param.P")) {
    loaded.names.Add("P", "p");
    LR_ASSIGN_OR_RETURN(const int64_t rank, Size(golden, "param.P", 0));
    if (rank < 1 || rank > 2) return Expected("param.P", absl::StrCat("rank ", rank), "1 or 2");
    wanted.push_back({"p", {rank, copies, modes, 2}, dtype});
  }
  LR_ASSIGN_OR_RETURN(const TensorMap values, loaded.names.Import(golden.Group("param."), wanted));
  for (const auto& [name, value] : values) loaded.leaves[name] = Leaf(value.Clone());
  const auto leaf = [&](const char* name) { return loaded.leaves.at(name); };
  loaded.system.dt_raw_h = leaf("dt_raw");
  loaded.system.a_real_sm = leaf("a_real");
  loaded.system.a_imag_sm = leaf("a_imag");
  loaded.system.b_sm2 = leaf("b");
  loaded.system.c_chm2 = leaf("c");
  if (golden.Has("param.P")) loaded.system.p_rsm2 = leaf("p");
  return loaded;
}

// Walks back from the outputs for which the case has cotangents.
absl::Status BackwardFrom(const GoldenCase& golden, const TensorMap& outputs) {
  std::vector<Tensor> roots, cotangents;
  for (const auto& [name, output] : outputs) {
    if (!golden.Has(absl::StrCat("cotangent.", name))) continue;
    LR_ASSIGN_OR_RETURN(const Tensor cotangent, golden.Cotangent(name));
    if (cotangent.shape() != output.shape())
      return Expected(absl::StrCat("cotangent.", name), cotangent.shape().ToString(),
                      output.shape().ToString());
    roots.push_back(output);
    cotangents.push_back(cotangent.To(output.dtype()));
  }
  Backward(roots, cotangents);
  return absl::OkStatus();
}

absl::Status CompareGradients(const GoldenCase& golden, const LoadedSystem& loaded,
                              const TensorMap& inputs, const GoldenCompare& compare) {
  LR_ASSIGN_OR_RETURN(TensorMap gradients, loaded.Gradients());
  for (const auto& [name, gradient] : gradients) {
    const std::string full = absl::StrCat("grad.param.", name);
    if (golden.Has(full)) compare(full, gradient);
  }
  for (const auto& [name, leaf] : inputs) {
    const std::string full = absl::StrCat("grad.in.", name);
    if (golden.Has(full)) compare(full, Gradient(leaf));
  }
  return absl::OkStatus();
}

// [B, M, 2, H] -> [B, H, M, 2], and back.
Tensor FeaturesFirst(const Tensor& x_bm2h) { return Permute(x_bm2h, {0, 3, 1, 2}); }
Tensor LanesLast(const Tensor& x_bhm2) { return Permute(x_bhm2, {0, 2, 3, 1}); }
// A coefficient [M, 2, H] -> [H, M, 2].
Tensor Coefficient(const Tensor& x_m2h) { return Permute(x_m2h, {2, 0, 1}); }

// 1 + delta, [H, M, 2].
Tensor Diagonal(const s4::Recurrence& step) {
  const Tensor a = Coefficient(step.delta_m2h).Detach().Clone();
  for (int64_t i = 0; i < a.numel(); i += 2) a.mutable_data<double>()[i] += 1;
  return a;
}

// The matrix of a step on the modes and their conjugates, [H, N, N, 2].
Tensor WholeMatrix(const s4::Recurrence& step) {
  const Tensor a = Diagonal(step);
  const int64_t h = a.dim(0), m = a.dim(1), rank = step.g_rm2h.dim(0);
  const auto element = [&](const Tensor& t_rm2h, int64_t r, int64_t i, int64_t feature) {
    const double* at = t_rm2h.data<double>() + (r * m + i) * 2 * h + feature;
    return Complex(at[0], at[h]);
  };
  const Tensor whole = Tensor::Zeros({h, 2 * m, 2 * m, 2}, DType::kFloat64);
  for (int64_t f = 0; f < h; ++f) {
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t k = 0; k < m; ++k) {
        // g Re(w · x) is half of g w on the modes and half of g conj(w) on the conjugates.
        Complex same = i == k ? reinterpret_cast<const Complex*>(a.data<double>())[f * m + i] : 0.0;
        Complex other = 0;
        for (int64_t r = 0; r < rank; ++r) {
          const Complex g = element(step.g_rm2h, r, i, f) / 2.0, w = element(step.w_rm2h, r, k, f);
          same -= g * w;
          other -= g * std::conj(w);
        }
        auto* out = reinterpret_cast<Complex*>(whole.mutable_data<double>()) + f * 4 * m * m;
        out[i * 2 * m + k] = same;
        out[i * 2 * m + m + k] = other;
        out[(m + i) * 2 * m + k] = std::conj(other);
        out[(m + i) * 2 * m + m + k] = std::conj(same);
      }
    }
  }
  return whole;
}

// in.u [B, H, L] -> the kernel out.K [C, H, L], its convolution out.y [B, C, H, L], and the step.
absl::Status RunKernel(const GoldenCase& golden, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(golden.config(), "config"));
  s4::System options;
  LR_RETURN_IF_ERROR(ReadSystem(&fields, &options));
  LR_ASSIGN_OR_RETURN(options.length, fields.Integer("L"));
  LR_ASSIGN_OR_RETURN(const std::string rule, fields.String("discretization", "bilinear"));
  options.bilinear = rule == "bilinear";
  if (rule != "bilinear" && (rule != "zoh" || golden.Has("param.P")))
    return Expected("config.discretization", rule, "bilinear, or zoh of a diagonal system");
  fields.Skip({"channels"});
  LR_RETURN_IF_ERROR(fields.Done());
  LR_ASSIGN_OR_RETURN(const Tensor u_bhl, golden.In("u"));
  LR_ASSIGN_OR_RETURN(const Tensor steps, golden.In("state_at_steps"));
  LR_ASSIGN_OR_RETURN(const int64_t features, Size(golden, "param.inv_dt", 0));
  if (u_bhl.rank() != 3 || u_bhl.dim(1) != features || u_bhl.dim(2) != options.length)
    return Expected("in.u", u_bhl.shape().ToString(), "[B, H, L]");
  for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
    for (const bool recurrent : {false, true}) {
      LR_ASSIGN_OR_RETURN(const LoadedSystem loaded, LoadSystem(golden, options, dtype));
      const GoldenCompare compare = CompareByType(check, dtype, recurrent ? "recurrent" : "FFT");
      const Tensor u = Leaf(u_bhl.To(dtype).Clone()), u_blh = Permute(u, {0, 2, 1});
      const int64_t batch = u_blh.dim(0), rows = u_blh.dim(1), modes = loaded.system.c_chm2.dim(2);
      const Tensor k_clh = s4::KernelOf(loaded.system, rows);
      TensorMap outputs = {{"K", Permute(k_clh, {0, 2, 1})}};
      if (recurrent) {
        const s4::Recurrence step = s4::Discretise(loaded.system);
        const Tensor at_rest = Tensor::Zeros({batch, modes, 2, features}, dtype);
        const s4::Recurrence cast = s4::CastTo(step, dtype);
        outputs["y"] = Permute(s4::Recur(cast, u_blh, at_rest).y_btch, {0, 2, 3, 1});
        if (dtype == DType::kFloat64) {
          compare("out.dA", loaded.system.diagonal() ? Diagonal(step) : WholeMatrix(step));
          compare("out.dB", Coefficient(step.b_m2h));
          compare("out.dt", Reshape(s4::StepOf(loaded.system), {features, 1}));
        }
        std::vector<Tensor> states;
        for (const int64_t at : steps.ToInts()) {
          if (at < 0 || at >= rows)
            return Expected("in.state_at_steps", absl::StrCat(at), "rows of in.u");
          const s4::RecurResult until = s4::Recur(cast, Narrow(u_blh, 1, 0, at + 1), at_rest);
          states.push_back(
              Reshape(FeaturesFirst(until.state_bm2h), {batch, features, modes, 1, 2}));
        }
        compare("out.state_at", Concat(states, 3));
      } else {
        std::vector<Tensor> y;
        for (int64_t c = 0; c < k_clh.dim(0); ++c) {
          const Tensor filter = Reshape(Narrow(k_clh, 0, c, 1), {rows, features});
          y.push_back(Reshape(Permute(FftConvolution(u_blh, filter, Tensor(), Tensor()), {0, 2, 1}),
                              {batch, 1, features, rows}));
        }
        outputs["y"] = Concat(y, 1);
        compare("out.K", outputs["K"]);
      }
      compare("out.y", outputs["y"]);
      LR_RETURN_IF_ERROR(BackwardFrom(golden, outputs));
      LR_RETURN_IF_ERROR(CompareGradients(golden, loaded, {{"u", u}}, compare));
    }
  }
  return absl::OkStatus();
}

// in.x0, in.x1 [B, H, L], one after the other from in.state0 [B, H, M, 2]: a diagonal system.
absl::Status RunSegments(const GoldenCase& golden, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(golden.config(), "config"));
  s4::System options;
  LR_RETURN_IF_ERROR(ReadSystem(&fields, &options));
  LR_ASSIGN_OR_RETURN(const std::string rule, fields.String("disc", "zoh"));
  if (rule != "zoh" && rule != "bilinear") return Expected("config.disc", rule, "zoh or bilinear");
  options.bilinear = rule == "bilinear";
  fields.Skip({"L0", "L1"});
  LR_RETURN_IF_ERROR(fields.Done());
  LR_ASSIGN_OR_RETURN(const Tensor d_h, golden.In("D"));
  LR_ASSIGN_OR_RETURN(const Tensor state_bhm2, golden.In("state0"));
  LR_ASSIGN_OR_RETURN(const Tensor x0_bhl, golden.In("x0"));
  LR_ASSIGN_OR_RETURN(const Tensor x1_bhl, golden.In("x1"));
  for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
    LR_ASSIGN_OR_RETURN(const LoadedSystem loaded, LoadSystem(golden, options, dtype));
    const int64_t h = loaded.system.features(), modes = loaded.system.a_real_sm.dim(1);
    if (d_h.shape() != Shape({h})) return Expected("in.D", d_h.shape().ToString(), "[H]");
    for (const Tensor& x : {x0_bhl, x1_bhl}) {
      if (x.rank() != 3 || x.dim(1) != h || x.dim(0) != x0_bhl.dim(0))
        return Expected("in.x0, in.x1", x.shape().ToString(), "[B, H, L]");
    }
    if (state_bhm2.shape() != Shape({x0_bhl.dim(0), h, modes, 2}))
      return Expected("in.state0", state_bhm2.shape().ToString(), "[B, H, M, 2]");
    const GoldenCompare compare = CompareByType(check, dtype, "recurrent");
    const s4::Recurrence step = s4::Discretise(loaded.system), cast = s4::CastTo(step, dtype);
    const Tensor d = d_h.To(dtype);
    TensorMap inputs, outputs;
    Tensor state = LanesLast(state_bhm2.To(dtype));
    for (const int segment : {0, 1}) {
      const Tensor x = Leaf((segment == 0 ? x0_bhl : x1_bhl).To(dtype).Clone());
      inputs[absl::StrCat("x", segment)] = x;
      const Tensor u_blh = Permute(x, {0, 2, 1});
      const s4::RecurResult result = s4::Recur(cast, u_blh, state);
      state = result.state_bm2h;
      const Tensor y_blh = Add(Reshape(result.y_btch, u_blh.shape()), Mul(u_blh, d));
      outputs[absl::StrCat("y", segment)] = Permute(y_blh, {0, 2, 1});
      outputs[absl::StrCat("state", segment + 1)] = FeaturesFirst(state);
    }
    for (const auto& [name, output] : outputs) compare(absl::StrCat("out.", name), output);
    const Tensor k_lh = s4::KernelOf(loaded.system, x0_bhl.dim(2));
    compare("out.K0", Permute(Reshape(k_lh, {k_lh.dim(1), h}), {1, 0}));
    if (dtype == DType::kFloat64) {
      compare("out.dA", Diagonal(step));
      compare("out.dB", Coefficient(step.b_m2h));
    }
    LR_RETURN_IF_ERROR(BackwardFrom(golden, outputs));
    LR_RETURN_IF_ERROR(CompareGradients(golden, loaded, inputs, compare));
  }
  return absl::OkStatus();
}

absl::StatusOr<S4Config> LayerConfig(JsonFields* fields, bool* both_ways) {
  S4Config config;
  LR_ASSIGN_OR_RETURN(const int64_t d_state, fields->Integer("d_state"));
  LR_ASSIGN_OR_RETURN(const int64_t copies, fields->Integer("n_ssm", 0));
  LR_ASSIGN_OR_RETURN(const int64_t channels, fields->Integer("channels", 1));
  LR_ASSIGN_OR_RETURN(const int64_t length, fields->Integer("L"));
  LR_ASSIGN_OR_RETURN(*both_ways, fields->Bool("bidirectional", false));
  config.set_d_state(d_state);
  config.set_n_ssm(copies);
  config.set_channels(channels);
  config.set_kernel_length(length);
  LR_ASSIGN_OR_RETURN(const std::string mode, fields->String("mode", "nplr"));
  LR_ASSIGN_OR_RETURN(const std::string init, fields->String("init", "legs"));
  if (mode == "diag") {
    config.set_init(S4Config::S4D_LIN);  // where it starts does not matter: parameters are loaded
  } else if (mode != "nplr") {
    return Expected("config.mode", mode, "nplr or diag");
  } else if (init == "legt") {
    config.set_init(S4Config::LEGT);
  } else if (init != "legs" && init != "fout") {
    return Expected("config.init", init, "legs, legt or fout");
  }
  LR_ASSIGN_OR_RETURN(const std::string rule,
                      fields->String("disc", mode == "diag" ? "zoh" : "bilinear"));
  if (rule != "zoh" && rule != "bilinear") return Expected("config.disc", rule, "zoh or bilinear");
  config.set_discretization(rule == "zoh" ? S4Config::ZOH : S4Config::BILINEAR);
  LR_ASSIGN_OR_RETURN(const std::string dt, fields->String("dt_transform", "exp"));
  if (dt != "exp" && dt != "softplus")
    return Expected("config.dt_transform", dt, "exp or softplus");
  if (dt == "softplus") config.set_dt_transform(S4Config::SOFTPLUS);
  LR_ASSIGN_OR_RETURN(const std::string activation, fields->String("activation", "gelu"));
  if (activation != "gelu") return Expected("config.activation", activation, "gelu");
  LR_ASSIGN_OR_RETURN(const std::string last, fields->String("final_act", "glu"));
  if (last != "glu") return Expected("config.final_act", last, "glu");
  fields->Skip({"d_model"});
  LR_RETURN_IF_ERROR(fields->Done());
  return config;
}

// in.x [B, L, H], of which in.lengths rows are real -> out.y [B, L, H], and the kernels out.K.
absl::Status RunLayer(const GoldenCase& golden, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(golden.config(), "config"));
  bool both_ways = false;
  LR_ASSIGN_OR_RETURN(const S4Config config, LayerConfig(&fields, &both_ways));
  google::protobuf::Any any;
  any.PackFrom(config);
  LR_ASSIGN_OR_RETURN(const Tensor given, golden.In("x"));
  LR_ASSIGN_OR_RETURN(const int64_t modes, Size(golden, "param.layer.kernel.A_real", -1));
  if (given.rank() != 3) return Expected("in.x", given.shape().ToString(), "[B, L, H]");
  nn::Rows real;
  if (golden.Has("in.lengths")) {
    LR_ASSIGN_OR_RETURN(const Tensor lengths_b, golden.In("lengths"));
    if (lengths_b.shape() != Shape({given.dim(0)}))
      return Expected("in.lengths", lengths_b.shape().ToString(), "[B]");
    real.end_b = Tensor::FromVector<int64_t>(lengths_b.shape(), lengths_b.ToInts());
  }
  NameMap names = SystemNames("layer.kernel.", modes);
  names.Add("layer.D", "d")
      .Add({{"output_linear.0.weight"}, {"w_value", "w_gate"}})
      .Add({{"output_linear.0.bias"}, {"b_value", "b_gate"}});
  if (golden.Has("param.layer.kernel.P")) names.Add("layer.kernel.P", "p");
  for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
    nn::ParameterStore store;
    BuildArgs args{nn::Scope(&store, Rng(), dtype)};
    args.width = given.dim(2);
    if (both_ways) args.direction = nn::Direction::kBidirectional;
    LR_ASSIGN_OR_RETURN(const std::unique_ptr<Mixer> mixer,
                        Registry<Mixer>::Get().Create(any, args));
    LR_ASSIGN_OR_RETURN(const TensorMap values,
                        names.Import(golden.Group("param."), store.Wanted()));
    LR_RETURN_IF_ERROR(store.Load(values));
    for (const nn::Form form : mixer->traits().forms) {
      store.ClearGradients();
      const GoldenCompare compare =
          CompareByType(check, dtype, form == nn::Form::kFft ? "FFT" : "recurrent");
      nn::Call call;
      call.form = form;
      const Tensor x = Leaf(given.To(dtype).Clone());
      const Tensor y = mixer->Forward(x, real, call);
      compare("out.y", y);
      if (form == nn::Form::kFft && golden.Has("out.K")) {
        const auto parameter = [&](const char* name) {
          const nn::Parameter* found = store.Find(name);
          return found == nullptr ? Tensor() : found->value.Detach();
        };
        s4::System system;
        system.dt_raw_h = parameter("dt_raw");
        system.a_real_sm = parameter("a_real");
        system.a_imag_sm = parameter("a_imag");
        system.b_sm2 = parameter("b");
        system.p_rsm2 = parameter("p");
        system.c_chm2 = parameter("c");
        system.softplus = config.dt_transform() == S4Config::SOFTPLUS;
        system.bilinear = config.discretization() == S4Config::BILINEAR;
        system.length = config.kernel_length();
        compare("out.K", Permute(s4::KernelOf(system, given.dim(1)), {0, 2, 1}));
      }
      LR_RETURN_IF_ERROR(BackwardFrom(golden, {{"y", y}}));
      LR_RETURN_IF_ERROR(CheckParameterGradients(golden, store, names, compare));
      if (golden.Has("grad.in.x")) compare("grad.in.x", Gradient(x));
    }
  }
  return absl::OkStatus();
}

absl::Status RunS4(const GoldenCase& golden, GoldenChecker* check) {
  if (golden.Has("param.output_linear.0.weight")) return RunLayer(golden, check);
  if (golden.Has("in.state0")) return RunSegments(golden, check);
  if (golden.Has("in.u")) return RunKernel(golden, check);
  if (golden.config().contains("N")) return RunHippo(golden, check);
  return absl::UnimplementedError("no case of a layer, a kernel, two segments or HiPPO");
}

LR_REGISTER_GOLDEN_ADAPTER("s4", RunS4);

}  // namespace
}  // namespace longrange
