// Module: what every layer, scheme, rule and model is.

#ifndef LONGRANGE_COMMON_NN_MODULE_H_
#define LONGRANGE_COMMON_NN_MODULE_H_

namespace longrange::nn {

// Const after creation: parameters are handles into a ParameterStore, state goes in and out of
// calls as values.
class Module {
 public:
  Module() = default;
  virtual ~Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
};

}  // namespace longrange::nn

#endif  // LONGRANGE_COMMON_NN_MODULE_H_
