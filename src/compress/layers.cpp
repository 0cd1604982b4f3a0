#include "compress/layers.h"

#include <fmt/format.h>

#include <charconv>
#include <limits>
#include <optional>
#include <string>

namespace lissom {
namespace {

std::optional<int64_t> number(std::string_view text) {
  if (text.empty()) return {};
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.front() == '-') return {};
  return value;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

}  // namespace

Result<LayerSelector> LayerSelector::parse(std::string_view text) {
  LayerSelector selector;
  const auto refused = [&](std::string_view term) {
    return bad_input(fmt::format("'{}' is none of more_bits, 7, 0-3, 28-, <4, <n/8, >=7n/8", term));
  };
  while (!text.empty()) {
    const size_t comma = text.find(',');
    const std::string_view term = trim(text.substr(0, comma));
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
    if (term == "more_bits") {
      selector.terms_.push_back({Term::Kind::more_bits});
    } else if (term.starts_with("<n/")) {
      const auto share = number(term.substr(3));
      if (!share || *share == 0) return refused(term);
      selector.terms_.push_back({Term::Kind::below_share, *share});
    } else if (term.starts_with(">=")) {
      const size_t middle = term.find("n/");
      if (middle == std::string_view::npos) return refused(term);
      const auto times = number(term.substr(2, middle - 2)), share = number(term.substr(middle + 2));
      if (!times || *times > 1000 || !share || *share == 0) return refused(term);
      selector.terms_.push_back({Term::Kind::from_share, *times, *share});
    } else if (term.starts_with("<")) {
      const auto bound = number(term.substr(1));
      if (!bound) return refused(term);
      selector.terms_.push_back({Term::Kind::below, *bound});
    } else {
      const size_t dash = term.find('-');
      const auto first = number(term.substr(0, dash));
      if (!first) return refused(term);
      auto last = first;
      if (dash != std::string_view::npos)
        last = dash + 1 == term.size() ? std::numeric_limits<int64_t>::max() : number(term.substr(dash + 1));
      if (!last || *last < *first) return refused(term);
      selector.terms_.push_back({Term::Kind::range, *first, *last});
    }
  }
  return selector;
}

bool LayerSelector::selects(int64_t layer, int64_t layers) const {
  if (terms_.empty()) return true;
  if (layer < 0) return false;
  for (const Term& term : terms_) {
    switch (term.kind) {
      case Term::Kind::more_bits:
        if (layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2) return true;
        break;
      case Term::Kind::range:
        if (layer >= term.a && layer <= term.b) return true;
        break;
      case Term::Kind::below:
        if (layer < term.a) return true;
        break;
      case Term::Kind::below_share:
        if (layer < layers / term.a) return true;
        break;
      case Term::Kind::from_share:
        if (layer >= term.a * layers / term.b) return true;
        break;
    }
  }
  return false;
}

int64_t layer_of(std::string_view tensor) {
  if (!tensor.starts_with("blk.")) return -1;
  tensor.remove_prefix(4);
  return number(tensor.substr(0, tensor.find('.'))).value_or(-1);
}

}  // namespace lissom
