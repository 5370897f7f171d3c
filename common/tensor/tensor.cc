#include "common/tensor/tensor.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace longrange {
namespace {

// Calls fn with a null pointer of the C++ type of `dtype`.
template <typename Fn>
void Visit(DType dtype, Fn&& fn) {
  switch (dtype) {
    case DType::kFloat32:
      return fn(static_cast<float*>(nullptr));
    case DType::kFloat64:
      return fn(static_cast<double*>(nullptr));
    case DType::kBFloat16:
      return fn(static_cast<BFloat16*>(nullptr));
    case DType::kInt32:
      return fn(static_cast<int32_t*>(nullptr));
    case DType::kInt64:
      return fn(static_cast<int64_t*>(nullptr));
    case DType::kUInt8:
      return fn(static_cast<uint8_t*>(nullptr));
  }
}

template <typename To, typename From>
To Convert(From value) {
  if constexpr (std::is_same_v<To, From>) {
    return value;
  } else if constexpr (std::is_same_v<From, BFloat16>) {
    return Convert<To>(static_cast<float>(value));
  } else if constexpr (std::is_same_v<To, BFloat16>) {
    return BFloat16(static_cast<float>(value));
  } else {
    return static_cast<To>(value);
  }
}

template <typename T>
std::vector<T> Read(const Tensor& t) {
  std::vector<T> out(static_cast<size_t>(t.numel()));
  Visit(t.dtype(), [&](auto* p) {
    using From = std::remove_pointer_t<decltype(p)>;
    const From* data = t.data<From>();
    for (size_t i = 0; i < out.size(); ++i) out[i] = Convert<T>(data[i]);
  });
  return out;
}

}  // namespace

int64_t SizeOf(DType dtype) {
  int64_t size = 0;
  Visit(dtype, [&](auto* p) { size = sizeof(*p); });
  return size;
}

absl::string_view Name(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return "float32";
    case DType::kFloat64:
      return "float64";
    case DType::kBFloat16:
      return "bfloat16";
    case DType::kInt32:
      return "int32";
    case DType::kInt64:
      return "int64";
    case DType::kUInt8:
      return "uint8";
  }
  return "?";
}

absl::string_view Name(Device device) {
  switch (device) {
    case Device::kCpu:
      return "cpu";
    case Device::kMeta:
      return "meta";
    case Device::kCuda:
      return "cuda";
  }
  return "?";
}

std::string Shape::ToString() const { return absl::StrCat("[", absl::StrJoin(dims_, ", "), "]"); }

Tensor Tensor::Empty(const Shape& shape, DType dtype, Device device) {
  for (const int64_t d : shape.dims()) CHECK_GE(d, 0) << "shape " << shape;
  Tensor t;
  t.impl_ = std::make_shared<Impl>();
  t.impl_->shape = shape;
  t.impl_->numel = shape.numel();
  t.impl_->dtype = dtype;
  t.impl_->device = device;
  t.impl_->storage = Storage::Allocate(t.impl_->numel * SizeOf(dtype), device);
  return t;
}

Tensor Tensor::Zeros(const Shape& shape, DType dtype, Device device) {
  Tensor t = Empty(shape, dtype, device);
  if (device == Device::kCpu) std::memset(t.mutable_raw_data(), 0, static_cast<size_t>(t.bytes()));
  return t;
}

Tensor Tensor::Full(const Shape& shape, double value, DType dtype, Device device) {
  Tensor t = Empty(shape, dtype, device);
  t.Fill(value);
  return t;
}

double Tensor::item() const {
  CHECK_EQ(numel(), 1) << "item() of shape " << shape();
  return ToDoubles()[0];
}

std::vector<double> Tensor::ToDoubles() const { return Read<double>(*this); }
std::vector<int64_t> Tensor::ToInts() const { return Read<int64_t>(*this); }

Tensor Tensor::View(const Shape& shape) const {
  Shape full = shape;
  int open = -1;
  int64_t known = 1;
  for (int i = 0; i < full.rank(); ++i) {
    if (full[i] == -1) {
      CHECK_EQ(open, -1) << "more than one -1 in " << shape;
      open = i;
    } else {
      known *= full[i];
    }
  }
  if (open >= 0) {
    CHECK(known > 0 && numel() % known == 0) << "cannot view " << this->shape() << " as " << shape;
    full.set(open, numel() / known);
  }
  CHECK_EQ(full.numel(), numel()) << "cannot view " << this->shape() << " as " << shape;
  Tensor t;
  t.impl_ = std::make_shared<Impl>(impl());
  t.impl_->shape = full;
  t.impl_->link = nullptr;
  return t;
}

Tensor Tensor::ViewRows(int64_t begin, int64_t end) const {
  CHECK_GE(rank(), 1);
  CHECK(0 <= begin && begin <= end && end <= dim(0))
      << "rows [" << begin << ", " << end << ") of " << shape();
  Tensor t;
  t.impl_ = std::make_shared<Impl>(impl());
  t.impl_->shape.set(0, end - begin);
  t.impl_->numel = t.impl_->shape.numel();
  const int64_t row_bytes = dim(0) == 0 ? 0 : bytes() / dim(0);
  t.impl_->offset_bytes += begin * row_bytes;
  t.impl_->link = nullptr;
  return t;
}

Tensor Tensor::Detach() const {
  Tensor t;
  t.impl_ = std::make_shared<Impl>(impl());
  t.impl_->link = nullptr;
  return t;
}

Tensor Tensor::Clone() const {
  Tensor t = EmptyLike(*this);
  t.CopyFrom(*this);
  return t;
}

Tensor Tensor::To(DType dtype) const {
  if (dtype == this->dtype()) return Detach();
  Tensor t = Empty(shape(), dtype, device());
  if (is_meta()) return t;
  Visit(this->dtype(), [&](auto* from) {
    using From = std::remove_pointer_t<decltype(from)>;
    Visit(dtype, [&](auto* to) {
      using To = std::remove_pointer_t<decltype(to)>;
      const From* in = data<From>();
      To* out = t.mutable_data<To>();
      for (int64_t i = 0; i < numel(); ++i) out[i] = Convert<To>(in[i]);
    });
  });
  return t;
}

Tensor Tensor::To(Device device) const {
  if (device == this->device()) return Detach();
  CHECK(device == Device::kMeta) << "no copy from " << Name(this->device()) << " to "
                                 << Name(device);
  return Empty(shape(), dtype(), device);
}

void Tensor::CopyFrom(const Tensor& source) const {
  CHECK(source.shape() == shape() && source.dtype() == dtype())
      << "copy of " << source.shape() << " " << Name(source.dtype()) << " to " << shape() << " "
      << Name(dtype());
  if (is_meta() || source.is_meta() || bytes() == 0) return;
  std::memcpy(mutable_raw_data(), source.raw_data(), static_cast<size_t>(bytes()));
}

void Tensor::Fill(double value) const {
  if (is_meta()) return;
  Visit(dtype(), [&](auto* p) {
    using T = std::remove_pointer_t<decltype(p)>;
    T* out = mutable_data<T>();
    std::fill(out, out + numel(), Convert<T>(value));
  });
}

}  // namespace longrange
