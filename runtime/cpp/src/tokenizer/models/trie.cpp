#include "tokenizer/models/trie.h"

#include <algorithm>
#include <stdexcept>

namespace fastbert::text {
namespace {

constexpr std::size_t kBytes = 256;
constexpr std::size_t kMostUnits = INT32_MAX - kBytes;
// After so many units at which the children of a node find no place, those units stay empty: to try
// them again for every node would take quadratic time.
constexpr std::size_t kMostTries = 16;

// The strings below a node: entries [begin, end), which agree in their first `depth` bytes.
struct Range {
  Trie::Node node;
  std::size_t begin;
  std::size_t end;
  std::size_t depth;
};

// A child of a node.
struct Child {
  unsigned char byte;
  std::size_t begin;
  std::size_t end;
};

// The first eight bytes of a string, as a number that orders as they do.
std::uint64_t first_bytes(std::string_view text) {
  std::uint64_t value = 0;
  for (std::size_t at = 0; at < sizeof value; ++at) {
    value = (value << 8) | (at < text.size() ? static_cast<unsigned char>(text[at]) : 0U);
  }
  return value;
}

// Sorts by string; equal ones keep their order. Few comparisons need the strings, which lie all
// over the memory.
void sort(std::vector<std::pair<std::string_view, std::int32_t>>& entries) {
  struct Keyed {
    std::uint64_t key;
    std::size_t index;
  };
  std::vector<Keyed> order;
  order.reserve(entries.size());
  for (const auto& entry : entries) order.push_back({first_bytes(entry.first), order.size()});
  std::sort(order.begin(), order.end(), [&](const Keyed& left, const Keyed& right) {
    if (left.key != right.key) return left.key < right.key;
    const int compared = entries[left.index].first.compare(entries[right.index].first);
    return compared != 0 ? compared < 0 : left.index < right.index;
  });
  std::vector<std::pair<std::string_view, std::int32_t>> sorted;
  sorted.reserve(entries.size());
  for (const Keyed& keyed : order) sorted.push_back(entries[keyed.index]);
  entries.swap(sorted);
}

// Finds places for the children of nodes.
class Places {
 public:
  // Returns a base at which the units of all children are free, and takes them.
  std::size_t take(const std::vector<Child>& children) {
    const std::size_t first = children.front().byte;
    std::size_t at = std::max(start_, first + 1);
    std::size_t tried = 0;
    for (;; ++at) {
      grow(at + kBytes);
      if (used_[at] != 0) continue;
      if (++tried > kMostTries) start_ = at;
      const std::size_t base = at - first;
      if (std::none_of(children.begin(), children.end(),
                       [&](const Child& child) { return used_[base + child.byte] != 0; })) {
        for (const Child& child : children) used_[base + child.byte] = 1;
        while (start_ < used_.size() && used_[start_] != 0) ++start_;
        return base;
      }
    }
  }

 private:
  void grow(std::size_t size) {
    if (size >= kMostUnits) throw std::length_error("a vocabulary is too large");
    if (used_.size() <= size) used_.resize(std::max(size + 1, used_.size() * 2), 0);
  }

  std::vector<char> used_{1};  // the root's
  std::size_t start_ = 1;
};

}  // namespace

Trie::Trie(std::vector<std::pair<std::string_view, std::int32_t>> entries) {
  sort(entries);
  units_.assign(kBytes, Unit{});
  Places places;
  std::vector<Child> children;
  std::vector<Range> open{{kRoot, 0, entries.size(), 0}};
  while (!open.empty()) {
    const Range range = open.back();
    open.pop_back();
    std::size_t at = range.begin;
    for (; at < range.end && entries[at].first.size() == range.depth; ++at) {
      if (range.depth > 0) units_[static_cast<std::size_t>(range.node)].value = entries[at].second;
    }
    children.clear();
    while (at < range.end) {
      const auto byte = static_cast<unsigned char>(entries[at].first[range.depth]);
      const std::size_t begin = at;
      while (at < range.end && static_cast<unsigned char>(entries[at].first[range.depth]) == byte) {
        ++at;
      }
      children.push_back({byte, begin, at});
    }
    if (children.empty()) continue;
    const std::size_t base = places.take(children);
    if (units_.size() < base + kBytes) units_.resize(base + kBytes);
    units_[static_cast<std::size_t>(range.node)].base = static_cast<std::int32_t>(base);
    for (const Child& child : children) {
      const auto node = static_cast<Node>(base + child.byte);
      units_[static_cast<std::size_t>(node)].parent = range.node;
      open.push_back({node, child.begin, child.end, range.depth + 1});
    }
  }
}

}  // namespace fastbert::text
