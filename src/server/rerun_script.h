#pragma once

#include <string_view>

namespace saccade::server {

/// python/saccade/rerun.py, the text of the program.
std::string_view rerun_script();

}  // namespace saccade::server
