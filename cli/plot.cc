#include "plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

namespace saccade::cli {
namespace {

constexpr double kLeft = 70;
constexpr double kTop = 48;
constexpr double kPlotWidth = 720;
constexpr double kMinPlotHeight = 400;
constexpr double kBottom = 52;
constexpr double kLegendRow = 18;
constexpr double kLegendGap = 24;
constexpr double kLegendLine = 26;
constexpr double kCharacterWidth = 7.3;
constexpr int kTicks = 8;

// Of middling lightness, so that they stand out from white and from near-black.
constexpr std::array kColours = {"#3b82d6", "#e07b28", "#2f9e57", "#d64550", "#8f63d2",
                                 "#a0705a", "#d95fae", "#7f8790", "#a3a023", "#1aa5b8"};
constexpr std::array kDashes = {"none", "7 3", "2 3", "9 3 2 3"};

constexpr auto kStyle = R"(<style>
text{font:12px system-ui,sans-serif;fill:#555b63}
.title{font-size:14px;font-weight:600}
.axis,.grid{stroke:#8a9099;fill:none}
.grid{stroke-opacity:.25}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round}
@media (prefers-color-scheme:dark){text{fill:#aab1ba}}
</style>
)";

using Out = std::back_insert_iterator<std::string>;

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '<':
        result += "&lt;";
        break;
      case '&':
        result += "&amp;";
        break;
      default:
        // XML 1.0 has no way to write the other control characters.
        result += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    }
  }
  return result;
}

/// 1, 2 or 5 times a power of ten, near span / kTicks.
double tick_step(double span) {
  const double rough = span / kTicks;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough) return factor * power;
  }
  return 10 * power;
}

/// A linear map of [low, high] onto [first, last] pixels.
struct Axis {
  double low;
  double high;
  double first;
  double last;

  double at(double value) const { return first + (value - low) / (high - low) * (last - first); }
};

Axis value_axis(const std::vector<float>& values, double height) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const double span = double(*high) - double(*low);
  const double margin = span > 0 ? 0.05 * span : std::max(1e-3, 0.1 * std::abs(double(*high)));
  return {*low - margin, *high + margin, kTop + height, kTop};
}

void draw_axes(Out out, const Axis& x, const Axis& y) {
  const double step = tick_step(y.high - y.low);
  for (double i = std::ceil(y.low / step); i * step <= y.high; ++i) {
    fmt::format_to(out, "<path class=\"grid\" d=\"M{:.1f} {:.1f}H{:.1f}\"/>\n", x.first,
                   y.at(i * step), x.last);
    fmt::format_to(out, "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{:.6g}</text>\n",
                   x.first - 8, y.at(i * step) + 4, i == 0 ? 0.0 : i * step);
  }
  const double stride = std::max(1.0, tick_step(x.high));
  for (double i = 0; i <= x.high; i += stride) {
    fmt::format_to(out, "<path class=\"axis\" d=\"M{:.1f} {:.1f}v5\"/>\n", x.at(i), y.first);
    fmt::format_to(out, "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{:g}</text>\n",
                   x.at(i), y.first + 19, i);
  }
  fmt::format_to(out, "<path class=\"axis\" d=\"M{:.1f} {:.1f}V{:.1f}H{:.1f}\"/>\n", x.first,
                 y.last, y.first, x.last);
  fmt::format_to(out, "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">action</text>\n",
                 (x.first + x.last) / 2, y.first + 40);
}

std::string pen(std::size_t dimension) {
  return fmt::format("class=\"line\" stroke=\"{}\" stroke-dasharray=\"{}\"",
                     kColours[dimension % kColours.size()],
                     kDashes[dimension / kColours.size() % kDashes.size()]);
}

void draw_line(Out out, const ActionChunk& chunk, std::size_t dimension, const Axis& x,
               const Axis& y) {
  fmt::format_to(out, "<path {} d=\"", pen(dimension));
  for (int row = 0; row < chunk.actions; ++row) {
    const auto index = std::size_t(row) * std::size_t(chunk.action_dim) + dimension;
    fmt::format_to(out, "{}{:.1f} {:.1f}", row == 0 ? "M" : "L", x.at(row),
                   y.at(chunk.values[index]));
  }
  // A chunk of one action is a dot, which a path without a length does not show.
  fmt::format_to(out, "{}\"/>\n", chunk.actions == 1 ? "h4" : "");
}

void draw_legend(Out out, const std::vector<std::string>& names, double left) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    const double row = kTop + kLegendRow * (double(i) + 0.5);
    fmt::format_to(out, "<path {} d=\"M{:.1f} {:.1f}h{}\"/>", pen(i), left, row, kLegendLine);
    fmt::format_to(out, "<text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", left + kLegendLine + 7,
                   row + 4, escaped(names[i]));
  }
}

}  // namespace

std::string plot_actions(const ActionChunk& chunk, const std::vector<std::string>& names,
                         const std::string& title) {
  const double height = std::max(kMinPlotHeight, kLegendRow * double(names.size()));
  std::size_t longest = 0;
  for (const std::string& name : names) longest = std::max(longest, name.size());
  const double legend = kLeft + kPlotWidth + kLegendGap;
  const double width = legend + kLegendLine + 7 + kCharacterWidth * double(longest) + 16;
  const Axis x{0, std::max(1.0, chunk.actions - 1.0), kLeft, kLeft + kPlotWidth};
  const Axis y = value_axis(chunk.values, height);

  std::string svg;
  const Out out(svg);
  fmt::format_to(out,
                 "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" "
                 "width=\"{0:.0f}\" height=\"{1:.0f}\" role=\"img\">\n",
                 width, kTop + height + kBottom);
  fmt::format_to(out,
                 "<title>{0}</title>\n{1}<text class=\"title\" x=\"{2}\" y=\"26\">{0}</text>\n",
                 escaped(title), kStyle, kLeft);
  draw_axes(out, x, y);
  for (std::size_t i = 0; i < names.size(); ++i) draw_line(out, chunk, i, x, y);
  draw_legend(out, names, legend);
  return svg + "</svg>\n";
}

}  // namespace saccade::cli
