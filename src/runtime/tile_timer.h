#pragma once

#include <memory>
#include <vector>

#include "runtime/tile_table.h"

namespace saccade {

/// Times one product with one tile after the other: on random operands, in a recorded graph, from
/// weights that no cache holds. Fails where the Hopper kernel does not take the product.
class TileTimer {
 public:
  TileTimer(const Stream&, const TiledProduct&);
  ~TileTimer();

  /// The median time of one of the products.
  double us(const ops::detail::TileChoice&) const;

 private:
  struct Operands;

  void enqueue(int copy, const ops::detail::TileChoice&) const;

  const Stream& stream_;
  std::unique_ptr<Operands> operands_;
};

}  // namespace saccade
