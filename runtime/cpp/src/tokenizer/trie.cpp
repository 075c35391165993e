#include "tokenizer/trie.h"

#include <algorithm>
#include <deque>
#include <stdexcept>

namespace fastbert::text {
namespace {

constexpr std::size_t kBytes = 256;
constexpr std::size_t kMostUnits = INT32_MAX - kBytes;
// Of the units before the search begins, this share may stay empty: a search from the first empty unit is quadratic.
constexpr std::size_t kGivenUp = 16;

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
      if (used_[at]) continue;
      if (++tried > kGivenUp) start_ = at;  // the units before are all but full
      const std::size_t base = at - first;
      if (std::none_of(children.begin(), children.end(),
                       [&](const Child& child) { return used_[base + child.byte]; })) {
        for (const Child& child : children) used_[base + child.byte] = true;
        while (start_ < used_.size() && used_[start_]) ++start_;
        return base;
      }
    }
  }

 private:
  void grow(std::size_t size) {
    if (size >= kMostUnits) throw std::length_error("a vocabulary is too large");
    if (used_.size() <= size) used_.resize(std::max(size + 1, used_.size() * 2), false);
  }

  std::vector<bool> used_{true};  // the root
  std::size_t start_ = 1;
};

}  // namespace

Trie::Trie(std::vector<std::pair<std::string_view, std::int32_t>> entries) {
  std::stable_sort(entries.begin(), entries.end(),
                   [](const auto& left, const auto& right) { return left.first < right.first; });
  units_.assign(kBytes, Unit{});
  Places places;
  std::vector<Child> children;
  std::deque<Range> open{{kRoot, 0, entries.size(), 0}};
  while (!open.empty()) {
    const Range range = open.front();
    open.pop_front();
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
