// Reads names of safetensors files, one a line, and says of each whether its header and layout are
// accepted: "ok", or "no" and why. The other side of safetensors_agreement.py.

#include <iostream>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/io/safetensors.h"

int main() {
  std::ios::sync_with_stdio(false);
  std::string path;
  while (std::getline(std::cin, path)) {
    const absl::StatusOr<std::unique_ptr<longrange::SafetensorsReader>> reader =
        longrange::SafetensorsReader::Open(path);
    if (reader.ok()) {
      std::cout << "ok\n";
    } else {
      std::cout << "no " << absl::StripPrefix(reader.status().message(), absl::StrCat(path, ": "))
                << "\n";
    }
  }
  return 0;
}
