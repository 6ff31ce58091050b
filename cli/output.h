#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "saccade/policy.h"

namespace saccade::cli {

/// Keeps its keys in the order in which they were added.
using Json = nlohmann::ordered_json;

/// Makes sure that no file that is opened later becomes the standard output or error by taking
/// over a closed descriptor. Throws when the standard output is closed.
void secure_standard_streams();

/// Writes to the standard output. flush_output() throws when any of it could not be written.
void print(std::string_view text);
void print_json(const Json&);
void flush_output();

/// One line on the standard error for each.
void print_warnings(const std::vector<std::string>&);
void print_notes(const std::vector<std::string>&);

/// Throws unless the file can be written. Leaves no new file and no file changed.
void check_writable(const std::filesystem::path&, std::string_view option);
void write_file(const std::filesystem::path&, std::string_view text, std::string_view option);

/// "6.71 GB"
std::string format_bytes(std::uint64_t bytes);

/// "3,353,432,992"
std::string format_count(std::uint64_t count);

}  // namespace saccade::cli
