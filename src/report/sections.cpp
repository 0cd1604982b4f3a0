#include <fmt/format.h>

#include <cmath>
#include <map>
#include <vector>

#include "report/diagnosis.h"
#include "report/html.h"
#include "report/page.h"
#include "report/report.h"

namespace lissom {
namespace {

using namespace html;

const Json& results_of(const Json& report) {
  static const Json kNone = Json::array();
  const Json& results = member(report, "results");
  return results.is_array() ? results : kNone;
}

std::string percent(std::optional<double> share) {
  return share ? fmt::format("{:.2f}%", *share * 100) : "–";
}

/// The share of the source's size that is left.
std::string share_left(const Json& report, const Json& result) {
  const auto before = number(member(report, "source"), "tensor_bytes"), after = number(result, "tensor_bytes");
  return before && after && *before > 0 ? fmt::format("{:.0f}%", 100 * *after / *before) : "–";
}

bool any_limits(const Json& report) {
  for (const Json& result : results_of(report))
    if (const Json& limits = member(result, "limits"); limits.is_array() && !limits.empty()) return true;
  return false;
}

std::string with_error(std::optional<double> value, std::optional<double> error) {
  return value ? fmt::format("{} ± {}", small(value), error ? fmt::format("{:.2g}", *error) : "–") : "–";
}

std::string header(const Json& report) {
  const Json& source = member(report, "source");
  return fmt::format(
      "<h1>{}</h1><p class=\"soft\">Compression report. Source: {} weights ({}), {} of tensors at {} bits per "
      "weight.</p>\n",
      text(source, "name"),
      number(source, "weights") ? fmt::format("{:.1f} M", *number(source, "weights") / 1e6) : "–",
      text(source, "architecture"), megabytes(number(source, "tensor_bytes")),
      figure(number(source, "bits_per_weight"), 2));
}

/// One result: a tile for each thing that matters. Several: a tile for each result.
std::string tiles(const Json& report) {
  const Json& results = results_of(report);
  std::string out = "<div class=\"tiles\">";
  for (const Json& r : results) {
    const Json& e = member(r, "eval");
    const std::string kld = with_error(number(e, "kld_mean"), number(e, "kld_mean_error"));
    if (results.size() > 1) {
      out += tile(text(r, "scheme"), megabytes(number(r, "file_bytes")),
                  fmt::format("{} of the source · {} bits per weight<br>KL {} · same top token {}",
                              share_left(report, r), figure(number(r, "bits_per_weight"), 2), kld,
                              percent(number(e, "same_top"))));
      continue;
    }
    out += tile("Size", megabytes(number(r, "file_bytes")),
                fmt::format("{} of the source · {} bits per weight", share_left(report, r),
                            figure(number(r, "bits_per_weight"), 2)));
    out += tile("KL divergence, mean", small(number(e, "kld_mean")),
                fmt::format("± {:.2g} · 99% of tokens below {}", number(e, "kld_mean_error").value_or(0),
                            small(number(e, "kld_p99"))));
    out += tile("Same most likely token", percent(number(e, "same_top")),
                fmt::format("± {} of {} tokens", percent(number(e, "same_top_error")), text(e, "tokens")));
    out += tile(
        "Perplexity", figure(number(e, "ppl"), 3),
        fmt::format("± {} · source {}", figure(number(e, "ppl_error"), 3), figure(number(e, "ppl_base"), 3)));
  }
  return out + "</div>\n";
}

std::string verdict(const Json& result) {
  const Json& limits = member(result, "limits");
  if (!limits.is_array() || limits.empty()) return "none set";
  std::string out;
  for (const Json& limit : limits)
    out += fmt::format("<span class=\"{}\">{} {} {} {}</span> ", flag(limit, "met") ? "ok" : "no",
                       text(limit, "name"), small(number(limit, "value")), flag(limit, "met") ? "≤" : "&gt;",
                       small(number(limit, "limit")));
  return out;
}

std::string cells(const char* tag, const std::vector<std::string>& texts) {
  std::string out = "<tr>";
  for (size_t i = 0; i < texts.size(); ++i)  // the first is a name, the others are figures
    out += fmt::format("<{}{}>{}</{}>", tag, i == 0 ? "" : " class=\"n\"", texts[i], tag);
  return out + "</tr>";
}

std::string comparison(const Json& report) {
  const bool limits = any_limits(report);
  std::vector<std::string> titles = {"scheme",   "file",     "of source", "bits",   "perplexity",
                                     "change",   "KL mean",  "KL median", "KL 99%", "KL max",
                                     "same top", "tokens/s", "repeats"};
  if (limits) titles.emplace_back("limits");
  std::string out = "<h2>What was kept</h2><div class=\"scroll\"><table class=\"tight\"><thead>" +
                    cells("th", titles) + "</thead><tbody>";
  for (const Json& r : results_of(report)) {
    const Json& e = member(r, "eval");
    const auto ppl = number(e, "ppl"), base = number(e, "ppl_base");
    const std::string change =
        ppl && base && *base > 0 ? fmt::format("{:+.2f}%", (*ppl / *base - 1) * 100) : std::string("–");
    std::vector<std::string> row = {text(r, "scheme"),
                                    megabytes(number(r, "file_bytes")),
                                    share_left(report, r),
                                    figure(number(r, "bits_per_weight"), 2),
                                    figure(ppl, 3),
                                    change,
                                    with_error(number(e, "kld_mean"), number(e, "kld_mean_error")),
                                    small(number(e, "kld_median")),
                                    small(number(e, "kld_p99")),
                                    small(number(e, "kld_max")),
                                    percent(number(e, "same_top")),
                                    figure(number(e, "tokens_per_second"), 0),
                                    percent(number(member(r, "health"), "repetition"))};
    if (limits) row.push_back(verdict(r));
    out += cells("td", row);
  }
  out += "</tbody></table></div>\n";
  const Json& machine = member(report, "machine");
  return out +
         fmt::format(
             "<p class=\"soft\">Tokens/s: reading the evaluation text, {} threads, {}. Repeats: 4-grams that "
             "generated text had before; the source has {}.</p>",
             text(machine, "threads"), text(machine, "cpu"),
             results_of(report).empty()
                 ? "–"
                 : percent(number(member(results_of(report).front(), "health"), "repetition_base")));
}

std::string notes(const Json& list) {
  std::string out;
  if (list.is_array())
    for (const Json& note : list)
      if (note.is_string()) out += "<p class=\"note\">" + escaped(note.get<std::string>()) + "</p>";
  return out;
}

std::string fallbacks(const Json& result) {
  std::map<std::string, int> reasons;
  int kept = 0, fallback = 0, copied = 0;
  double kept_bytes = 0;
  const Json& tensors = member(result, "tensors");
  if (tensors.is_array()) {
    for (const Json& t : tensors) {
      if (flag(t, "kept")) {
        ++kept;
        kept_bytes += number(t, "bytes_after").value_or(0);
      }
      copied += text(t, "reason").starts_with("copied: ") ? 1 : 0;
      if (!flag(t, "fallback")) continue;
      ++fallback;
      std::string why = text(t, "reason");
      if (const size_t cut = why.rfind("; "); cut != std::string::npos) why = why.substr(cut + 2);
      ++reasons[why + " → " + text(t, "codec")];
    }
  }
  std::string out =
      fmt::format("<p>{} small tensors (norms, biases, positions) stay F32: {}.", kept,
                  kept_bytes < 1e5 ? fmt::format("{:.1f} kB", kept_bytes / 1e3) : megabytes(kept_bytes));
  if (copied > 0)
    out += fmt::format(" {} matrices are copied: the source holds them in no more bits than they would get.",
                       copied);
  if (fallback == 0) return out + " Every other tensor has the codec that the scheme names.</p>";
  out += fmt::format(" {} could not have the codec that the scheme names:</p><ul>", fallback);
  for (const auto& [why, count] : reasons) out += fmt::format("<li>{} × {}</li>", count, why);
  return out + "</ul>";
}

std::string left_out(const Json& report) {
  const Json& c = member(report, "calibration");
  const Json& e = member(report, "evaluation");
  std::string out = "<h2>What was not covered, and why</h2>" + notes(member(report, "warnings"));
  out += fmt::format(
      "<dl><dt>calibration</dt><dd>{}</dd><dt>tokens seen</dt><dd>{} in {} chunks of {}; {} chunks left out "
      "for "
      "non-finite activations</dd><dt>matrices without statistics</dt><dd>{}</dd><dt>evaluation "
      "text</dt><dd>{}</dd>"
      "<dt>disjoint from calibration</dt><dd>{}</dd></dl>\n",
      text(c, "description"), text(c, "tokens"), text(c, "chunks"), text(c, "chunk_size"),
      text(c, "skipped_chunks"), text(c, "uncovered"), text(e, "description"), text(e, "disjoint"));
  // What every result warns of is said once.
  std::map<std::string, size_t> said;
  for (const Json& r : results_of(report))
    if (const Json& list = member(r, "warnings"); list.is_array())
      for (const Json& warning : list)
        if (warning.is_string()) ++said[warning.get<std::string>()];
  const size_t all = results_of(report).size();
  for (const auto& [warning, count] : said)
    if (count >= all) out += "<p class=\"note\">" + escaped(warning) + "</p>";
  for (const Json& r : results_of(report)) {
    if (all > 1) out += "<h3>" + text(r, "scheme") + "</h3>";
    out += fallbacks(r);
    Json own = Json::array();
    if (const Json& list = member(r, "warnings"); list.is_array())
      for (const Json& warning : list)
        if (warning.is_string() && said[warning.get<std::string>()] < all) own.push_back(warning);
    out += notes(own);
  }
  return out;
}

/// How a plan was chosen, for results of a search.
std::string searches(const Json& report) {
  std::string out;
  for (const Json& r : results_of(report)) {
    const Json& search = member(r, "search");
    if (!search.is_object()) continue;
    out += fmt::format(
        "<h2>How the codecs were chosen</h2><p>{}: {} measurements on the model in {} s ({} of them an earlier "
        "run's). On {} windows of calibration text the plan has a mean KL divergence of {}, below {} with 95% "
        "confidence. <code>--scheme {}</code> makes it again.</p>\n",
        text(r, "scheme"), text(search, "measurements"), figure(number(search, "seconds"), 0),
        text(search, "remembered"), text(search, "windows"),
        with_error(number(search, "kld"), number(search, "kld_error")), small(number(search, "kld_bound")),
        text(search, "scheme_file"));
    out += frontier_chart(r);
    out +=
        "<details><summary>Plans and sizes</summary><div class=\"scroll tall\"><table "
        "class=\"tight\"><thead>" +
        cells("th", {"plan", "file", "bits", "KL expected", "KL verified"}) + "</thead><tbody>";
    if (const Json& frontier = member(search, "frontier"); frontier.is_array())
      for (const Json& p : frontier)
        out += cells(
            "td", {text(p, "name"), megabytes(number(p, "file_bytes")), figure(number(p, "bits_per_weight"), 2),
                   small(number(p, "predicted_kld")), with_error(number(p, "kld"), number(p, "kld_error"))});
    out += "</tbody></table></div></details>\n";
  }
  return out;
}

std::string tensor_rows(const Json& result) {
  std::string out;
  const Json& tensors = member(result, "tensors");
  if (!tensors.is_array()) return out;
  for (const Json& t : tensors) {
    std::string shape;
    if (const Json& dims = member(t, "shape"); dims.is_array())
      for (const Json& d : dims)
        if (d.is_number_integer()) shape += (shape.empty() ? "" : " × ") + std::to_string(d.get<int64_t>());
    const auto raw = [&](const char* key) {
      return fmt::format("{:.17g}", number(t, key).value_or(std::nan("")));
    };
    out += fmt::format(
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"n\" data-v=\"{}\">{}</td>"
        "<td class=\"n\" data-v=\"{}\">{}</td><td class=\"n\" data-v=\"{}\">{}</td><td class=\"n\" "
        "data-v=\"{}\">{}</td>"
        "<td class=\"why\">{}</td></tr>\n",
        text(t, "name"), shape, text(t, "from"), text(t, "codec"), raw("bits"), figure(number(t, "bits"), 2),
        raw("bytes_after"), figure(number(t, "bytes_after"), 0), raw("relative_error"),
        small(number(t, "relative_error")), raw("weighted_relative_error"),
        small(number(t, "weighted_relative_error")), text(t, "reason"));
  }
  return out;
}

std::string tensor_tables(const Json& report) {
  std::string out = "<h2>Each tensor</h2>";
  for (const Json& r : results_of(report)) {
    out += fmt::format("<details{}><summary>{}: {}, {} bits per weight</summary>",
                       results_of(report).size() == 1 ? " open" : "", text(r, "scheme"), text(r, "file"),
                       figure(number(r, "bits_per_weight"), 2));
    out += layer_map(r);
    out +=
        "<div class=\"scroll tall\" style=\"margin-top:12px\"><table><thead><tr><th data-k=\"t\">tensor</th>"
        "<th data-k=\"t\">shape</th><th data-k=\"t\">from</th><th data-k=\"t\">codec</th><th class=\"n\" "
        "data-k=\"n\">bits</th><th class=\"n\" data-k=\"n\">bytes</th><th class=\"n\" "
        "data-k=\"n\">error</th><th "
        "class=\"n\" data-k=\"n\">weighted</th><th>why</th></tr></thead><tbody>";
    out += tensor_rows(r) + "</tbody></table></div></details>\n";
  }
  return out +
         "<p class=\"soft\">Error: √(Σ(w−ŵ)² / Σw²). Weighted: the same with the mean square of each column's "
         "input as "
         "weight. Click a heading to sort.</p>";
}

/// What learning did to the values; nothing where there was none.
std::string learned(const Json& result) {
  const Json& d = member(result, "distillation");
  if (!d.is_object()) return {};
  return fmt::format(
      "; values learned in {} steps over {} tokens, {} s with {}: KL {} at first, {} at last, on the "
      "calibration text",
      text(d, "steps"), text(d, "tokens"), figure(number(d, "seconds"), 0), text(d, "engine"),
      small(number(d, "kld_first")), small(number(d, "kld_last")));
}

std::string provenance(const Json& report) {
  const Json& machine = member(report, "machine");
  const Json& source = member(report, "source");
  std::string out = fmt::format(
      "<h2>How it was made</h2><dl><dt>lissom</dt><dd>{}</dd><dt>source</dt><dd>{}, <code>{}</code></dd>"
      "<dt>machine</dt><dd>{}, {} threads, {} kernels</dd>",
      text(machine, "lissom"), text(source, "file"), text(source, "digest"), text(machine, "cpu"),
      text(machine, "threads"), text(machine, "kernels"));
  for (const Json& r : results_of(report))
    out += fmt::format("<dt>{}</dt><dd>{}: <code>sha256:{}</code>, written in {} s{}</dd>", text(r, "scheme"),
                       text(r, "file"), text(r, "sha256"), figure(number(r, "seconds"), 1), learned(r));
  return out + "</dl>";
}

}  // namespace

std::string html::page(const std::string& title, const std::string& body) {
  std::string page =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<meta name=\"viewport\" "
      "content=\"width=device-width, initial-scale=1\">\n<meta http-equiv=\"Content-Security-Policy\" "
      "content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n<title>";
  page += title + "</title>\n<style>";
  page += kPageStyle;
  page += "</style></head>\n<body><main>\n" + body + "</main>\n<script>";
  page += kPageScript;
  return page + "</script></body></html>\n";
}

std::string report_html(const Json& report) {
  const std::string name = text(member(report, "source"), "name");
  if (text(report, "report") == kDiagnosis) return page(name + " – diagnosis", diagnosis_body(report));
  std::string body = header(report) + tiles(report);
  if (const std::string chart = size_chart(report); !chart.empty())
    body += "<h2>Size against divergence</h2>" + chart;
  body += comparison(report) + searches(report) + left_out(report) + tensor_tables(report) + provenance(report);
  return page(name + " – compression report", body);
}

}  // namespace lissom
