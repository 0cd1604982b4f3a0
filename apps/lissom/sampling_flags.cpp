#include "sampling_flags.h"

#include <CLI/CLI.hpp>

namespace lissom::cli {

void add_sampling(CLI::App* verb, SamplingOptions& s) {
  verb->add_option("--temperature,--temp", s.temperature, "0: always the most likely token")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 100.0));
  verb->add_option("--top-k", s.top_k, "Draw among the k most likely; 0: off")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  verb->add_option("--top-p", s.top_p, "… among the fewest that have this probability together; 1: off")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0));
  verb->add_option("--min-p", s.min_p, "… among those with this share of the best one's probability; 0: off")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0));
  verb->add_option("--repetition-penalty", s.repetition_penalty,
                   "Above 1: tokens seen of late become less likely")
      ->capture_default_str()
      ->check(CLI::Range(0.01, 100.0));
  verb->add_option("--penalty-window", s.penalty_window, "How many tokens back that looks")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 20));
  verb->add_option("--seed", s.seed, "Same seed, same text")->capture_default_str();
}

}  // namespace lissom::cli
