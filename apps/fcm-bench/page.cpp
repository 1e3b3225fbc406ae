#include "apps/fcm-bench/page.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "apps/common/html.h"
#include "apps/common/stats.h"
#include "apps/common/table.h"

namespace fcm::bench {
namespace {

using apps::html_escaped;
using nlohmann::json;

// Colours are variables, so that dark screens and paper each have their own.
constexpr const char* kStyle = R"css(
:root{--ink:#1a2430;--soft:#5b6875;--line:#d5dbe1;--ground:#fff;--panel:#f5f7f9;--ours:#0f766e;--other:#8a97a5;--mark:#b45309;--warn:#9f1239}
@media (prefers-color-scheme:dark){:root{--ink:#e6ebf0;--soft:#9aa7b4;--line:#33404d;--ground:#12181f;--panel:#1a232c;--ours:#2dd4bf;--other:#64748b;--mark:#fbbf24;--warn:#fda4af}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:64rem;padding:1rem;font:16px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--ground)}
h1{font-size:1.5rem;margin:.2rem 0}h2{font-size:1.25rem;margin:2rem 0 .3rem;border-top:2px solid var(--line);padding-top:1rem}
h3{font-size:1rem;margin:1.3rem 0 .3rem}p{margin:.3rem 0}.soft{color:var(--soft);font-size:.875rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .6rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left;padding-left:0}th{font-weight:600;color:var(--soft);font-size:.875rem}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.6rem;margin:.6rem 0}
.card{background:var(--panel);border-radius:.4rem;padding:.5rem .7rem}.card b{display:block;font-size:1.25rem;font-variant-numeric:tabular-nums}
.card span{color:var(--soft);font-size:.8rem}
.rows{display:grid;gap:.15rem}.row{display:grid;grid-template-columns:minmax(7rem,15rem) 1fr minmax(7.5rem,auto);gap:.6rem;align-items:center}
.row .name{overflow:hidden;text-overflow:ellipsis;white-space:nowrap;font-size:.875rem}.row .value{text-align:right;font-size:.875rem;font-variant-numeric:tabular-nums}
.track{position:relative;height:.85rem;background:var(--panel)}.bar{height:100%;background:var(--other)}.ours .bar{background:var(--ours)}.ours .name{font-weight:600}
.tick{position:absolute;top:-.1rem;bottom:-.1rem;width:2px;background:var(--mark)}.predicted{background:var(--ink);opacity:.55}
.key{display:inline-block;width:.8rem;height:.8rem;vertical-align:-.1rem;margin-right:.25rem;background:var(--other)}.key.ours{background:var(--ours)}.key.bound{width:2px;background:var(--mark)}.key.pred{width:2px;background:var(--ink);opacity:.55}
svg{width:100%;height:7.5rem;display:block;border-bottom:1px solid var(--line)}.ends{display:flex;justify-content:space-between}.ends i{height:.8rem}.warning{color:var(--warn)}
@media (max-width:34rem){body{font-size:15px;padding:.7rem}.row{grid-template-columns:1fr auto}.row .name{grid-column:1}.row .value{grid-column:2}.row .track{grid-column:1/3;grid-row:2}}
@media print{:root{--ink:#000;--soft:#444;--line:#bbb;--ground:#fff;--panel:#eee;--ours:#0f766e;--other:#999;--mark:#b45309;--warn:#900}
body{max-width:none;font-size:10pt;padding:0}h2{break-after:avoid}.row,.card,svg,tr{break-inside:avoid}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
)css";

// A number in about three digits.
std::string number(double value) {
  if (value >= 1000) return fmt::format("{:.0f}", value);
  return value >= 100 ? fmt::format("{:.1f}", value) : fmt::format("{:.2f}", value);
}

std::string number(const json& value) {
  return value.is_number() ? number(value.get<double>()) : "–";
}

bool has(const json& object, const char* key) {
  return object.is_object() && object.contains(key) && !object.at(key).is_null();
}

std::string title_of(const json& r) {
  return fmt::format("{}, batch {}, {}{}", html_escaped(r.at("model")), r.at("batch").get<int64_t>(), html_escaped(r.at("precision")),
                     r.at("fused").get<bool>() ? "" : ", not fused");
}

std::string card(const std::string& value, const std::string& what) {
  return fmt::format("<div class=\"card\"><b>{}</b><span>{}</span></div>", value, what);
}

std::string energy_number(const json& holder, const char* key) {
  return has(holder, "energy") && has(holder.at("energy"), key) ? number(holder.at("energy").at(key)) : "–";
}

// The contenders that some file has for this model, batch and precision.
std::vector<json> peers_of(const json& r, const json& peers) {
  std::vector<json> found;
  for (const json& document : peers) {
    for (const json& row : document.at("results")) {
      if (row.at("model") != r.at("model") || row.at("batch") != r.at("batch") || row.at("precision") != r.at("precision")) continue;
      for (const json& contender : row.at("contenders")) found.push_back(contender);
    }
  }
  return found;
}

std::string summary(const json& document) {
  std::string text =
      "<div class=\"scroll\"><table><tr><th>model</th><th>batch</th><th>precision</th><th>µs a run</th><th>p99 µs</th><th>images/s</th>"
      "<th>mJ/image</th><th>above idle</th></tr>\n";
  for (const json& r : document.at("results")) {
    const json& one = has(r, "gpu_us") ? r.at("gpu_us") : r.at("host_us");
    text += fmt::format("<tr><td>{}{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                        html_escaped(r.at("model")), r.at("fused").get<bool>() ? "" : " (not fused)", r.at("batch").get<int64_t>(),
                        html_escaped(r.at("precision")), number(r.at("median_us")), number(one.at("p99")),
                        number(r.at("images_per_second")), energy_number(r, "mj_per_image"), energy_number(r, "mj_per_image_above_idle"));
  }
  return text + "</table></div>\n";
}

std::string cards(const json& r) {
  std::string text = "<div class=\"cards\">" + card(number(r.at("median_us")) + " µs", "a run, back to back (median of rounds)");
  if (has(r, "gpu_us")) text += card(number(r.at("gpu_us").at("median")) + " µs", "one run, GPU time (median)");
  text += card(number(r.at("host_us").at("median")) + " µs", "one run, seen from the host (median)");
  text += card(number(r.at("host_us").at("p99")) + " µs", "99 % of runs are faster (host)");
  text += card(number(r.at("images_per_second")), "images a second, one context");
  if (has(r, "images_per_second_streams"))
    text += card(number(r.at("images_per_second_streams")), fmt::format("images a second, {} streams", r.at("streams").get<int>()));
  if (has(r, "enqueue_us")) text += card(number(r.at("enqueue_us").at("median")) + " µs", "to enqueue a run");
  if (has(r, "energy")) {
    const json& e = r.at("energy");
    if (has(e, "mj_per_image")) {
      text += card(number(e.at("mj_per_image")) + " mJ", fmt::format("an image, at {:.0f} W", e.at("watts").get<double>()));
      if (has(e, "mj_per_image_above_idle"))
        text +=
            card(number(e.at("mj_per_image_above_idle")) + " mJ", fmt::format("above idle ({:.0f} W)", e.at("idle_watts").get<double>()));
    } else {
      text += card("–", "energy not available: " + html_escaped(e.at("unavailable")));
    }
  }
  const json& memory = r.at("memory");
  text += card(apps::bytes_text(memory.at("weights").get<size_t>()), "weights");
  text +=
      card(apps::bytes_text(memory.at("activations").get<size_t>() + memory.at("workspace").get<size_t>()), "activations and workspace");
  text += card(number(r.at("build").at("build_ms")) + " ms", "to build the engine");
  return text + "</div>\n";
}

std::string bar_row(const std::string& name, bool ours, double share, const std::string& value, const std::string& marks = "") {
  return fmt::format(
      "<div class=\"row{}\"><span class=\"name\" title=\"{}\">{}</span><div class=\"track\"><div class=\"bar\" "
      "style=\"width:{:.1f}%\"></div>"
      "{}</div><span class=\"value\">{}</span></div>\n",
      ours ? " ours" : "", name, name, std::clamp(100 * share, 0.0, 100.0), marks, value);
}

// Ours and theirs, fastest first; the missing ones with the reason.
std::string comparison(const json& r, const json& peers) {
  std::vector<json> contenders = peers_of(r, peers);
  if (contenders.empty()) return {};
  const auto missing = std::stable_partition(contenders.begin(), contenders.end(), [](const json& c) { return has(c, "median_us"); });
  std::sort(contenders.begin(), missing,
            [](const json& a, const json& b) { return a.at("median_us").get<double>() < b.at("median_us").get<double>(); });
  double longest = 1e-9;
  for (auto c = contenders.begin(); c != missing; ++c) longest = std::max(longest, c->at("median_us").get<double>());
  std::string text =
      "<h3>Beside what else runs this model</h3>\n<p class=\"soft\">Measured in turn in one run on one card; µs a run, back "
      "to back, and mJ an image.</p>\n<div class=\"rows\">\n";
  for (auto c = contenders.begin(); c != missing; ++c) {
    const double us = c->at("median_us");
    std::string value = number(us) + " µs";
    if (has(*c, "energy") && has(c->at("energy"), "mj_per_image")) value += ", " + number(c->at("energy").at("mj_per_image")) + " mJ";
    text += bar_row(html_escaped(c->at("label")), c->at("name").get<std::string>().starts_with("fcm"), us / longest, value);
  }
  text += "</div>\n";
  for (auto c = missing; c != contenders.end(); ++c)
    text += fmt::format("<p class=\"soft\">{}: missing, {}</p>\n", html_escaped(c->at("label")), html_escaped(c->value("missing", "")));
  return text;
}

// Bins from the least to the 99th percentile; what lies beyond is counted in the caption.
std::string histogram(const json& spread, const char* title) {
  const std::vector<double> samples = spread.at("samples");
  const double low = spread.at("min"), high = spread.at("p99");
  if (samples.size() < 10 || high <= low) return {};
  constexpr size_t kBins = 40;
  constexpr double kWidth = 720, kHeight = 120;
  std::vector<int> bins(kBins, 0);
  int beyond = 0;
  for (const double s : samples) {
    if (s > high) {
      ++beyond;
      continue;
    }
    ++bins[std::min(kBins - 1, static_cast<size_t>((s - low) / (high - low) * kBins))];
  }
  const double tallest = *std::max_element(bins.begin(), bins.end());
  std::string text = fmt::format("<h3>{}</h3>\n<svg viewBox=\"0 0 {} {}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">",
                                 title, kWidth, kHeight, title);
  for (size_t b = 0; b < kBins; ++b) {
    const double h = bins[b] / tallest * (kHeight - 8);
    text += fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"var(--ours)\"/>",
                        static_cast<double>(b) * kWidth / kBins + 1, kHeight - h, kWidth / kBins - 2, h);
  }
  const double median = (spread.at("median").get<double>() - low) / (high - low) * kWidth;
  text +=
      fmt::format("<line x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"5\" y2=\"{1}\" stroke=\"var(--mark)\" stroke-width=\"2\"/>", median, kHeight);
  // Captions are text of the page, so that they keep their size where the drawing shrinks.
  text += fmt::format(
      "</svg>\n<div class=\"ends soft\"><span>{} µs</span><span><i class=\"key bound\"></i>median {} µs</span><span>{} µs "
      "(p99)</span></div>\n",
      number(low), number(spread.at("median")), number(high));
  return text + fmt::format("<p class=\"soft\">{} samples of {} runs; {} beyond the 99th percentile, the longest {} µs.</p>\n",
                            samples.size(), spread.at("count").get<size_t>(), beyond, number(spread.at("max")));
}

std::string steps(const json& r) {
  if (!has(r, "profile")) return {};
  const json& profile = r.at("profile");
  if (has(profile, "unavailable"))
    return fmt::format("<h3>Steps</h3>\n<p>Not available: {}</p>\n", html_escaped(profile.at("unavailable")));
  double longest = 1e-9;
  for (const json& step : profile.at("steps")) {
    for (const char* key : {"us", "predicted_us", "bound_us"}) {
      if (has(step, key)) longest = std::max(longest, step.at(key).get<double>());
    }
  }
  std::string text = fmt::format("<h3>Steps</h3>\n<p class=\"soft\">A pass of its own: {}. Sum of the steps {} µs",
                                 html_escaped(profile.at("method")), number(profile.at("sum_us")));
  if (has(r, "gpu_us")) {
    const double run_us = r.at("gpu_us").at("median");
    text += fmt::format("; one run {} µs, a difference of {:+.1f} µs (launches, less overlap)", number(run_us),
                        run_us - profile.at("sum_us").get<double>());
  }
  if (has(profile, "whole")) {
    const json& whole = profile.at("whole");
    text += fmt::format(
        "; CUPTI's record of a whole run {} µs, between events around the same runs {} µs, of which entering and leaving a graph takes {} "
        "µs",
        number(whole.at("record_us")), number(whole.at("events_us")), number(whole.at("launch_us")));
  }
  text +=
      ".</p>\n<p class=\"soft\"><span class=\"key ours\"></span>fused module, measured &ensp;<span class=\"key\"></span>other step, "
      "measured "
      "&ensp;<span class=\"key bound\"></span>time that its bytes take at least &ensp;<span class=\"key pred\"></span>predicted</p>\n"
      "<div class=\"rows\">\n";
  for (const json& step : profile.at("steps")) {
    const double us = step.at("us");
    std::string marks;
    if (has(step, "bound_us"))
      marks += fmt::format("<i class=\"tick\" style=\"left:{:.1f}%\"></i>", 100 * step.at("bound_us").get<double>() / longest);
    if (has(step, "predicted_us"))
      marks +=
          fmt::format("<i class=\"tick predicted\" style=\"left:{:.1f}%\"></i>", 100 * step.at("predicted_us").get<double>() / longest);
    const std::string kind = step.at("kind");
    // Kinds of modules are written in capitals: PWDWPW.
    const bool module = std::none_of(kind.begin(), kind.end(), [](char c) { return c >= 'a' && c <= 'z'; });
    text += bar_row(html_escaped(kind + "  " + step.at("name").get<std::string>()), module, us / longest,
                    fmt::format("{} µs, {}", number(us), apps::bytes_text(static_cast<size_t>(step.at("bytes").get<double>()))), marks);
  }
  return text + "</div>\n";
}

std::string warnings(const json& r) {
  std::string text;
  for (const json& warning : r.at("warnings")) text += fmt::format("<p class=\"warning\">Warning: {}</p>\n", html_escaped(warning));
  return text;
}

std::string environment(const json& document) {
  const json& e = document.at("environment");
  std::string text = html_escaped(e.at("device"));
  if (!e.value("driver", std::string()).empty()) text += ", driver " + html_escaped(e.at("driver"));
  if (has(e, "power_limit_w")) text += fmt::format(", power limit {:.0f} W", e.at("power_limit_w").get<double>());
  if (has(e, "max_sm_mhz")) text += fmt::format(", up to {} MHz", e.at("max_sm_mhz").get<int>());
  return text + ", " + html_escaped(e.at("date"));
}

}  // namespace

std::string page_text(const json& document, const json& peers) {
  std::string text = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width,initial-scale=1\">"
      "<title>FCM benchmark</title><style>{}</style></head><body>\n<h1>FCM benchmark</h1>\n<p class=\"soft\">{}</p>\n",
      kStyle, environment(document));
  text += summary(document);
  for (const json& r : document.at("results")) {
    text += fmt::format("<h2>{}</h2>\n", title_of(r)) + warnings(r) + cards(r) + comparison(r, peers);
    if (has(r, "gpu_us")) text += histogram(r.at("gpu_us"), "Latency of single runs, GPU time");
    text += histogram(r.at("host_us"), "Latency of single runs, seen from the host");
    text += steps(r);
  }
  const json& options = document.at("options");
  text += fmt::format(
      "<h2>How it was measured</h2>\n<p class=\"soft\">\"A run, back to back\" is the median of {} rounds of up to {} runs enqueued one "
      "after "
      "another, between two CUDA events, over the number of runs; inputs and outputs lie in device memory. Single runs are synchronised "
      "one by "
      "one. Energy is NVML's counter from tick to tick over at least two seconds of back-to-back runs; \"above idle\" subtracts what the "
      "same "
      "GPU takes without work. On the CPU the host's clock is used.</p>\n<pre class=\"soft scroll\">{}</pre>\n</body></html>\n",
      options.at("rounds").get<int>(), options.at("replays").get<int>(), html_escaped(document.at("environment").at("versions")));
  return text;
}

}  // namespace fcm::bench
