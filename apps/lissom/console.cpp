#include "console.h"

#include <fmt/core.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <string>

#include "table.h"

namespace lissom::cli {
namespace {

using Clock = std::chrono::steady_clock;
volatile std::sig_atomic_t stop = 0;

void on_interrupt(int signal) {
  stop = 1;
  std::signal(signal, SIG_DFL);
}

/// What is being shown.
struct Line {
  std::string stage;
  Clock::time_point begin, shown;
  int64_t last = 0;
  bool finished = false;
  int64_t first = 0;  ///< of this stage's `done` when it began: work that a resumed job found done has no rate
  bool open = false;
};
Line line;

double seconds(Clock::duration d) {
  return std::chrono::duration<double>(d).count();
}

void show(std::string_view stage, int64_t done, int64_t total, std::string_view detail) {
  const bool terminal = ::isatty(STDERR_FILENO) != 0;
  const auto now = Clock::now();
  if (line.stage != stage || done < line.last) {
    end_progress();
    line = Line{};
    line.stage = stage;
    line.begin = now;
    line.shown = now - std::chrono::hours(1);
    line.first = done;
  }
  line.last = done;
  const bool last = done >= total;
  if (last && line.finished) return;
  line.finished = last;
  if (!last && seconds(now - line.shown) < (terminal ? 0.1 : 5.0)) return;
  line.shown = now;
  const double spent = seconds(now - line.begin);
  std::string text =
      fmt::format("{:<10} {:3.0f}%", stage,
                  total > 0 ? 100.0 * static_cast<double>(done) / static_cast<double>(total) : 100.0);
  if (last) {
    text += fmt::format("  {}", human_seconds(spent));
  } else if (done > line.first && spent > 0.5) {
    text += fmt::format("  {} left", human_seconds(spent * static_cast<double>(total - done) /
                                                   static_cast<double>(done - line.first)));
  }
  if (!detail.empty() && !last) text += fmt::format("  {}", detail.substr(0, 48));
  if (terminal) {
    std::fprintf(stderr, "\r\x1b[K%s", text.c_str());
    line.open = true;
    if (last) end_progress();
  } else {
    std::fprintf(stderr, "%s\n", text.c_str());
  }
}

}  // namespace

bool interrupted() {
  return stop != 0;
}

void end_progress() {
  if (line.open) std::fputc('\n', stderr);
  line.open = false;
}

Progress console_progress(bool quiet) {
  std::signal(SIGINT, on_interrupt);
  std::signal(SIGTERM, on_interrupt);
  Progress progress;
  if (!quiet) progress.step = show;
  progress.log = [quiet](LogLevel level, std::string_view text) {
    if (level == LogLevel::debug || (quiet && level != LogLevel::warning)) return;
    end_progress();
    std::fprintf(stderr, "%s%.*s\n", level == LogLevel::warning ? "warning: " : "",
                 static_cast<int>(text.size()), text.data());
  };
  progress.cancelled = interrupted;
  return progress;
}

}  // namespace lissom::cli
