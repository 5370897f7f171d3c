// Counting of work: every kernel declares the floating-point operations it does and the bytes it
// must move at least, on the CPU and on meta tensors alike; a CostScope adds up what runs while it
// lives.

#ifndef LONGRANGE_COMMON_TENSOR_COST_H_
#define LONGRANGE_COMMON_TENSOR_COST_H_

namespace longrange {

struct Cost {
  double flops = 0;  // a multiply-add counts two
  double bytes = 0;  // inputs read once, outputs written once
};

// Adds to every open scope of the calling thread. Called by kernels before they go parallel.
void RecordCost(double flops, double bytes);

// Scopes nest: an inner scope's cost counts for the outer one too.
class CostScope {
 public:
  CostScope();
  ~CostScope();
  CostScope(const CostScope&) = delete;
  CostScope& operator=(const CostScope&) = delete;
  const Cost& cost() const { return cost_; }

 private:
  friend void RecordCost(double, double);
  Cost cost_;
  CostScope* outer_;
};

}  // namespace longrange

#endif  // LONGRANGE_COMMON_TENSOR_COST_H_
