#include "tokenizer/batch.h"

#include <algorithm>

#include "base/text.h"
#include "tokenizer/fields.h"

namespace lissom::tok {
namespace {

constexpr int64_t kLongest = int64_t{1} << 20;

Result<bool> is_left(const Fields& fields) {
  LISSOM_TRY(const std::string direction, fields.string("direction", "Right"));
  if (direction != "Left" && direction != "Right")
    return bad_input(fields.at("direction") + ": expected \"Left\" or \"Right\", got " + in_quotes(direction));
  return direction == "Left";
}

void cut(Encoding& e, int64_t length, bool left) {
  const auto size = static_cast<int64_t>(e.ids.size());
  if (size <= length) return;
  const auto begin = static_cast<std::ptrdiff_t>(left ? size - length : 0);
  const auto end = begin + static_cast<std::ptrdiff_t>(length);
  e.ids = std::vector<int32_t>(e.ids.begin() + begin, e.ids.begin() + end);
  e.type_ids = std::vector<int32_t>(e.type_ids.begin() + begin, e.type_ids.begin() + end);
}

/// The shorter keeps what it has, or half.
void cut_longest(Encoding& a, Encoding& b, int64_t most, bool left) {
  auto n1 = static_cast<int64_t>(a.ids.size()), n2 = static_cast<int64_t>(b.ids.size());
  const bool swapped = n1 > n2;
  if (swapped) std::swap(n1, n2);
  n2 = n1 > most ? n1 : std::max(n1, most - n1);
  if (n1 + n2 > most) {
    n1 = most / 2;
    n2 = n1 + most % 2;
  }
  if (swapped) std::swap(n1, n2);
  cut(a, n1, left);
  cut(b, n2, left);
}

}  // namespace

Result<Truncation> read_truncation(const Json& json, const std::string& where) {
  Truncation t;
  if (json.is_null()) return t;
  LISSOM_TRY(const Fields fields, fields_of(json, where));
  LISSOM_CHECK(fields.only({"direction", "max_length", "strategy", "stride"}));
  t.on = true;
  LISSOM_TRY(t.left, is_left(fields));
  LISSOM_TRY(t.max_length, fields.integer("max_length", 512, 0, INT32_MAX));
  LISSOM_TRY([[maybe_unused]] const int64_t stride, fields.integer("stride", 0, 0, INT32_MAX));
  LISSOM_TRY(const std::string strategy, fields.string("strategy", "LongestFirst"));
  if (strategy == "OnlyFirst") {
    t.strategy = Truncation::Strategy::only_first;
  } else if (strategy == "OnlySecond") {
    t.strategy = Truncation::Strategy::only_second;
  } else if (strategy != "LongestFirst") {
    return unsupported(fields.at("strategy") + ": unknown strategy " + in_quotes(strategy));
  }
  return t;
}

Result<Padding> read_padding(const Json& json, const std::string& where) {
  Padding p;
  if (json.is_null()) return p;
  LISSOM_TRY(const Fields fields, fields_of(json, where));
  LISSOM_CHECK(
      fields.only({"strategy", "direction", "pad_to_multiple_of", "pad_id", "pad_type_id", "pad_token"}));
  p.on = true;
  LISSOM_TRY(p.left, is_left(fields));
  if (const Json* strategy = fields.find("strategy"); strategy != nullptr && *strategy != "BatchLongest") {
    LISSOM_TRY(const Fields fixed, fields.object("strategy"));
    LISSOM_CHECK(fixed.only({"Fixed"}));
    if (fixed.find("Fixed") == nullptr) return fixed.wrong("Fixed", "an integer");
    LISSOM_TRY(p.fixed, fixed.integer("Fixed", 0, 0, kLongest));
  }
  LISSOM_TRY(p.multiple, fields.integer("pad_to_multiple_of", 0, 0, kLongest));
  LISSOM_TRY(const int64_t id, fields.integer("pad_id", 0, 0, INT32_MAX));
  LISSOM_TRY(const int64_t type, fields.integer("pad_type_id", 0, 0, INT32_MAX));
  LISSOM_TRY([[maybe_unused]] const std::string token, fields.string("pad_token", "[PAD]"));
  p.id = static_cast<int32_t>(id);
  p.type_id = static_cast<int32_t>(type);
  return p;
}

Result<void> truncate(std::vector<Encoding>& sequences, const Truncation& t, int64_t added) {
  if (!t.on) return {};
  const int64_t most = t.max_length - added;
  if (most < 0)
    return bad_input("truncation.max_length: " + std::to_string(t.max_length) + " is less than the " +
                     std::to_string(added) + " special tokens");
  int64_t total = 0;
  for (const Encoding& e : sequences) total += static_cast<int64_t>(e.ids.size());
  if (total <= most) return {};
  if (most == 0) {
    for (Encoding& e : sequences) cut(e, 0, t.left);
    return {};
  }
  if (t.strategy == Truncation::Strategy::longest_first) {
    if (sequences.size() == 2) {
      cut_longest(sequences[0], sequences[1], most, t.left);
    } else {
      cut(sequences[0], most, t.left);
    }
    return {};
  }
  const size_t which = t.strategy == Truncation::Strategy::only_first ? 0 : 1;
  if (which >= sequences.size()) return bad_input("truncation.strategy: OnlySecond needs a second sequence");
  const auto length = static_cast<int64_t>(sequences[which].ids.size());
  if (length <= total - most)
    return bad_input("truncation.strategy: the sequence of " + std::to_string(length) +
                     " tokens is too short to take " + std::to_string(total - most) + " from");
  cut(sequences[which], length - (total - most), t.left);
  return {};
}

void pad(std::vector<PaddedEncoding>& batch, const Padding& p) {
  if (!p.on) return;
  auto length = static_cast<size_t>(p.fixed);
  if (p.fixed == 0)
    for (const PaddedEncoding& e : batch) length = std::max(length, e.ids.size());
  if (p.multiple > 0)
    length = (length + static_cast<size_t>(p.multiple) - 1) / static_cast<size_t>(p.multiple) *
             static_cast<size_t>(p.multiple);
  for (PaddedEncoding& e : batch) {
    if (e.ids.size() >= length) continue;
    const size_t n = length - e.ids.size();
    const auto fill = [&](std::vector<int32_t>& v, int32_t value) {
      v.insert(p.left ? v.begin() : v.end(), n, value);
    };
    fill(e.ids, p.id);
    fill(e.type_ids, p.type_id);
    fill(e.attention, 0);
  }
}

}  // namespace lissom::tok
