#pragma once
// The library's only way to speak while it works. The caller decides what becomes of it: a line with an ETA,
// JSON, or nothing.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace lissom {

enum class LogLevel { debug, info, warning };

/// Called from the thread that runs the job, never concurrently.
struct Progress {
  /// `done` of `total` units of `stage` ("quantize", "evaluate"); `detail` is the tensor or block at work.
  std::function<void(std::string_view stage, int64_t done, int64_t total, std::string_view detail)> step;
  std::function<void(LogLevel, std::string_view)> log;
  std::function<bool()> cancelled;

  void report(std::string_view stage, int64_t done, int64_t total, std::string_view detail = {}) const {
    if (step) step(stage, done, total, detail);
  }
  void say(LogLevel level, std::string_view text) const {
    if (log) log(level, text);
  }
  [[nodiscard]] bool stop_requested() const { return cancelled && cancelled(); }
};

}  // namespace lissom
