#pragma once
// Estimates with their standard errors from one value per scored token.

#include <cstdint>
#include <span>
#include <vector>

#include "lissom/eval.h"

namespace lissom {

/// Mean, and s/√n with the sample's standard deviation s. An error of 0 where n < 2.
[[nodiscard]] Estimate mean_of(std::span<const double> values);

/// exp of the mean, with the error by the delta method: exp(mean)·error(mean).
[[nodiscard]] Estimate exp_mean_of(std::span<const double> values);

/// A share of n trials, with √(p(1-p)/(n-1)).
[[nodiscard]] Estimate share_of(int64_t hits, int64_t n);

/// The q-quantile (linear between order statistics, rank q·(n-1)). Its error is half the distance of the order
/// statistics one binomial standard deviation, √(n·q·(1-q)), to either side of that rank: it needs no density
/// and no resampling. `sorted` ascending, not empty.
[[nodiscard]] Estimate quantile_of(std::span<const double> sorted, double q);

/// The largest value, with the bootstrap's standard deviation of the maximum in closed form: of n draws with
/// replacement the maximum is the i-th order statistic with probability (i/n)^n - ((i-1)/n)^n.
[[nodiscard]] Estimate max_of(std::span<const double> sorted);

/// What every scored token gave, in order.
struct TokenScores {
  std::vector<double> nll;       ///< -ln p(token), model under test
  std::vector<double> nll_base;  ///< empty without a base
  std::vector<double> kld;       ///< KL(base‖model), nats
  int64_t same_top = 0;
};

/// Fills chunk-independent fields: perplexities, divergences, shares and their errors.
[[nodiscard]] EvalResult summarize(const TokenScores& scores);

}  // namespace lissom
