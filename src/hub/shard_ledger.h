#pragma once
// Which shard of a model comes next and which is given up, within a bound on what lies on the disk. Numbers
// alone: no file and no network.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

namespace lissom::hub {

class ShardLedger {
 public:
  /// Bytes of each shard. bound: bytes that may lie on the disk at a time; 0: any number.
  explicit ShardLedger(const std::vector<uint64_t>& sizes, uint64_t bound = 0);
  void set_bound(uint64_t bound) { bound_ = bound; }

  /// The reads to come, in order, each as the number of its shard. Replaces what was expected before.
  void expect(const std::vector<size_t>& reads);
  /// A read that perhaps was not expected waits for it.
  void demand(size_t shard);
  /// It lies in the cache for good: neither counted nor given up.
  void keep(size_t shard);
  /// It is whole on the disk, fetched now or by an earlier run.
  void arrived(size_t shard);
  void gone(size_t shard);  ///< it is not there any more
  /// One read of it is done.
  void read(size_t shard);

  [[nodiscard]] bool here(size_t shard) const;
  [[nodiscard]] bool kept(size_t shard) const { return shards_[shard].state == State::kept; }
  [[nodiscard]] bool finished() const;  ///< no read is to come

  struct Step {
    size_t fetch;
    std::vector<size_t> remove;  ///< before that
  };
  /// Begins a fetch of what is needed soonest. Nothing where all that is needed is here or coming, or has no
  /// room yet. For a shard that is needed later only those make room that are not needed again; for the one
  /// that is read next also others, the one that is needed last first: they will come a second time.
  [[nodiscard]] std::optional<Step> begin();
  /// What an earlier run left beyond the bound, and now has to go.
  [[nodiscard]] std::vector<size_t> trim();

  [[nodiscard]] uint64_t used() const;         ///< bytes of what is here or coming, without what is kept
  [[nodiscard]] uint64_t missing() const;      ///< bytes of what is needed and not here
  [[nodiscard]] uint64_t repeated() const;     ///< bytes that the expected reads fetch more than once
  [[nodiscard]] size_t largest() const;        ///< of the shards that are needed and not kept; size(): none
  [[nodiscard]] uint64_t comfortable() const;  ///< the least bound with which nothing is fetched twice
  [[nodiscard]] size_t size() const { return shards_.size(); }

 private:
  enum class State { absent, coming, here, kept };
  struct Shard {
    uint64_t bytes = 0;
    State state = State::absent;
    std::deque<int64_t> reads;  ///< positions in the order of what is expected
    [[nodiscard]] int64_t next() const;
  };
  [[nodiscard]] std::vector<size_t> by_need() const;  ///< what may be given up, the one needed last first

  std::vector<Shard> shards_;
  uint64_t bound_;
  int64_t demands_ = 0;
};

}  // namespace lissom::hub
