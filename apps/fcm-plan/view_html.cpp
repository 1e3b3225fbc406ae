// The HTML view: a column of blocks, as tall as their time, modules coloured, with what each saves.
#include <fmt/format.h>

#include <algorithm>

#include "apps/common/html.h"
#include "apps/common/table.h"
#include "apps/fcm-plan/views.h"

namespace fcm::apps {
namespace {

constexpr const char* kStyle =
    "body{font:14px/1.4 system-ui,sans-serif;margin:2em auto;max-width:60em;color:#222;background:#fff}"
    "h1{font-size:1.3em}table{border-collapse:collapse}td,th{padding:.1em .8em;text-align:right}td:first-child{text-align:left}"
    ".step{display:flex;align-items:center;gap:1em;margin:2px 0;padding:.2em .8em;border-left:6px solid #bbb;background:#f4f4f4}"
    ".module{border-color:#3a7d34;background:#e6f1e4}.kind{min-width:8em;font-weight:600}.name{flex:1;overflow-wrap:anywhere}"
    ".bar{height:.7em;background:#3a7d34}.before{height:.35em;background:#c9c9c9}.bars{width:14em}.time{min-width:11em;text-align:right}"
    "details{margin:0 0 .3em 1.2em;color:#555;font-size:.9em}";

std::string step_html(const PlanView& view, const Choice& c, double scale) {
  const Group& g = c.group;
  const double saved = c.unfused.cost.l2_bytes() - g.cost.l2_bytes();
  std::string text = fmt::format(
      "<div class=\"step{}\"><span class=\"kind\">{}</span><span class=\"name\">{}</span><span class=\"bars\"><div class=\"bar\" "
      "style=\"width:{:.1f}%\"></div><div class=\"before\" style=\"width:{:.1f}%\"></div></span><span class=\"time\">{:.2f} "
      "us{}{}</span></div>\n",
      g.module ? " module" : "", html_escaped(kind_text(*view.graph, g)), html_escaped(span_text(*view.graph, g)), g.cost.time_us * scale,
      c.unfused.cost.time_us * scale, g.cost.time_us,
      measured_us(view, g) < 0 ? "" : fmt::format(", measured {:.2f}", measured_us(view, g)),
      g.module && saved > 0 ? ", saves " + bytes_text(static_cast<size_t>(saved)) : std::string());
  text += "<details><summary>details</summary>";
  for (size_t i = 0; i < g.part_costs.size(); ++i) {
    if (g.module) text += html_escaped(to_string(g.segment.parts[i].spec)) + "<br>" + html_escaped(to_string(g.tiles[i])) + "<br>";
    text += html_escaped(to_string(g.part_costs[i])) + "<br>";
  }
  for (const auto& [name, a] : {std::pair<const char*, const Alternative&>{"unfused", c.unfused}, {"runner-up", c.runner_up}}) {
    if (g.module && !a.text.empty())
      text += fmt::format("{}: {}, {:.2f} us ({})<br>", name, html_escaped(a.text), a.cost.time_us, html_escaped(a.why));
  }
  return text + "</details>\n";
}

}  // namespace

std::string html_text(const PlanView& view) {
  const Partition& p = *view.partition;
  double longest = 1e-9;
  for (const Choice& c : p.choices) longest = std::max(longest, c.unfused.cost.time_us);
  std::string text = fmt::format(
      "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Plan of "
      "{0}</title><style>{1}</style></head><body>\n<h1>{0}</h1>"
      "<p>{2}, batch {3}, {4} (predicted{6}), plan {5}</p>\n",
      html_escaped(view.model), kStyle, html_escaped(view.precision), p.batch, html_escaped(view.device->name), view.plan_hash,
      view.measured == nullptr ? ""
                               : fmt::format("; measured: one replay {:.1f} us, without fusion {:.1f} us", view.measured->replay_us,
                                             view.measured->unfused_replay_us));
  const auto row = [&](const char* name, const Cost& c) {
    return fmt::format("<tr><td>{}</td><td>{:.1f} us</td><td>{}</td><td>{}</td><td>{:.2f} M</td></tr>\n", name, c.time_us,
                       bytes_text(static_cast<size_t>(c.l2_bytes())), bytes_text(static_cast<size_t>(c.dram_bytes)), c.elements / 1e6);
  };
  text += "<table><tr><th></th><th>time</th><th>L2</th><th>DRAM</th><th>accesses</th></tr>\n" + row("plan", p.total) +
          row("unfused", p.unfused) + "</table>\n<p>Green: fused modules; the thin bar is the same nodes one by one.</p>\n";
  for (const Choice& c : p.choices) {
    if (c.group.module || c.group.cost.time_us > 0) text += step_html(view, c, 100 / longest);
  }
  return text + "</body></html>\n";
}

}  // namespace fcm::apps
