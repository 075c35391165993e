// Strings with ids, read byte by byte: a double-array trie (Aoe 1989).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace fastbert::text {

class Trie {
 public:
  using Node = std::int32_t;
  static constexpr Node kRoot = 0;
  static constexpr Node kNone = -1;
  static constexpr std::int32_t kNoValue = -1;

  // `entries`: strings with values of 0 or more. The last of equal strings counts. An empty string
  // is ignored.
  explicit Trie(std::vector<std::pair<std::string_view, std::int32_t>> entries);

  // The node that `byte` leads to from `node`, or kNone.
  Node step(Node node, char byte) const noexcept {
    const auto next = static_cast<std::size_t>(units_[static_cast<std::size_t>(node)].base) +
                      static_cast<unsigned char>(byte);
    return units_[next].parent == node ? static_cast<Node>(next) : kNone;
  }

  // The node that `text` leads to from the root, or kNone.
  Node walk(std::string_view text) const noexcept {
    Node node = kRoot;
    for (const char byte : text) {
      node = step(node, byte);
      if (node == kNone) break;
    }
    return node;
  }

  // The value of the string that ends at `node`, or kNoValue.
  std::int32_t value(Node node) const noexcept {
    return units_[static_cast<std::size_t>(node)].value;
  }

  // The value of `text`, or kNoValue.
  std::int32_t find(std::string_view text) const noexcept {
    const Node node = walk(text);
    return node == kNone || node == kRoot ? kNoValue : value(node);
  }

 private:
  // A node is at the base of its parent plus its byte; 256 units follow the highest base, so that
  // `step` needs no check of bounds.
  struct Unit {
    std::int32_t base = 0;
    Node parent = kNone;
    std::int32_t value = kNoValue;
  };

  std::vector<Unit> units_;
};

}  // namespace fastbert::text
