#include "report/diagnosis.h"

#include <fmt/format.h>

#include "report/html.h"
#include "report/report.h"

namespace lissom {
namespace {

Json state_json(const StateDifference& s) {
  return {{"cosine", s.cosine},
          {"relative_error", s.relative_error},
          {"norm_ratio", s.norm_ratio},
          {"finite", s.finite}};
}

Json gains_json(const std::vector<PartGain>& gains) {
  Json list = Json::array();
  for (const PartGain& g : gains)
    list.push_back({{"name", g.name},
                    {"block", g.block},
                    {"loss", g.loss},
                    {"gain", g.gain},
                    {"gain_error", g.gain_error},
                    {"share", g.share}});
  return list;
}

Json tensors_json(const Diagnosis& found) {
  Json list = Json::array();
  for (const TensorDifference& t : found.tensors) {
    Json row = {{"name", t.name},
                {"shape", std::vector<int64_t>(t.shape.dims().begin(), t.shape.dims().end())},
                {"block", t.block},
                {"from", t.base_codec},
                {"codec", t.codec},
                {"bits", t.bits},
                {"relative_error", t.relative_error},
                {"cosine", t.cosine},
                {"norm_ratio", t.norm_ratio},
                {"not_finite", t.not_finite},
                {"to_peers", t.to_peers},
                {"outlier", t.outlier},
                {"blatant", t.blatant}};
    if (t.worst_expert >= 0) {
      row["worst_expert"] = t.worst_expert;
      row["expert_error"] = t.expert_error;
    }
    list.push_back(std::move(row));
  }
  return list;
}

Json logits_json(const LogitDifference& logits) {
  if (!logits.measured) return Json();
  Json json = eval_json(logits.eval);
  json.erase("tokens_per_second");  // parts of two models were run, not one model
  json["cosine"] = logits.cosine;
  json["mse"] = logits.mse;
  return json;
}

Json scan_json(const Scan& scan) {
  if (!scan.measured) return Json();
  return {{"measure", scan.measure},
          {"positions", scan.positions},
          {"loss", scan.loss},
          {"complete", scan.complete},
          {"estimated_seconds", scan.estimated_seconds},
          {"seconds", scan.seconds},
          {"parts", gains_json(scan.parts)},
          {"tensors", gains_json(scan.tensors)}};
}

}  // namespace

Json diagnosis_json(const Diagnosis& found) {
  Json layers = Json::array(), culprits = Json::array();
  for (const LayerDifference& l : found.layers)
    layers.push_back({{"block", l.block},
                      {"state", state_json(l.state)},
                      {"own", state_json(l.own)},
                      {"norm", l.norm},
                      {"to_peers", l.to_peers},
                      {"outlier", l.outlier}});
  for (const Culprit& c : found.culprits)
    culprits.push_back({{"name", c.name},
                        {"block", c.block},
                        {"to_peers", c.to_peers},
                        {"confirmed", c.confirmed},
                        {"gain", c.gain},
                        {"share", c.share},
                        {"why", c.why}});
  Json json = {{"tensors", tensors_json(found)},      {"layers", std::move(layers)},
               {"logits", logits_json(found.logits)}, {"scan", scan_json(found.scan)},
               {"culprits", std::move(culprits)},     {"summary", found.summary},
               {"interrupted", found.interrupted}};
  if (!found.culprits.empty() && found.scan.measured && !found.interrupted)
    json["repaired_loss"] = found.repaired_loss;
  return json;
}

// ---------------------------------------------------------------- the page

namespace html {
namespace {

const Json& list_of(const Json& object, const char* key) {
  static const Json kNone = Json::array();
  const Json& list = member(object, key);
  return list.is_array() ? list : kNone;
}

std::string cell(const std::optional<double>& value, int digits = -1) {
  const std::string shown = digits < 0 ? small(value) : figure(value, digits);
  return fmt::format(R"(<td class="n" data-v="{}">{}</td>)", value ? fmt::format("{:.17g}", *value) : "nan",
                     shown);
}

std::optional<double> percent(std::optional<double> share) {
  return share ? std::optional(100 * *share) : std::nullopt;
}

std::string table(const std::vector<std::pair<const char*, bool>>& columns, const std::string& rows) {
  std::string out = "<div class=\"scroll tall\"><table class=\"tight\"><thead><tr>";
  for (const auto& [title, numeric] : columns)
    out +=
        fmt::format("<th{} data-k=\"{}\">{}</th>", numeric ? " class=\"n\"" : "", numeric ? "n" : "t", title);
  return out + "</tr></thead><tbody>" + rows + "</tbody></table></div>\n";
}

std::string part_label(const Json& row) {
  const auto block = number(row, "block");
  return block ? escaped(part_name(static_cast<int64_t>(*block))) : "–";
}

std::string culprits(const Json& report) {
  const Json& verdict = member(report, "verdict");
  std::string out = "<h2>Verdict</h2><p>" + text(verdict, "summary") + "</p>";
  for (const Json& reason : list_of(verdict, "reasons"))
    if (reason.is_string()) out += "<p class=\"note\">" + escaped(reason.get<std::string>()) + "</p>";
  std::string rows;
  for (const Json& c : list_of(report, "culprits"))
    rows += fmt::format("<tr><td>{}</td><td>{}</td>{}{}<td class=\"why\">{}</td></tr>\n", text(c, "name"),
                        part_label(c), cell(number(c, "to_peers"), 2), cell(percent(number(c, "share")), 1),
                        text(c, "why"));
  if (rows.empty()) return out;
  return out + table({{"culprit", false},
                      {"where", false},
                      {"× its peers", true},
                      {"of the loss, %", true},
                      {"why", false}},
                     rows);
}

std::string layers(const Json& report) {
  std::string rows;
  for (const Json& l : list_of(report, "layers")) {
    const Json &state = member(l, "state"), &own = member(l, "own");
    rows += fmt::format("<tr><td>{}{}</td>{}{}{}{}{}{}{}</tr>\n", part_label(l),
                        flag(l, "outlier") ? " <span class=\"no\">stands out</span>" : "",
                        cell(number(state, "cosine"), 6), cell(number(state, "relative_error")),
                        cell(number(state, "norm_ratio"), 4), cell(number(own, "cosine"), 6),
                        cell(number(own, "relative_error")), cell(number(own, "norm_ratio"), 4),
                        cell(number(l, "norm")));
  }
  return "<h2>Each block</h2>" + error_chart(report) + "<p></p>" +
         table({{"after", false},
                {"cosine", true},
                {"error", true},
                {"norm ratio", true},
                {"own cosine", true},
                {"own error", true},
                {"own norm ratio", true},
                {"base's norm", true}},
               rows) +
         "<p class=\"soft\">Means over tokens. Error: ‖x̂−x‖/‖x‖ of the hidden state after the block. Own: of "
         "what the block adds when it is fed the base's hidden state.</p>\n";
}

std::string scan(const Json& report) {
  const Json& s = member(report, "scan");
  if (!s.is_object()) return "";
  std::string rows;
  for (const char* kind : {"parts", "tensors"})
    for (const Json& g : list_of(s, kind))
      rows += fmt::format("<tr><td>{}</td><td>{}</td>{}{}{}{}</tr>\n", text(g, "name"), part_label(g),
                          cell(number(g, "loss")), cell(number(g, "gain")), cell(number(g, "gain_error")),
                          cell(percent(number(g, "share")), 1));
  return fmt::format(
             "<h2>What comes back</h2><p>The loss of the compressed model, {}, is {} over {} positions. "
             "Each row: the same with the base's weights in this part alone.{}</p>",
             text(s, "measure") == "kld" ? "mean KL divergence in nats" : "mean error of the last hidden state",
             small(number(s, "loss")), text(s, "positions"),
             flag(s, "complete") ? "" : " Not all parts were measured in time.") +
         gain_chart(report) + "<p></p>" +
         table({{"restored", false},
                {"where", false},
                {"loss then", true},
                {"gain", true},
                {"± error", true},
                {"of the loss, %", true}},
               rows);
}

std::string health(const Json& report) {
  const Json& h = member(report, "health");
  if (!h.is_object()) return "";
  std::string rows;
  for (const char* mode : {"greedy", "sampled"}) {
    const Json& m = member(h, mode);
    for (const char* who : {"compressed", "base"}) {
      const Json& x = member(m, who);
      rows += fmt::format("<tr><td>{}, {}</td>{}{}{}<td class=\"why\">{}</td></tr>\n", mode, who,
                          cell(percent(number(x, "one_word")), 0), cell(percent(number(x, "repetition")), 0),
                          cell(percent(number(x, "early_stop")), 0), text(x, "example"));
    }
  }
  return "<h2>Does it still talk?</h2>" + table({{"continuations", false},
                                                 {"one word for ever, %", true},
                                                 {"repeated 4-grams, %", true},
                                                 {"early stop, %", true},
                                                 {"the first", false}},
                                                rows);
}

std::string tensors(const Json& report) {
  std::string rows;
  for (const Json& t : list_of(report, "tensors"))
    rows += fmt::format("<tr><td>{}{}</td><td>{}</td><td>{}</td>{}{}{}{}{}</tr>\n", text(t, "name"),
                        flag(t, "outlier") ? " <span class=\"no\">stands out</span>" : "", text(t, "from"),
                        text(t, "codec"), cell(number(t, "bits"), 2), cell(number(t, "relative_error")),
                        cell(number(t, "cosine"), 6), cell(number(t, "norm_ratio"), 4),
                        cell(number(t, "to_peers"), 2));
  return "<h2>Each tensor</h2>" + layer_map(report) + "<p></p>" +
         table({{"tensor", false},
                {"from", false},
                {"codec", false},
                {"bits", true},
                {"error", true},
                {"cosine", true},
                {"norm ratio", true},
                {"× its peers", true}},
               rows);
}

std::string tiles(const Json& report) {
  const Json &logits = member(report, "logits"), &verdict = member(report, "verdict");
  const bool healthy = flag(verdict, "healthy");
  std::string out = "<div class=\"tiles\">";
  out += tile("verdict", healthy ? "<span class=\"ok\">healthy</span>" : "<span class=\"no\">a fault</span>",
              fmt::format("{} named", list_of(report, "culprits").size()));
  if (logits.is_object()) {
    out += tile("mean KL divergence", small(number(logits, "kld_mean")) + " nats",
                "99% below " + small(number(logits, "kld_p99")));
    out +=
        tile("same top token", figure(percent(number(logits, "same_top")), 2) + "%",
             "logits' cosine " + figure(number(logits, "cosine"), 5) + ", MSE " + small(number(logits, "mse")));
    out += tile("perplexity", figure(number(logits, "ppl"), 3),
                "the base's " + figure(number(logits, "ppl_base"), 3));
  }
  return out + "</div>\n";
}

}  // namespace

std::string diagnosis_body(const Json& report) {
  const Json& e = member(report, "evaluation");
  return fmt::format(
             "<h1>{}</h1><p class=\"soft\">Diagnosis of {} against {}. Text: {}, {} windows of {} "
             "tokens.{}</p>\n",
             text(member(report, "source"), "name"), text(member(report, "compressed"), "file"),
             text(member(report, "source"), "file"), text(e, "description"), text(e, "windows"),
             text(e, "context"), flag(report, "interrupted") ? " It was stopped before its end." : "") +
         tiles(report) + culprits(report) + layers(report) + scan(report) + health(report) + tensors(report);
}

}  // namespace html
}  // namespace lissom
