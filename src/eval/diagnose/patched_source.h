#pragma once
// A checkpoint's tensors, some of which another checkpoint of the same model serves.

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lissom/tensor.h"

namespace lissom {

class PatchedSource final : public TensorSource {
 public:
  /// `names`: those that `patch` serves; names that one of the two lacks change nothing.
  PatchedSource(std::shared_ptr<const TensorSource> source, std::shared_ptr<const TensorSource> patch,
                const std::vector<std::string>& names)
      : source_(std::move(source)),
        patch_(std::move(patch)),
        infos_(source_->tensors().begin(), source_->tensors().end()),
        in_patch_(infos_.size(), -1) {
    for (const std::string& name : names) {
      const int64_t index = source_->find(name), there = patch_->find(name);
      if (index < 0 || there < 0) continue;
      in_patch_[static_cast<size_t>(index)] = there;
      infos_[static_cast<size_t>(index)] = patch_->tensors()[static_cast<size_t>(there)];
    }
  }

  [[nodiscard]] std::span<const TensorInfo> tensors() const override { return infos_; }
  [[nodiscard]] Result<TensorView> read(size_t index) const override {
    const int64_t there = in_patch_[index];
    return there < 0 ? source_->read(index) : patch_->read(static_cast<size_t>(there));
  }
  void release(size_t index) const override {
    const int64_t there = in_patch_[index];
    there < 0 ? source_->release(index) : patch_->release(static_cast<size_t>(there));
  }
  [[nodiscard]] std::string origin() const override { return source_->origin(); }
  [[nodiscard]] int64_t find(std::string_view name) const override { return source_->find(name); }

 private:
  std::shared_ptr<const TensorSource> source_, patch_;
  std::vector<TensorInfo> infos_;
  std::vector<int64_t> in_patch_;  ///< index there, or -1
};

}  // namespace lissom
