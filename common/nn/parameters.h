// Parameters: named leaves of the tape with tags for the optimiser, created through a Scope; and
// buffers, which are kept with them and not trained.

#ifndef LONGRANGE_COMMON_NN_PARAMETERS_H_
#define LONGRANGE_COMMON_NN_PARAMETERS_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/base/rng.h"
#include "common/io/name_map.h"
#include "common/io/tensor_map.h"
#include "common/nn/weight.h"
#include "common/tensor/tensor.h"

namespace longrange::nn {

// What a paper says of a parameter; the values (rates, decay) belong to the optimiser's config.
struct Tags {
  std::string group = "default";  // a learning-rate group
  bool decay = true;              // weight decay applies
  // Added to models that may be trained already: a checkpoint of before has no value for it.
  bool may_be_new = false;
};

struct Parameter {
  std::string name;  // "layers.0.mixer.w_q"
  Tensor value;      // a leaf; the optimiser writes it in place
  Tags tags;
};

// What a model keeps beside its parameters and no gradient changes: running statistics. It is saved
// and loaded as they are; a call in training says what it should become (Sink::Buffer).
struct Buffer {
  std::string name;
  Tensor value;  // no leaf
};

// All parameters and buffers of one model, in order of creation.
class ParameterStore {
 public:
  ParameterStore() = default;
  ParameterStore(const ParameterStore&) = delete;
  ParameterStore& operator=(const ParameterStore&) = delete;

  const std::vector<Parameter>& all() const { return parameters_; }
  const Parameter* Find(absl::string_view name) const;  // null: unknown
  const Parameter& Add(Parameter parameter);            // a duplicate name is fatal
  int64_t NumElements() const;                          // of the parameters
  void ClearGradients() const;

  const std::vector<Buffer>& buffers() const { return buffers_; }
  const Buffer& AddBuffer(Buffer buffer);  // no parameter or buffer has this name

  // Values of parameters and buffers by name, sharing memory with them.
  TensorMap Values() const;
  // What a name map has to deliver for Load.
  std::vector<WantedTensor> Wanted() const;
  // Copies values in. Every parameter or buffer and every value must have its partner of the same
  // shape; the error lists those that have not.
  absl::Status Load(const TensorMap& values) const;
  // The same from a model of before: a parameter that may be new and has no value there keeps the
  // one it was created with.
  absl::Status LoadBase(const TensorMap& values) const;

 private:
  absl::Status Load(const TensorMap& values, bool may_lack_new) const;

  std::vector<Parameter> parameters_;
  std::vector<Buffer> buffers_;
  std::map<std::string, size_t, std::less<>> index_, buffer_index_;
};

// Fills a new parameter; the Rng is already keyed by the parameter's path.
using Init = std::function<void(const Rng& rng, const Tensor& value)>;
Init Zeros();
Init Constant(double value);
Init Normal(double standard_deviation);
Init Uniform(double bound);  // [-bound, bound)
// PyTorch's default of nn.Linear: uniform in ±1/sqrt(fan_in), fan_in = the last dimension.
Init FanInUniform();

// Low-rank adapters (Hu et al. 2021): linear weights whose full name matches one of the patterns
// get a trainable product beside them.
struct LowRank {
  int64_t rank = 8;
  double alpha = 16;                // the product counts alpha / rank times
  std::vector<std::string> target;  // patterns (common/io/glob.h)
};

// Where parameters are created: a store, a path and a source of initial values. Cheap to copy.
class Scope {
 public:
  Scope(ParameterStore* store, const Rng& rng, DType dtype = DType::kFloat32,
        Device device = Device::kCpu)
      : store_(store), rng_(rng), dtype_(dtype), device_(device) {}

  Scope Child(absl::string_view name) const;
  // Creates `path.name`. The initial value depends on the seed and the full name alone, so adding a
  // parameter elsewhere changes none.
  Tensor Param(absl::string_view name, const Shape& shape, const Init& init,
               const Tags& tags = {}) const;
  // The same, or the parameter of that name where there is one already: what several layers share.
  // Its shape must be the one asked for.
  Tensor SharedParam(absl::string_view name, const Shape& shape, const Init& init,
                     const Tags& tags = {}) const;
  // Creates the buffer `path.name`, or, shared, gives the one of that name and shape.
  Tensor Buffer(absl::string_view name, const Shape& shape, const Init& init) const;
  Tensor SharedBuffer(absl::string_view name, const Shape& shape, const Init& init) const;
  // Creates the weight `path.name` [out, in] of a linear map, and its adapter where the scope has
  // one for it: `path.name.lora_a` [rank, in], drawn as in Hu et al.'s code, and `path.name.lora_b`
  // [out, rank], zeros.
  Weight Linear(absl::string_view name, const Shape& shape, const Init& init,
                const Tags& tags = {}) const;

  // The same place, with adapters for what is created from here on.
  Scope With(const LowRank& low_rank) const;

  const std::string& path() const { return path_; }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }

 private:
  ParameterStore* store_;
  Rng rng_;
  DType dtype_;
  Device device_;
  std::string path_;
  std::shared_ptr<const LowRank> low_rank_;  // null: no adapters
};

}  // namespace longrange::nn

#endif  // LONGRANGE_COMMON_NN_PARAMETERS_H_
