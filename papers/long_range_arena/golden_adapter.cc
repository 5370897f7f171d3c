// Golden cases of long_range_arena, in JSON lines: expressions of ListOps and their values, and
// colours as shades of grey.

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "common/base/status_macros.h"
#include "papers/long_range_arena/images.h"
#include "papers/long_range_arena/listops.h"
#include "plugins/golden/golden_lines.h"
#include "plugins/hugging_face/json_fields.h"

namespace longrange::long_range_arena {
namespace {

absl::Status RunListops(const GoldenLine& line, GoldenLineChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(line.fields, "line"));
  LR_ASSIGN_OR_RETURN(const std::string text, fields.String("tokens"));
  LR_ASSIGN_OR_RETURN(const std::vector<int32_t> tokens, ParseListops(text));
  LR_ASSIGN_OR_RETURN(const int32_t value, EvaluateListops(tokens));
  if (line.fields.contains("expression") && !line.fields["expression"].is_null()) {
    LR_ASSIGN_OR_RETURN(const std::string nested, fields.String("expression"));
    LR_ASSIGN_OR_RETURN(const std::vector<int32_t> again, ParseListops(nested));
    if (again != tokens) check->Fail("expression", "its tokens are others than 'tokens'");
  }
  check->Number("value", value);
  check->Number("length", static_cast<double>(tokens.size()));
  return absl::OkStatus();
}

absl::Status RunGray(const GoldenLine& line, GoldenLineChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(line.fields, "line"));
  LR_ASSIGN_OR_RETURN(const std::vector<double> rgb, fields.Numbers("rgb"));
  const auto is_level = [](double x) { return x >= 0 && x <= 255 && x == std::floor(x); };
  if (rgb.size() != 3 || !std::all_of(rgb.begin(), rgb.end(), is_level))
    return absl::InvalidArgumentError("rgb: expected three integers of 0 to 255");
  check->Number("pil_L", PillowGray(static_cast<uint8_t>(rgb[0]), static_cast<uint8_t>(rgb[1]),
                                    static_cast<uint8_t>(rgb[2])));
  check->Number("weighted_float", WeightedGray(rgb[0] / 255, rgb[1] / 255, rgb[2] / 255));
  return absl::OkStatus();
}

LR_REGISTER_GOLDEN_LINES("long_range_arena", RunGray,
                         {/*given=*/{"rgb"}, /*results=*/{"pil_L", "weighted_float"}});

LR_REGISTER_GOLDEN_LINES("long_range_arena", RunListops,
                         {/*given=*/{"tokens"},
                          /*results=*/{"value", "length"},
                          /*optional=*/{"expression"}});

}  // namespace
}  // namespace longrange::long_range_arena
