#include "server/server.h"

#include <csignal>
#include <optional>

#include "core/check.h"
#include "server/hub.h"
#include "server/log.h"

// After hub.h, which has what Boost's headers forget.
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>

namespace saccade::server {
namespace {

/// Connections whose first request is awaited or answered.
constexpr std::size_t kMaxHttpSessions = 256;

}  // namespace

void Hub::remove(const std::shared_ptr<WebSocketSession>& session) {
  web_sockets.erase(session);
  if (draining && web_sockets.empty()) io.stop();
}

struct Server::Network {
  explicit Network(const ServerOptions& given) : options(given) {
    beast::error_code error;
    const auto address = asio::ip::make_address(options.host, error);
    SACCADE_CHECK(!error, "--host", options.host, " is not an IP address");
    const tcp::endpoint endpoint(address, options.port);
    const auto require = [&] {
      SACCADE_CHECK(!error, "--port", "cannot listen on ", endpoint, ": ", error.message());
    };
    acceptor.open(endpoint.protocol(), error);
    require();
    acceptor.set_option(asio::socket_base::reuse_address(true), error);
    require();
    acceptor.bind(endpoint, error);
    require();
  }

  void listen() {
    beast::error_code error;
    acceptor.listen(asio::socket_base::max_listen_connections, error);
    SACCADE_CHECK(!error, "--port", "cannot listen: ", error.message());
    log_line("info", "listening",
             {{"address", acceptor.local_endpoint()},
              {"api_key", options.api_key.empty() ? "no" : "yes"}});
    accept();
  }

  void accept() {
    acceptor.async_accept([this](beast::error_code error, tcp::socket socket) {
      if (error == asio::error::operation_aborted) return;
      if (error) return accept_later();  // out of descriptors, most likely
      socket.set_option(tcp::no_delay(true), error);
      if (hub->http_sessions < kMaxHttpSessions) start_http_session(std::move(socket), *hub);
      accept();
    });
  }

  void accept_later() {
    retry.expires_after(std::chrono::milliseconds(100));
    retry.async_wait([this](beast::error_code error) {
      if (!error && !hub->draining) accept();
    });
  }

  void drain() {
    if (hub->draining) return;
    hub->draining = true;
    acceptor.close();
    // A copy: sessions may leave the set.
    for (const auto& session : std::set(hub->web_sockets)) drain_session(*session);
    if (hub->web_sockets.empty()) io.stop();
  }

  void wait_for_signals() {
    signals.async_wait([this](beast::error_code error, int number) {
      if (error) return;
      if (hub->draining) return io.stop();
      log_line("info", "stopping", {{"signal", number == SIGINT ? "SIGINT" : "SIGTERM"}});
      drain();
      wait_for_signals();
    });
  }

  ServerOptions options;
  std::optional<Hub> hub;  // before io, whose last handlers still count down its sessions
  asio::io_context io{1};
  tcp::acceptor acceptor{io};
  asio::steady_timer retry{io};
  asio::signal_set signals{io};
};

Server::Server(const ServerOptions& options) : network_(std::make_unique<Network>(options)) {}
Server::~Server() = default;

void Server::run(Service& service) {
  Network& network = *network_;
  network.hub.emplace(Hub{.io = network.io,
                          .service = service,
                          .options = network.options,
                          .access = Access(network.options.api_key),
                          .drain = [&network] { network.drain(); },
                          .draining = false,
                          .http_sessions = 0,
                          .web_sockets = {}});
  network.signals.add(SIGINT);
  network.signals.add(SIGTERM);
  network.wait_for_signals();
  network.listen();
  network.io.run();
  network.signals.clear();
  network.hub->web_sockets.clear();
  if (const std::string failure = service.device_failure(); !failure.empty()) {
    throw DeviceError(failure);
  }
  log_line("info", "stopped", {});
}

}  // namespace saccade::server
