#include "sampling_flags.h"

namespace lissom::cli {

void add_sampling(Command& verb, SamplingOptions& s) {
  verb.option("--temperature,--temp", s.temperature, "0: always the most likely token")
      .show_default()
      .between(0.0, 100.0);
  verb.option("--top-k", s.top_k, "Draw among the k most likely; 0: off").show_default().not_negative();
  verb.option("--top-p", s.top_p, "… among the fewest that have this probability together; 1: off")
      .show_default()
      .between(0.0, 1.0);
  verb.option("--min-p", s.min_p, "… among those with this share of the best one's probability; 0: off")
      .show_default()
      .between(0.0, 1.0);
  verb.option("--repetition-penalty", s.repetition_penalty, "Above 1: tokens seen of late become less likely")
      .show_default()
      .between(0.01, 100.0);
  verb.option("--penalty-window", s.penalty_window, "How many tokens back that looks")
      .show_default()
      .between(0, 1 << 20);
  verb.option("--seed", s.seed, "Same seed, same text").show_default();
}

}  // namespace lissom::cli
