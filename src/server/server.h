#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "server/service.h"

namespace saccade::server {

struct ServerOptions {
  std::string host = "0.0.0.0";
  std::uint16_t port = 8000;  // 0: any that is free
  std::size_t max_message_bytes = std::size_t{64} << 20;
  int max_connections = 32;
  std::string api_key;  // empty: everybody may use it
};

/// The network: openpi's WebSocket protocol and plain HTTP on one port, on the thread of run().
class Server {
 public:
  /// Takes the port, or fails. Clients are refused until run().
  explicit Server(const ServerOptions&);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Serves until SIGTERM, SIGINT or a failure of the device. Then it answers the requests that it
  /// has, closes every connection and returns; a second signal makes it return at once. Throws
  /// DeviceError after a failure of the device. To be called once. The service must not outlive
  /// the server, which its replies go to.
  void run(Service&);

 private:
  struct Network;
  std::unique_ptr<Network> network_;
};

}  // namespace saccade::server
