#pragma once

#include <string>

namespace saccade::models::names {

// Canonical roots of the checkpoint's towers (io/weight_source.h).
inline const std::string kPaligemma = "paligemma_with_expert.paligemma.";
inline const std::string kVision = kPaligemma + "model.vision_tower.vision_model.";
inline const std::string kProjector = kPaligemma + "model.multi_modal_projector.linear.";
inline const std::string kPrefix = kPaligemma + "model.language_model.";
inline const std::string kEmbedding = kPrefix + "embed_tokens.weight";
inline const std::string kExpert = "paligemma_with_expert.gemma_expert.model.";

}  // namespace saccade::models::names
