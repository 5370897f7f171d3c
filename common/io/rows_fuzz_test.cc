#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/io/rows.h"
#include "common/testing/fuzz.h"
#include "glog/logging.h"

namespace longrange {

// What is read is written and read again as the same.
void FuzzOne(absl::string_view input) {
  const absl::StatusOr<std::vector<Row>> rows = ReadRows(FuzzFile(input));
  if (!rows.ok()) {
    CHECK(rows.status().message().find('\n') == absl::string_view::npos) << rows.status();
    return;
  }
  std::string text;
  for (const Row& row : *rows) {
    for (const auto& [key, value] : row.fields()) {
      const int kinds = row.Number(key).ok() + row.String(key).ok() + row.Bool(key).ok();
      CHECK(row.Find(key) != nullptr && kinds >= 1);
    }
    absl::StrAppend(&text, row.ToJson(), "\n");
  }
  const absl::StatusOr<std::vector<Row>> again = ReadRows(FuzzFile(text));
  CHECK(again.ok()) << again.status();
  CHECK(*again == *rows);
}

std::vector<std::string> FuzzSeeds() {
  return {
      "",
      "{\"arm\":\"alibi\",\"seed\":1,\"loss\":2.5,\"done\":true,\"note\":\"a\\\"b\\né\"}\n",
      "{\"x\":0.3333333333333333,\"big\":-9223372036854775808,\"tiny\":5e-324,\"n\":\"nan\"}\n"
      "{}\n{\"a\":-0.0,\"b\":\"-inf\",\"c\":1e300}\n",
  };
}

}  // namespace longrange
