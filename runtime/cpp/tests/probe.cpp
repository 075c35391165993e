// Prints what parts of the library answer, so that tests compare them with Python's:
//
//     fastbert_probe sha256 FILE...        the digest of each
//     fastbert_probe manifest FILE...      of each: "ok", or why it is refused
//     fastbert_probe cores ROOT            usable cores, with proc and sys in ROOT
//     fastbert_probe saturates ROOT        0 or 1
//     fastbert_probe batches LENGTH...     the rows of each batch, a line each
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include "bundle/fields.h"
#include "bundle/files.h"
#include "bundle/manifest.h"
#include "bundle/sha256.h"
#include "chain/micro_batches.h"
#include "system/hardware.h"

namespace {

void print_digest(const std::string& path) {
  const std::string content = fastbert::read_file(path);
  fastbert::Sha256 digest;
  // In pieces of many sizes, which leave blocks filled in part.
  for (std::size_t at = 0, size = 1; at < content.size(); at += size, size = size * 3 % 1021 + 1) {
    size = std::min(size, content.size() - at);
    digest.update(content.data() + at, size);
  }
  std::puts(digest.hex_digest().c_str());
}

void print_manifest(const std::string& path) {
  try {
    fastbert::parse_manifest(fastbert::read_file(path), "manifest.json");
    std::puts("ok");
  } catch (const std::exception& error) {
    std::puts(error.what());
  }
}

void print_batches(const std::vector<std::string>& lengths) {
  std::vector<std::size_t> sizes;
  for (const std::string& length : lengths) sizes.push_back(std::stoul(length));
  for (const auto& batch : fastbert::micro_batches(sizes)) {
    for (const std::size_t row : batch) std::printf("%zu ", row);
    std::puts("");
  }
}

int run(const std::string& what, const std::vector<std::string>& arguments) {
  if (what == "batches") {
    print_batches(arguments);
    return 0;
  }
  for (const std::string& argument : arguments) {
    if (what == "sha256") {
      print_digest(argument);
    } else if (what == "manifest") {
      print_manifest(argument);
    } else if (what == "cores") {
      std::printf("%zu\n", fastbert::usable_cores(argument));
    } else if (what == "saturates") {
      std::printf("%d\n", fastbert::int8_products_saturate(argument) ? 1 : 0);
    } else {
      return 2;
    }
  }
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 2) return 2;
  try {
    return run(arguments[1], std::vector<std::string>(arguments + 2, arguments + count));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
