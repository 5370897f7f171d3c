// Tensor: a cheap-to-copy handle on contiguous row-major memory of one element type on one device.
//
// Copies of a handle share memory; Clone() makes new memory. What this header offers moves and
// fills bytes; arithmetic is in kernels/, and what gradients flow through is in common/autograd.

#ifndef LONGRANGE_COMMON_TENSOR_TENSOR_H_
#define LONGRANGE_COMMON_TENSOR_TENSOR_H_

#include <glog/logging.h>

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/types/span.h"
#include "common/tensor/allocator.h"
#include "common/tensor/dtype.h"

namespace longrange {

class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : dims_(dims) {}
  explicit Shape(absl::Span<const int64_t> dims) : dims_(dims.begin(), dims.end()) {}

  int rank() const { return static_cast<int>(dims_.size()); }
  // Dimension i; negative i counts from the end.
  int64_t operator[](int i) const { return dims_[Index(i)]; }
  void set(int i, int64_t size) { dims_[Index(i)] = size; }
  void Append(int64_t size) { dims_.push_back(size); }
  int64_t numel() const {
    int64_t n = 1;
    for (const int64_t d : dims_) n *= d;
    return n;
  }
  absl::Span<const int64_t> dims() const { return dims_; }
  std::string ToString() const;  // "[2, 3]"

  friend bool operator==(const Shape& a, const Shape& b) { return a.dims_ == b.dims_; }
  friend bool operator!=(const Shape& a, const Shape& b) { return !(a == b); }
  friend std::ostream& operator<<(std::ostream& out, const Shape& s) { return out << s.ToString(); }

 private:
  size_t Index(int i) const {
    const int at = i < 0 ? i + rank() : i;
    DCHECK(at >= 0 && at < rank()) << "dimension " << i << " of shape " << ToString();
    return static_cast<size_t>(at);
  }

  absl::InlinedVector<int64_t, 5> dims_;
};

// What the autograd tape hangs on a tensor; defined in common/autograd.
class TapeLink {
 public:
  virtual ~TapeLink() = default;
};

class Tensor {
 public:
  Tensor() = default;  // undefined

  // New memory, its content unspecified / all zero / all `value`.
  static Tensor Empty(const Shape& shape, DType dtype = DType::kFloat32,
                      Device device = Device::kCpu);
  static Tensor Zeros(const Shape& shape, DType dtype = DType::kFloat32,
                      Device device = Device::kCpu);
  static Tensor Full(const Shape& shape, double value, DType dtype = DType::kFloat32,
                     Device device = Device::kCpu);
  static Tensor EmptyLike(const Tensor& t) { return Empty(t.shape(), t.dtype(), t.device()); }
  static Tensor ZerosLike(const Tensor& t) { return Zeros(t.shape(), t.dtype(), t.device()); }
  template <typename T>
  static Tensor FromVector(const Shape& shape, const std::vector<T>& values) {
    CHECK_EQ(shape.numel(), static_cast<int64_t>(values.size())) << "values for shape " << shape;
    Tensor t = Empty(shape, DTypeOf<T>::value);
    std::copy(values.begin(), values.end(), t.mutable_data<T>());
    return t;
  }
  static Tensor Scalar(double value, DType dtype = DType::kFloat32) {
    return Full(Shape(), value, dtype);
  }

  bool defined() const { return impl_ != nullptr; }
  const Shape& shape() const { return impl().shape; }
  int64_t dim(int i) const { return impl().shape[i]; }
  int rank() const { return impl().shape.rank(); }
  int64_t numel() const { return impl().numel; }
  int64_t bytes() const { return impl().numel * SizeOf(impl().dtype); }
  DType dtype() const { return impl().dtype; }
  Device device() const { return impl().device; }
  bool is_meta() const { return impl().device == Device::kMeta; }

  // Elements on the CPU; T must be the element type. Handles share memory, so a const handle may
  // write: whoever calls mutable_data owns the tensor or has made it.
  template <typename T>
  const T* data() const {
    return static_cast<const T*>(Raw(DTypeOf<T>::value));
  }
  template <typename T>
  T* mutable_data() const {
    return static_cast<T*>(Raw(DTypeOf<T>::value));
  }
  const void* raw_data() const { return Bytes(); }
  void* mutable_raw_data() const { return Bytes(); }

  // The only element, as a double.
  double item() const;
  // All elements, converted.
  std::vector<double> ToDoubles() const;
  std::vector<int64_t> ToInts() const;

  // Same memory, other shape; one dimension may be -1. No gradient flows through a view: see
  // Reshape in ops.h.
  Tensor View(const Shape& shape) const;
  // Same memory, entries [begin, end) of dimension 0.
  Tensor ViewRows(int64_t begin, int64_t end) const;
  // New memory with the same elements; with another type, rounded; on another device (cpu -> meta
  // drops the data).
  Tensor Clone() const;
  Tensor To(DType dtype) const;
  Tensor To(Device device) const;
  void CopyFrom(const Tensor& source) const;  // same shape and type
  void Fill(double value) const;

  const std::shared_ptr<TapeLink>& link() const { return impl().link; }
  void set_link(std::shared_ptr<TapeLink> link) const { impl().link = std::move(link); }
  // A handle on the same memory without the link.
  Tensor Detach() const;

  // Do both handles name one tensor?
  bool Is(const Tensor& other) const { return impl_ == other.impl_; }
  const void* id() const { return impl_.get(); }

 private:
  struct Impl {
    std::shared_ptr<Storage> storage;
    int64_t offset_bytes = 0;
    Shape shape;
    int64_t numel = 0;
    DType dtype = DType::kFloat32;
    Device device = Device::kCpu;
    std::shared_ptr<TapeLink> link;
  };

  Impl& impl() const {
    CHECK(impl_ != nullptr) << "an undefined tensor was used";
    return *impl_;
  }
  void* Bytes() const {
    DCHECK(impl().device == Device::kCpu) << "no host data on device " << Name(impl().device);
    return static_cast<char*>(impl().storage->data()) + impl().offset_bytes;
  }
  void* Raw(DType wanted) const {
    CHECK(impl().dtype == wanted) << "element type is " << Name(impl().dtype) << ", read as "
                                  << Name(wanted);
    CHECK(impl().device == Device::kCpu) << "no host data on device " << Name(impl().device);
    return Bytes();
  }

  std::shared_ptr<Impl> impl_;
};

}  // namespace longrange

#endif  // LONGRANGE_COMMON_TENSOR_TENSOR_H_
