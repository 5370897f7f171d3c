#include "common/train/checkpoint.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/status_macros.h"
#include "common/io/atomic_file.h"
#include "common/io/checksum.h"
#include "common/io/json.h"
#include "common/io/safetensors.h"

namespace longrange::train {
namespace {

constexpr char kManifest[] = "manifest.json";
constexpr char kPrefix[] = "step-", kSuffix[] = ".safetensors";
constexpr size_t kKept = 2;

struct Entry {
  int64_t step = 0;
  std::string file, checksum;
};

absl::StatusOr<std::vector<Entry>> ReadManifest(const std::string& folder) {
  const std::string path = absl::StrCat(folder, "/", kManifest);
  std::vector<Entry> entries;
  if (!PathExists(path)) return entries;
  LR_ASSIGN_OR_RETURN(const nlohmann::json json, ReadJson(path));
  const auto broken = [&] {
    return absl::DataLossError(absl::StrCat(path, ": not a manifest of checkpoints"));
  };
  if (!json.is_object() || !json.contains("checkpoints") || !json["checkpoints"].is_array())
    return broken();
  for (const nlohmann::json& item : json["checkpoints"]) {
    if (!item.is_object() || !item.contains("step") || !item["step"].is_number_integer() ||
        !item.contains("file") || !item["file"].is_string() || !item.contains("xxh3") ||
        !item["xxh3"].is_string()) {
      return broken();
    }
    Entry entry{item["step"].get<int64_t>(), item["file"].get<std::string>(),
                item["xxh3"].get<std::string>()};
    if (entry.file.find('/') != std::string::npos || entry.step < 0) return broken();
    entries.push_back(std::move(entry));
  }
  return entries;
}

absl::Status WriteManifest(const std::string& folder, const std::vector<Entry>& entries) {
  nlohmann::json json;
  json["format"] = 1;
  json["checkpoints"] = nlohmann::json::array();
  for (const Entry& entry : entries) {
    json["checkpoints"].push_back(
        {{"step", entry.step}, {"file", entry.file}, {"xxh3", entry.checksum}});
  }
  return WriteFileAtomically(absl::StrCat(folder, "/", kManifest), json.dump(1) + "\n");
}

absl::StatusOr<Checkpoint> Load(const std::string& folder, const Entry& entry) {
  const std::string path = absl::StrCat(folder, "/", entry.file);
  LR_ASSIGN_OR_RETURN(const uint64_t checksum, ChecksumFile(path));
  if (ChecksumHex(checksum) != entry.checksum) {
    return absl::DataLossError(absl::StrCat(path, ": checksum ", ChecksumHex(checksum),
                                            ", the manifest has ", entry.checksum));
  }
  LR_ASSIGN_OR_RETURN(SafetensorsFile file, ReadSafetensors(path));
  return Checkpoint{entry.step, std::move(file.tensors), std::move(file.metadata)};
}

}  // namespace

absl::Status CheckpointFolder::Save(const Checkpoint& checkpoint) const {
  LR_RETURN_IF_ERROR(MakeDirs(path_));
  // A manifest that cannot be read is replaced: what it named is lost already, what is saved now is
  // whole.
  std::vector<Entry> entries = ReadManifest(path_).value_or(std::vector<Entry>());
  Entry entry{checkpoint.step, absl::StrFormat("%s%08d%s", kPrefix, checkpoint.step, kSuffix), ""};
  const std::string file = absl::StrCat(path_, "/", entry.file);
  LR_RETURN_IF_ERROR(WriteSafetensors(file, checkpoint.tensors, checkpoint.metadata));
  LR_ASSIGN_OR_RETURN(const uint64_t checksum, ChecksumFile(file));
  entry.checksum = ChecksumHex(checksum);
  entries.erase(std::remove_if(entries.begin(), entries.end(),
                               [&](const Entry& e) { return e.step == checkpoint.step; }),
                entries.end());
  entries.insert(entries.begin(), entry);
  if (entries.size() > kKept) entries.resize(kKept);
  LR_RETURN_IF_ERROR(WriteManifest(path_, entries));
  LR_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDir(path_));
  for (const std::string& name : names) {
    if (!absl::StartsWith(name, kPrefix) || !absl::EndsWith(name, kSuffix)) continue;
    const bool kept =
        std::any_of(entries.begin(), entries.end(), [&](const Entry& e) { return e.file == name; });
    if (!kept) LR_RETURN_IF_ERROR(RemoveAll(absl::StrCat(path_, "/", name)));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Checkpoint>> CheckpointFolder::LoadLatest(
    std::vector<std::string>* warnings) const {
  LR_ASSIGN_OR_RETURN(const std::vector<Entry> entries, ReadManifest(path_));
  std::string last_error;
  for (const Entry& entry : entries) {
    absl::StatusOr<Checkpoint> checkpoint = Load(path_, entry);
    if (checkpoint.ok()) return *std::move(checkpoint);
    last_error = std::string(checkpoint.status().message());
    warnings->push_back(
        absl::StrCat("checkpoint of step ", entry.step, " is passed over: ", last_error));
  }
  if (!entries.empty()) {
    return absl::DataLossError(absl::StrCat(path_, ": no checkpoint is whole (", last_error,
                                            "); remove the folder to start again"));
  }
  return std::optional<Checkpoint>();
}

}  // namespace longrange::train
