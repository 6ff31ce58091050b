#include "runtime/copy_team.h"

#include <algorithm>
#include <cstring>

namespace saccade {
namespace {

constexpr std::size_t kPieceBytes = std::size_t{128} << 10;

/// Enough to reach the memory's bandwidth; a robot's computer has other work for its cores.
std::size_t helpers_for(std::size_t cores) {
  constexpr std::size_t kMost = 3;
  return std::min(kMost, cores / 4);
}

}  // namespace

CopyTeam::CopyTeam() {
  const std::size_t helpers = helpers_for(std::thread::hardware_concurrency());
  for (std::size_t i = 0; i < helpers; ++i) helpers_.emplace_back([this] { help(); });
}

CopyTeam::~CopyTeam() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  started_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
}

void CopyTeam::start(std::span<const Copy> copies) {
  {
    const std::lock_guard lock(mutex_);
    pieces_.clear();
    left_.assign(copies.size(), 0);
    claimed_ = 0;
    for (std::size_t index = 0; index < copies.size(); ++index) {
      const auto* from = static_cast<const std::byte*>(copies[index].from);
      auto* to = static_cast<std::byte*>(copies[index].to);
      for (std::size_t at = 0; at < copies[index].bytes; at += kPieceBytes) {
        const std::size_t bytes = std::min(kPieceBytes, copies[index].bytes - at);
        pieces_.push_back({{from + at, to + at, bytes}, index});
        ++left_[index];
      }
    }
  }
  started_.notify_all();
}

std::optional<CopyTeam::Piece> CopyTeam::claim() {
  if (claimed_ == pieces_.size()) return std::nullopt;
  return pieces_[claimed_++];
}

void CopyTeam::copy(const Piece& piece) {
  std::memcpy(piece.copy.to, piece.copy.from, piece.copy.bytes);
  const std::lock_guard lock(mutex_);
  if (--left_[piece.index] == 0) copied_.notify_one();
}

void CopyTeam::help() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const std::optional<Piece> piece = claim();
    if (!piece) {
      started_.wait(lock);
      continue;
    }
    lock.unlock();
    copy(*piece);
    lock.lock();
  }
}

void CopyTeam::finish(std::size_t index) {
  std::unique_lock lock(mutex_);
  while (left_[index] > 0) {
    const std::optional<Piece> piece = claim();
    if (!piece) {
      copied_.wait(lock, [&] { return left_[index] == 0; });
      return;
    }
    lock.unlock();
    copy(*piece);
    lock.lock();
  }
}

}  // namespace saccade
