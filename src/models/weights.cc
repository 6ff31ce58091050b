#include "models/weights.h"

namespace saccade::models {

Shape WeightSlot::shape() const {
  const WeightPiece& first = pieces[0];
  int rows = 0;
  for (const WeightPiece& piece : pieces) rows += piece.shape[0];
  switch (first.shape.rank()) {
    case 1:
      return {rows};
    case 2:
      return {rows, first.columns > 0 ? first.columns : first.shape[1]};
    default:
      return {rows, first.shape[1], first.shape[2], first.shape[3]};
  }
}

}  // namespace saccade::models
