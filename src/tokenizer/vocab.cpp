#include "tokenizer/vocab.h"

#include "base/text.h"
#include "tokenizer/hash.h"

namespace lissom::tok {

Result<void> Vocab::add(std::string_view token, int64_t id) {
  if (id < 0) return bad_input("token " + in_quotes(token) + " has the negative id " + std::to_string(id));
  if (id >= INT32_MAX || token.size() >= INT32_MAX || arena_.size() + token.size() >= UINT32_MAX)
    return bad_input("token " + in_quotes(token) + ": the vocabulary is too large");
  if (find(token) != kAbsent) return bad_input("token " + in_quotes(token) + " occurs twice");
  if (id < end_id() && entries_[static_cast<size_t>(id)].length >= 0)
    return bad_input("tokens " + in_quotes(at(static_cast<int32_t>(id))) + " and " + in_quotes(token) +
                     " both have the id " + std::to_string(id));
  if (2 * (count_ + 1) > slots_.size()) grow();
  if (id >= end_id()) entries_.resize(static_cast<size_t>(id) + 1);
  entries_[static_cast<size_t>(id)] = {static_cast<uint32_t>(arena_.size()),
                                       static_cast<int32_t>(token.size())};
  arena_ += token;
  ++count_;
  size_t slot = hash_bytes(token) & (slots_.size() - 1);
  while (slots_[slot] != kAbsent) slot = (slot + 1) & (slots_.size() - 1);
  slots_[slot] = static_cast<int32_t>(id);
  return {};
}

void Vocab::reserve(size_t tokens) {
  entries_.reserve(tokens);
  arena_.reserve(tokens * 8);
  while (slots_.size() < 2 * tokens) grow();
}

void Vocab::grow() {
  const std::vector<int32_t> old = std::move(slots_);
  slots_.assign(old.empty() ? 1024 : old.size() * 2, kAbsent);
  for (const int32_t id : old) {
    if (id == kAbsent) continue;
    size_t slot = hash_bytes(at(id)) & (slots_.size() - 1);
    while (slots_[slot] != kAbsent) slot = (slot + 1) & (slots_.size() - 1);
    slots_[slot] = id;
  }
}

int32_t Vocab::find(std::string_view token) const {
  if (slots_.empty()) return kAbsent;
  for (size_t slot = hash_bytes(token) & (slots_.size() - 1);; slot = (slot + 1) & (slots_.size() - 1)) {
    const int32_t id = slots_[slot];
    if (id == kAbsent || at(id) == token) return id;
  }
}

std::optional<std::string_view> Vocab::token(int64_t id) const {
  if (id < 0 || id >= end_id() || entries_[static_cast<size_t>(id)].length < 0) return std::nullopt;
  return at(static_cast<int32_t>(id));
}

}  // namespace lissom::tok
