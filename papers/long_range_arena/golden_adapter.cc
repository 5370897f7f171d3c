// Golden cases of long_range_arena, in JSON lines: expressions of ListOps and their values.

#include <string>
#include <vector>

#include "common/base/status_macros.h"
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

LR_REGISTER_GOLDEN_LINES("long_range_arena", RunListops,
                         {/*given=*/{"tokens"},
                          /*results=*/{"value", "length"},
                          /*optional=*/{"expression"}});

}  // namespace
}  // namespace longrange::long_range_arena
