// Any bytes as a text or a pair of texts, for tokenizers of every kind: the ones in
// seeds/tokenizer_json.
//
// An input is two bytes, which choose the tokenizer and how it truncates, and the text; the byte
// 0xFF, which is never in UTF-8, separates two texts.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "errors.h"
#include "tokenizer/tokenizer.h"

namespace {

using fastbert::Encoding;
using fastbert::Tokenizer;
using fastbert::TruncationSide;

std::vector<std::unique_ptr<const Tokenizer>> load() {
  std::vector<std::filesystem::path> files;
  const auto folder = std::filesystem::path(__FILE__).parent_path() / "seeds" / "tokenizer_json";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) files.push_back(entry);
  std::sort(files.begin(), files.end());
  std::vector<std::unique_ptr<const Tokenizer>> tokenizers;
  for (const auto& path : files) {
    std::ifstream file(path, std::ios::binary);
    const std::string json{std::istreambuf_iterator<char>(file), {}};
    tokenizers.push_back(Tokenizer::from_json(json));
  }
  return tokenizers;
}

void require(bool condition) {
  if (!condition) std::abort();
}

bool starts_with(const std::vector<std::int64_t>& all, const std::vector<std::int64_t>& start) {
  return start.size() <= all.size() && std::equal(start.begin(), start.end(), all.begin());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<std::unique_ptr<const Tokenizer>> tokenizers = load();
  if (size < 2) return 0;
  const Tokenizer& tokenizer = *tokenizers[data[0] % tokenizers.size()];
  const std::size_t max_length = data[1] & 0x7FU;
  const auto side = data[1] < 0x80 ? TruncationSide::kRight : TruncationSide::kLeft;
  const std::string_view input(reinterpret_cast<const char*>(data) + 2, size - 2);
  const std::size_t separator = input.find('\xFF');
  const std::string_view text = input.substr(0, separator);
  const std::string_view second =
      separator == std::string_view::npos ? std::string_view{} : input.substr(separator + 1);
  const std::string_view* pair = separator == std::string_view::npos ? nullptr : &second;
  Encoding cut;
  Encoding whole;
  try {
    tokenizer.encode(text, pair, max_length, side, cut);
    require(cut.ids.size() <= max_length && cut.ids.size() == cut.type_ids.size());
    tokenizer.encode(text, pair, 1'000'000, side, whole);
    require(whole.truncated == false);
    require(cut.truncated == (cut.ids.size() < whole.ids.size()));
    // A special token may end a text, so all but the last one kept are the same.
    if (pair == nullptr && side == TruncationSide::kRight && cut.truncated) {
      cut.ids.pop_back();
      require(starts_with(whole.ids, cut.ids));
    }
  } catch (const fastbert::UsageError&) {
    // not UTF-8, or no room
  }
  return 0;
}
