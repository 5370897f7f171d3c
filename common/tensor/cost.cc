#include "common/tensor/cost.h"

namespace longrange {
namespace {
thread_local CostScope* innermost = nullptr;
}  // namespace

CostScope::CostScope() : outer_(innermost) { innermost = this; }
CostScope::~CostScope() { innermost = outer_; }

void RecordCost(double flops, double bytes) {
  for (CostScope* scope = innermost; scope != nullptr; scope = scope->outer_) {
    scope->cost_.flops += flops;
    scope->cost_.bytes += bytes;
  }
}

}  // namespace longrange
