// How something grows with the number of rows.

#ifndef LONGRANGE_PLUGINS_GROWTH_H_
#define LONGRANGE_PLUGINS_GROWTH_H_

namespace longrange {

// In the number of rows T, terms that do not depend on T left aside.
enum class Growth { kConstant, kLinear, kQuadratic };

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_GROWTH_H_
