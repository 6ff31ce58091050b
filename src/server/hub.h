#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <functional>
#include <memory>
#include <set>
#include <utility>  // Boost 1.74's headers forget it

#include "server/access.h"
#include "server/server.h"

// Only the sources that speak Boost.Beast include this: its headers take seconds to compile.
namespace saccade::server {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;
using HttpRequest = http::request<http::empty_body>;

class WebSocketSession;

/// What all connections share. Only the thread of Server::run() touches it.
struct Hub {
  asio::io_context& io;
  Service& service;
  const ServerOptions& options;
  Access access;
  std::function<void()> drain;  // stops taking requests, then ends run()
  bool draining = false;
  std::size_t http_sessions = 0;
  std::set<std::shared_ptr<WebSocketSession>> web_sockets;  // those that are open

  /// Forgets an open connection; the last one ends run() when draining.
  void remove(const std::shared_ptr<WebSocketSession>&);
};

/// Reads one HTTP request and answers it, or hands the connection over to a WebSocket.
void start_http_session(tcp::socket, Hub&);

/// Answers the handshake in `request`, then speaks openpi's protocol.
void start_websocket_session(beast::tcp_stream, const HttpRequest& request, Hub&);

/// Closes a connection as soon as it has no request, with the code for a server that goes away.
void drain_session(WebSocketSession&);

}  // namespace saccade::server
