#include "plugins/study/run_files.h"

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/io/atomic_file.h"
#include "common/io/checksum.h"

namespace longrange {
namespace {

constexpr char kRows[] = "/rows.jsonl", kRecord[] = "/run.json";
// The last fields of run.json: the checksum of rows.jsonl, and that of the line without this field.
constexpr char kRowsChecksum[] = "rows_xxh3", kOwnChecksum[] = "xxh3";

std::string ChecksumOf(absl::string_view text) { return ChecksumHex(Checksum(text)); }

absl::Status Damaged(const std::string& path) {
  return absl::DataLossError(absl::StrCat(path, ": damaged (its checksum does not fit)"));
}

std::string RecordText(const Row& record, const std::string& rows_checksum) {
  Row sealed = record;
  sealed.Set(kRowsChecksum, rows_checksum);
  sealed.Set(kOwnChecksum, ChecksumOf(sealed.ToJson()));
  return absl::StrCat(sealed.ToJson(), "\n");
}

}  // namespace

absl::Status WriteRunFiles(const std::string& folder, const RunFiles& files) {
  std::string rows;
  for (const Row& row : files.rows) absl::StrAppend(&rows, row.ToJson(), "\n");
  LR_RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(folder, kRows), rows));
  return WriteFileAtomically(absl::StrCat(folder, kRecord),
                             RecordText(files.record, ChecksumOf(rows)));
}

absl::StatusOr<std::optional<RunFiles>> ReadRunFiles(const std::string& folder) {
  const std::string record_path = absl::StrCat(folder, kRecord);
  const std::string rows_path = absl::StrCat(folder, kRows);
  if (!PathExists(record_path)) return std::optional<RunFiles>();
  LR_ASSIGN_OR_RETURN(const std::string text, ReadFile(record_path));
  const absl::StatusOr<Row> sealed = ParseRow(text, record_path);
  if (!sealed.ok()) return Damaged(record_path);
  RunFiles files;
  for (const auto& [key, value] : sealed->fields()) {
    if (key != kRowsChecksum && key != kOwnChecksum) files.record.Set(key, value);
  }
  const std::string rows_checksum = sealed->String(kRowsChecksum).value_or("");
  if (RecordText(files.record, rows_checksum) != text) return Damaged(record_path);
  LR_ASSIGN_OR_RETURN(const std::string rows, ReadFile(rows_path));
  if (ChecksumOf(rows) != rows_checksum) return Damaged(rows_path);
  LR_ASSIGN_OR_RETURN(files.rows, ReadRows(rows_path));
  return files;
}

}  // namespace longrange
