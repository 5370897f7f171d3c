#include "common/nn/parameters.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/autograd/tape.h"
#include "common/io/glob.h"

namespace longrange::nn {
namespace {

// Fills by a function of the element's number; values are drawn in double and rounded to the
// parameter's type.
Init Fill(std::function<double(const Rng&, int64_t)> draw) {
  return [draw = std::move(draw)](const Rng& rng, const Tensor& value) {
    if (value.is_meta()) return;
    if (value.dtype() == DType::kFloat64) {
      for (int64_t i = 0; i < value.numel(); ++i) value.mutable_data<double>()[i] = draw(rng, i);
    } else {
      for (int64_t i = 0; i < value.numel(); ++i)
        value.mutable_data<float>()[i] = static_cast<float>(draw(rng, i));
    }
  };
}

std::string FirstTen(const std::vector<std::string>& names) {
  const size_t shown = std::min<size_t>(names.size(), 10);
  std::string text = absl::StrJoin(names.begin(), names.begin() + shown, ", ");
  if (shown < names.size()) absl::StrAppend(&text, " and ", names.size() - shown, " more");
  return text;
}

}  // namespace

const Parameter* ParameterStore::Find(absl::string_view name) const {
  const auto it = index_.find(std::string(name));
  return it == index_.end() ? nullptr : &parameters_[it->second];
}

const Parameter& ParameterStore::Add(Parameter parameter) {
  const bool added = index_.emplace(parameter.name, parameters_.size()).second;
  CHECK(added && buffer_index_.count(parameter.name) == 0)
      << "parameter " << parameter.name << " is created twice";
  parameters_.push_back(std::move(parameter));
  return parameters_.back();
}

const Buffer& ParameterStore::AddBuffer(Buffer buffer) {
  const bool added = buffer_index_.emplace(buffer.name, buffers_.size()).second;
  CHECK(added && index_.count(buffer.name) == 0) << "buffer " << buffer.name << " is created twice";
  buffers_.push_back(std::move(buffer));
  return buffers_.back();
}

int64_t ParameterStore::NumElements() const {
  int64_t sum = 0;
  for (const Parameter& p : parameters_) sum += p.value.numel();
  return sum;
}

void ParameterStore::ClearGradients() const {
  for (const Parameter& p : parameters_) ClearGradient(p.value);
}

TensorMap ParameterStore::Values() const {
  TensorMap values;
  for (const Parameter& p : parameters_) values[p.name] = p.value.Detach();
  for (const Buffer& b : buffers_) values[b.name] = b.value;
  return values;
}

std::vector<WantedTensor> ParameterStore::Wanted() const {
  std::vector<WantedTensor> wanted;
  for (const Parameter& p : parameters_)
    wanted.push_back({p.name, p.value.shape(), p.value.dtype()});
  for (const Buffer& b : buffers_) wanted.push_back({b.name, b.value.shape(), b.value.dtype()});
  return wanted;
}

absl::Status ParameterStore::Load(const TensorMap& values) const { return Load(values, false); }

absl::Status ParameterStore::LoadBase(const TensorMap& values) const { return Load(values, true); }

absl::Status ParameterStore::Load(const TensorMap& values, bool may_lack_new) const {
  const TensorMap mine = Values();
  std::vector<std::string> unexpected, missing;
  for (const auto& [name, value] : values) {
    const auto it = mine.find(name);
    if (it == mine.end()) {
      unexpected.push_back(name);
    } else if (it->second.shape() != value.shape()) {
      return absl::InvalidArgumentError(absl::StrCat("parameter ", name, ": expected shape ",
                                                     it->second.shape().ToString(), ", got ",
                                                     value.shape().ToString()));
    }
  }
  for (const WantedTensor& wanted : Wanted()) {
    const Parameter* const parameter = Find(wanted.name);
    const bool new_here = may_lack_new && parameter != nullptr && parameter->tags.may_be_new;
    if (values.count(wanted.name) == 0 && !new_here) missing.push_back(wanted.name);
  }
  if (!missing.empty() || !unexpected.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "parameters do not match:", missing.empty() ? "" : " missing ", FirstTen(missing),
        unexpected.empty() ? "" : "; unexpected ", FirstTen(unexpected)));
  }
  for (const auto& [name, value] : values) {
    const Tensor& to = mine.at(name);
    to.CopyFrom(value.To(to.dtype()));
  }
  return absl::OkStatus();
}

