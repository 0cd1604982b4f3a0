#include "hub/shard_ledger.h"

#include <algorithm>
#include <limits>
#include <map>

namespace lissom::hub {
namespace {

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

}  // namespace

int64_t ShardLedger::Shard::next() const {
  return reads.empty() ? kNever : reads.front();
}

ShardLedger::ShardLedger(const std::vector<uint64_t>& sizes, uint64_t bound) : bound_(bound) {
  for (const uint64_t bytes : sizes) {
    shards_.emplace_back();
    shards_.back().bytes = bytes;
  }
}

void ShardLedger::expect(const std::vector<size_t>& reads) {
  for (Shard& shard : shards_) shard.reads.clear();
  for (size_t i = 0; i < reads.size(); ++i) shards_[reads[i]].reads.push_back(static_cast<int64_t>(i));
}

void ShardLedger::demand(size_t shard) {
  if (shards_[shard].reads.empty()) shards_[shard].reads.push_front(--demands_);
}
void ShardLedger::keep(size_t shard) {
  shards_[shard].state = State::kept;
}
void ShardLedger::arrived(size_t shard) {
  shards_[shard].state = State::here;
}
void ShardLedger::gone(size_t shard) {
  shards_[shard].state = State::absent;
}
void ShardLedger::read(size_t shard) {
  if (!shards_[shard].reads.empty()) shards_[shard].reads.pop_front();
}

bool ShardLedger::here(size_t shard) const {
  return shards_[shard].state == State::here || shards_[shard].state == State::kept;
}
bool ShardLedger::finished() const {
  return std::ranges::all_of(shards_, [](const Shard& s) { return s.reads.empty(); });
}

std::vector<size_t> ShardLedger::by_need() const {
  std::vector<size_t> list;
  for (size_t i = 0; i < shards_.size(); ++i)
    if (shards_[i].state == State::here) list.push_back(i);
  std::ranges::stable_sort(list, [this](size_t a, size_t b) { return shards_[a].next() > shards_[b].next(); });
  return list;
}

std::optional<ShardLedger::Step> ShardLedger::begin() {
  int64_t soonest = kNever;
  size_t best = shards_.size();
  for (size_t i = 0; i < shards_.size(); ++i) {
    soonest = std::min(soonest, shards_[i].next());
    if (shards_[i].state == State::absent && !shards_[i].reads.empty() &&
        (best == shards_.size() || shards_[i].next() < shards_[best].next()))
      best = i;
  }
  if (best == shards_.size()) return {};
  Step step{best, {}};
  if (bound_ > 0) {
    const bool urgent = shards_[best].next() == soonest;
    uint64_t bytes = used() + shards_[best].bytes;
    for (const size_t victim : by_need()) {
      if (bytes <= bound_ || (!shards_[victim].reads.empty() && !urgent)) break;
      bytes -= shards_[victim].bytes;
      step.remove.push_back(victim);
    }
    if (bytes > bound_) return {};
  }
  for (const size_t victim : step.remove) shards_[victim].state = State::absent;
  shards_[best].state = State::coming;
  return step;
}

std::vector<size_t> ShardLedger::trim() {
  std::vector<size_t> gone;
  for (const size_t victim : by_need()) {
    if (bound_ == 0 || used() <= bound_) break;
    shards_[victim].state = State::absent;
    gone.push_back(victim);
  }
  return gone;
}

uint64_t ShardLedger::used() const {
  uint64_t bytes = 0;
  for (const Shard& shard : shards_)
    if (shard.state == State::here || shard.state == State::coming) bytes += shard.bytes;
  return bytes;
}

uint64_t ShardLedger::missing() const {
  uint64_t bytes = 0;
  for (const Shard& shard : shards_)
    if (!shard.reads.empty() && (shard.state == State::absent || shard.state == State::coming))
      bytes += shard.bytes;
  return bytes;
}

uint64_t ShardLedger::repeated() const {
  ShardLedger run = *this;
  std::map<int64_t, size_t> order;
  for (size_t i = 0; i < shards_.size(); ++i) {
    if (run.shards_[i].state == State::coming) run.shards_[i].state = State::here;
    for (const int64_t at : shards_[i].reads) order[at] = i;
  }
  uint64_t fetched = 0;
  for (const auto& [at, shard] : order) {
    while (!run.here(shard)) {
      const auto step = run.begin();
      if (!step) return 0;  // larger than the bound: never fetched
      run.arrived(step->fetch);
      fetched += shards_[step->fetch].bytes;
    }
    run.read(shard);
  }
  return fetched - std::min(fetched, missing());
}

size_t ShardLedger::largest() const {
  size_t most = shards_.size();
  for (size_t i = 0; i < shards_.size(); ++i)
    if (!shards_[i].reads.empty() && shards_[i].state != State::kept &&
        (most == shards_.size() || shards_[i].bytes > shards_[most].bytes))
      most = i;
  return most;
}

uint64_t ShardLedger::comfortable() const {
  std::map<int64_t, int64_t> change;  // of the bytes that lie there, by position
  for (const Shard& shard : shards_) {
    if (shard.reads.empty() || shard.state == State::kept) continue;
    change[shard.reads.front()] += static_cast<int64_t>(shard.bytes);
    change[shard.reads.back() + 1] -= static_cast<int64_t>(shard.bytes);
  }
  int64_t now = 0, most = 0;
  for (const auto& [at, bytes] : change) {
    now += bytes;
    most = std::max(most, now);
  }
  return static_cast<uint64_t>(most);
}

}  // namespace lissom::hub
