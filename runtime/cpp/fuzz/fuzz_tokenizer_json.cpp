// Any bytes as a tokenizer.json: refused with an Error, or a tokenizer that encodes.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "errors.h"
#include "tokenizer/tokenizer.h"

namespace {

constexpr std::array<std::string_view, 5> kTexts = {
    "",
    "A good film isn't bad, [SEP] 2 of 10!\r\n",
    "\xE5\xA5\xBD\xE7\x94\xB5\xE5\xBD\xB1 \xEF\xAC\x81\xCC\x81 \xC4\xB0",
    "\xE2\x96\x81<mask> \xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7 "
    "\xE0\xA4\x95\xE0\xA5\x8D\xE0\xA5\x98",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
    "xxx",
};

void encode(const fastbert::Tokenizer& tokenizer, std::string_view text,
            const std::string_view* pair, fastbert::Encoding& encoding) {
  constexpr std::size_t kLength = 24;
  try {
    tokenizer.encode(text, pair, kLength, fastbert::TruncationSide::kRight, encoding);
  } catch (const fastbert::UsageError&) {
    return;  // the special tokens leave no room
  }
  if (encoding.ids.size() > kLength || encoding.ids.size() != encoding.type_ids.size())
    std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const auto tokenizer =
        fastbert::Tokenizer::from_json({reinterpret_cast<const char*>(data), size});
    fastbert::Encoding encoding;
    for (const std::string_view& text : kTexts) {
      encode(*tokenizer, text, nullptr, encoding);
      encode(*tokenizer, text, &kTexts[1], encoding);
    }
  } catch (const fastbert::BundleError&) {
  } catch (const fastbert::Unsupported&) {
  }
  return 0;
}