Init Zeros() { return Constant(0); }

Init Constant(double constant) {
  return [constant](const Rng&, const Tensor& value) { value.Fill(constant); };
}

Init Normal(double standard_deviation) {
  return Fill([standard_deviation](const Rng& rng, int64_t i) {
    return standard_deviation * rng.Normal(i);
  });
}

Init Uniform(double bound) {
  return Fill([bound](const Rng& rng, int64_t i) { return bound * (2 * rng.Uniform(i) - 1); });
}

Init FanInUniform() {
  return [](const Rng& rng, const Tensor& value) {
    Uniform(1 / std::sqrt(static_cast<double>(value.dim(-1))))(rng, value);
  };
}

Scope Scope::Child(absl::string_view name) const {
  Scope child = *this;
  child.path_ = path_.empty() ? std::string(name) : absl::StrCat(path_, ".", name);
  return child;
}

Tensor Scope::Param(absl::string_view name, const Shape& shape, const Init& init,
                    const Tags& tags) const {
  Parameter parameter;
  parameter.name = path_.empty() ? std::string(name) : absl::StrCat(path_, ".", name);
  parameter.tags = tags;
  const Tensor value = Tensor::Empty(shape, dtype_, device_);
  init(rng_.Child(parameter.name), value);
  parameter.value = Leaf(value);
  return store_->Add(std::move(parameter)).value;
}

Tensor Scope::SharedParam(absl::string_view name, const Shape& shape, const Init& init,
                          const Tags& tags) const {
  const Parameter* found = store_->Find(Child(name).path());
  if (found == nullptr) return Param(name, shape, init, tags);
  CHECK(found->value.shape() == shape) << "shared parameter " << found->name << " has shape "
                                       << found->value.shape() << ", asked for with " << shape;
  return found->value;
}

Tensor Scope::Buffer(absl::string_view name, const Shape& shape, const Init& init) const {
  const std::string full = Child(name).path();
  const Tensor value = Tensor::Empty(shape, dtype_, device_);
  init(rng_.Child(full), value);
  return store_->AddBuffer({full, value}).value;
}

Tensor Scope::SharedBuffer(absl::string_view name, const Shape& shape, const Init& init) const {
  const std::string full = Child(name).path();
  for (const nn::Buffer& buffer : store_->buffers()) {
    if (buffer.name != full) continue;
    CHECK(buffer.value.shape() == shape) << "shared buffer " << full << " has shape "
                                         << buffer.value.shape() << ", asked for with " << shape;
    return buffer.value;
  }
  return Buffer(name, shape, init);
}

Weight Scope::Linear(absl::string_view name, const Shape& shape, const Init& init,
                     const Tags& tags) const {
  const Tensor base = Param(name, shape, init, tags);
  const Scope below = Child(name);
  const auto matches = [&](const std::string& pattern) { return GlobMatch(pattern, below.path_); };
  if (low_rank_ == nullptr ||
      std::none_of(low_rank_->target.begin(), low_rank_->target.end(), matches)) {
    return Weight(base);
  }
  const int64_t rank = low_rank_->rank;
  // kaiming_uniform_(a = sqrt(5)), as there, is uniform in ±1/sqrt(fan_in).
  Tags new_tags = tags;
  new_tags.may_be_new = true;
  const Tensor a = below.Param("lora_a", {rank, shape[1]}, FanInUniform(), new_tags),
               b = below.Param("lora_b", {shape[0], rank}, Zeros(), new_tags);
  return Weight(base, a, b, low_rank_->alpha / static_cast<double>(rank));
}

Scope Scope::With(const LowRank& low_rank) const {
  Scope with = *this;
  with.low_rank_ = std::make_shared<const LowRank>(low_rank);
  return with;
}

}  // namespace longrange::nn
