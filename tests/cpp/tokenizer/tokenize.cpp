// Drives the tokenizer for tests and studies written in Python.
//
//   tokenize encode tokenizer.json   requests on stdin, answers on stdout
//   tokenize pieces tokenizer.json   the same, but what the normalizer and the pre-tokenizer make
//   of a text tokenize time tokenizer.json     requests on stdin, seconds per request on stdout
//
// A request: int32 max_length, int32 keeps the end, int32 number of texts (1 or 2), and for each
// text its int32 size and bytes. An answer: int32 status; with status 0, int32 truncated, int32
// count, `count` int32 ids and `count` int32 type ids, or for `pieces` int32 count and as many
// sized strings; otherwise a sized message. A sized string is its int32 size and its bytes. All
// integers are in the machine's byte order.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "errors.h"
#include "tokenizer/json.h"
#include "tokenizer/normalizers/normalizer.h"
#include "tokenizer/pre_tokenizers/pre_tokenizer.h"
#include "tokenizer/tokenizer.h"

namespace {

using fastbert::Encoding;
using fastbert::Tokenizer;
using fastbert::TruncationSide;

bool read_integer(std::int32_t& value) { return std::fread(&value, sizeof value, 1, stdin) == 1; }

void write_integer(std::int64_t value) {
  const auto narrow = static_cast<std::int32_t>(value);
  std::fwrite(&narrow, sizeof narrow, 1, stdout);
}

void write_string(std::string_view text) {
  write_integer(static_cast<std::int64_t>(text.size()));
  std::fwrite(text.data(), 1, text.size(), stdout);
}

struct Request {
  std::int32_t max_length = 0;
  TruncationSide side = TruncationSide::kRight;
  std::vector<std::string> texts;

  bool read() {
    std::int32_t keeps_end = 0;
    std::int32_t count = 0;
    if (!read_integer(max_length) || !read_integer(keeps_end) || !read_integer(count)) return false;
    side = keeps_end != 0 ? TruncationSide::kLeft : TruncationSide::kRight;
    texts.resize(static_cast<std::size_t>(count));
    for (std::string& text : texts) {
      std::int32_t size = 0;
      if (!read_integer(size)) return false;
      text.resize(static_cast<std::size_t>(size));
      if (size > 0 && std::fread(text.data(), text.size(), 1, stdin) != 1) return false;
    }
    return true;
  }

  void encode(const Tokenizer& tokenizer, Encoding& encoding) const {
    const std::string_view pair =
        texts.size() > 1 ? std::string_view(texts[1]) : std::string_view{};
    tokenizer.encode(texts[0], texts.size() > 1 ? &pair : nullptr,
                     static_cast<std::size_t>(max_length), side, encoding);
  }
};

template <typename Answer>
void answer(const Answer& write) {
  try {
    write();
  } catch (const fastbert::Error& error) {
    write_integer(error.status());
    write_string(error.what());
  }
  std::fflush(stdout);
}

void encode(const Tokenizer& tokenizer) {
  Encoding encoding;
  for (Request request; request.read();) {
    answer([&] {
      request.encode(tokenizer, encoding);
      write_integer(0);
      write_integer(encoding.truncated ? 1 : 0);
      write_integer(static_cast<std::int64_t>(encoding.ids.size()));
      for (const std::int64_t id : encoding.ids) write_integer(id);
      for (const std::int64_t type : encoding.type_ids) write_integer(type);
    });
  }
}

void pieces(const std::string& json) {
  const fastbert::text::JsonDocument document(json);
  const auto normalizer = fastbert::text::make_normalizer(document.root().find("normalizer"));
  const auto pre_tokenizer =
      fastbert::text::make_pre_tokenizer(document.root().find("pre_tokenizer"), *normalizer);
  for (Request request; request.read();) {
    answer([&] {
      fastbert::text::Pieces found;
      fastbert::text::Pieces spare;
      normalizer->apply(request.texts[0], found.text);
      found.at_start = true;
      if (!found.text.empty()) found.spans.push_back({0, found.text.size()});
      pre_tokenizer->split(found, spare);
      write_integer(0);
      write_integer(static_cast<std::int64_t>(found.spans.size()));
      for (const auto& span : found.spans) write_string(found.piece(span));
    });
  }
}

// The fastest of three rounds over all requests.
void time(const Tokenizer& tokenizer) {
  std::vector<Request> requests;
  for (Request request; request.read();) requests.push_back(request);
  double fastest = 0;
  Encoding encoding;
  for (int round = 0; round < 3; ++round) {
    const auto start = std::chrono::steady_clock::now();
    for (const Request& request : requests) request.encode(tokenizer, encoding);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    if (round == 0 || seconds.count() < fastest) fastest = seconds.count();
  }
  std::cout << fastest / static_cast<double>(requests.size()) << '\n';
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) return 2;
  const std::string mode = arguments[1];
  std::ifstream file(arguments[2], std::ios::binary);
  const std::string json{std::istreambuf_iterator<char>(file), {}};
  try {
    if (mode == "pieces") {
      pieces(json);
    } else {
      const auto tokenizer = Tokenizer::from_json(json);
      if (mode == "time") time(*tokenizer);
      if (mode == "encode") encode(*tokenizer);
    }
  } catch (const fastbert::Error& error) {
    std::cerr << error.status() << ' ' << error.what() << '\n';
    return 1;
  }
  return 0;
}
