#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace saccade::cli {

/// Numbers as "0.1,-2", as a JSON array, or in a file as "@file". All are finite.
std::vector<double> parse_numbers(const std::string& text, std::string_view option);

/// The same for whole numbers that fit in an int.
std::vector<int> parse_integers(const std::string& text, std::string_view option);

/// A whole number and nothing else; otherwise the option "must be ...", with all of `text`.
int parse_whole(std::string_view part, std::string_view option, std::string_view must_be,
                const std::string& text);

/// "name=value" with both parts there.
std::pair<std::string, std::string> parse_assignment(const std::string& text,
                                                     std::string_view option);

}  // namespace saccade::cli
